"""Normalizations, and what competes with them. Add one as one entry of `NORMALIZATIONS`.

All normalize maps [N, C, H, W]; a fully connected network's hidden units are maps of 1 x 1. Scale and shift
are per channel in all of them, and epsilon is Keras' 1e-3, so that neither is what is compared. The layer
before keeps its bias throughout, even where a shift makes it redundant, because the source's layers do;
`weight-mean-batch` alone is defined without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from benchmark.base.errors import InputError
from benchmark.contract import RUNNING_WEIGHT
from benchmark.variants.activations import ACTIVATIONS, Activation
from benchmark.variants.layers.batchwise import (
    BatchNorm2d,
    BatchRenorm,
    MeanOnlyBatchNorm,
    Noise,
    NoisyBatchNorm2d,
)
from benchmark.variants.layers.examplewise import ChannelLayerNorm, RmsNorm
from benchmark.variants.layers.filterwise import (
    DynamicTanh,
    FilterResponseNorm,
    ScaledActivation,
    ThresholdedLinearUnit,
)
from benchmark.variants.layers.partial import BatchCentring, BatchScaling, GhostBatchNorm
from benchmark.variants.layers.weights import ScaledWeightStandardization, WeightNorm, WeightStandardization
from benchmark.variants.normalization import Normalization, Place

# Keras' defaults, which the source left as they were; its momentum 0.99 is PyTorch's 0.01.
_EPSILON = 1e-3
_MOMENTUM = RUNNING_WEIGHT


def _batch(place: Place, *, momentum: float = _MOMENTUM, affine: bool = True) -> nn.Module:
    return BatchNorm2d(place.num_channels, _EPSILON, momentum, affine=affine)


def _instance(place: Place) -> nn.Module:
    if place.num_positions == 1:
        raise InputError(
            "normalization 'instance': expected maps of more than one position, found 1 x 1 (of one value "
            "there is no variance): use fewer blocks, larger images, or another normalization"
        )
    return nn.InstanceNorm2d(place.num_channels, eps=_EPSILON, affine=True)


def _grouped(num_groups: int, name: str) -> Callable[[Place], nn.Module]:
    def build(place: Place) -> nn.Module:
        filters = place.num_channels
        counts = [count for count in range(1, filters + 1) if filters % count == 0]
        if place.num_positions == 1:
            counts.remove(filters)  # groups of a single value, of which there is no variance
        if num_groups not in counts:
            raise InputError(
                f"normalization {name!r}: expected a number of groups that divides the layer's "
                f"{filters} filters ({', '.join(map(str, counts))}), found {num_groups}: choose another, or "
                "another width"
            )
        return nn.GroupNorm(num_groups, filters, eps=_EPSILON)

    return build


def _group(num_groups: int) -> Normalization:
    return Normalization(
        _grouped(num_groups, f"group{num_groups}"),
        f"per example, over positions and each of {num_groups} groups of channels",
        "Wu & He 2018 (1803.08494)",
        f"group normalization ({num_groups} groups)",
        centres_each_map=lambda place: place.num_channels == num_groups,
    )


def _standardized_group(num_groups: int) -> Normalization:
    return replace(
        _group(num_groups),
        build=_grouped(num_groups, f"weight-std-group{num_groups}"),
        reparametrize=lambda place: WeightStandardization(scaled=place.placement == "after"),
        description=f"each filter standardized, then group normalization in {num_groups} groups",
        source="Qiao et al. 2019 (1903.10520)",
        words=f"weight standardization and group normalization ({num_groups} groups)",
    )


def _ghost(num_examples: int) -> Normalization:
    return replace(
        _BATCH,
        build=lambda place: GhostBatchNorm(place.num_channels, _EPSILON, _MOMENTUM, num_examples),
        description=f"batch normalization over groups of {num_examples} examples of the batch",
        source="Hoffer et al. 2017 (1705.08741)",
        group_size=num_examples,
        words=f"ghost batch normalization ({num_examples} examples)",
    )


def _thresholded(activation: Activation, place: Place) -> nn.Module:
    """The unit that filter response normalization comes with, where ReLU would stand; others stay."""
    return (
        ThresholdedLinearUnit(place.num_channels) if activation is ACTIVATIONS["relu"] else activation.build()
    )


_NONE = Normalization(
    lambda place: nn.Identity(),
    "no normalization: the baseline",
    "the source notebook (its baseline)",
    "no normalization",
)
_COMPETITOR = replace(_NONE, is_competitor=True)


def _clipped(norm: float) -> Normalization:
    return replace(
        _COMPETITOR,
        clip_norm=norm,
        description=f"no normalization; the gradient's norm clipped to {norm:g}",
        source="Pascanu et al. 2013 (1211.5063)",
        words=f"gradient clipping at {norm:g}",
    )


_BATCH = Normalization(
    _batch,
    "per channel, over the batch and positions; learned scale and shift",
    "Ioffe & Szegedy 2015 (1502.03167)",
    "batch normalization",
    couples_examples=True,
    judged_by="reestimated",
)

NORMALIZATIONS: Mapping[str, Normalization] = {
    "none": _NONE,
    "batch": _BATCH,
    # Batch normalization's own anatomy.
    "batch-no-affine": replace(
        _BATCH,
        build=lambda place: _batch(place, affine=False),
        description="batch normalization without learned scale and shift",
        words="batch normalization without scale and shift",
    ),
    "batch-fast": replace(
        _BATCH,
        build=lambda place: _batch(place, momentum=0.1),
        # Re-estimated, it would be `batch`: in training nothing reads the averages.
        description="batch normalization judged by its moving averages, faster ones: Keras' momentum 0.9",
        judged_by="moving-average",
        words="batch normalization with fast moving averages",
    ),
    "batch-last": replace(
        _BATCH,
        build=lambda place: _batch(place) if place.is_last else nn.Identity(),
        description="one batch normalization, in the last hidden unit",
        source="after Bjorck et al. 2018 (1806.02375)",
        words="batch normalization of the last unit",
    ),
    "batch-noisy": replace(
        _BATCH,
        build=lambda place: NoisyBatchNorm2d(place.num_channels, _EPSILON, _MOMENTUM),
        description="batch normalization, then noise whose distribution changes at every step",
        source="Santurkar et al. 2018 (1805.11604)",
        takes_noise=True,
        words="noisy batch normalization",
    ),
    # Their control: it competes with nothing.
    "none-noisy": replace(
        _NONE,
        build=lambda place: Noise(),
        description="no normalization; the noise of `batch-noisy` in its place",
        source="Santurkar et al. 2018 (1805.11604)",
        takes_noise=True,
        words="noise without normalization",
    ),
    "batch-renorm": replace(
        _BATCH,
        build=lambda place: BatchRenorm(place.num_channels, _EPSILON, _MOMENTUM, place.num_steps),
        description="batch normalization corrected towards its moving averages, within growing limits",
        judged_by="moving-average",
        source="Ioffe 2017 (1702.03275)",
        words="batch renormalization",
    ),
    # Which of its parts does it: one moment, or the noise of small batches?
    "batch-centre": replace(
        _BATCH,
        build=lambda place: BatchCentring(place.num_channels, _MOMENTUM),
        description="the batch's mean is subtracted, nothing divided; learned scale and shift",
        source="after Salimans & Kingma 2016 (1602.07868), section 4, without its weight normalization",
        words="mean-only batch normalization",
    ),
    "batch-scale": replace(
        _BATCH,
        build=lambda place: BatchScaling(place.num_channels, _EPSILON, _MOMENTUM),
        description="division by the batch's standard deviation, nothing subtracted; learned scale and shift",
        source="after Ioffe & Szegedy 2015 (1502.03167)",
        words="scale-only batch normalization",
    ),
    "ghost4": _ghost(4),
    "ghost8": _ghost(8),
    "ghost16": _ghost(16),
    # Of one example at a time.
    "layer": Normalization(
        lambda place: nn.GroupNorm(1, place.num_channels, eps=_EPSILON),
        "per example, over channels and positions",
        # Its form for convolutions, with scale and shift per channel, is that of 1803.08494, section 3.1.
        "Ba et al. 2016 (1607.06450)",
        "layer normalization",
    ),
    "layer-channel": Normalization(
        lambda place: ChannelLayerNorm(place.num_channels, eps=_EPSILON),
        "per example and position, over channels",
        "Ba et al. 2016 (1607.06450), as in ConvNeXt (2201.03545)",
        "layer normalization over channels",
    ),
    "group2": _group(2),
    "group4": _group(4),
    "group5": _group(5),
    "group10": _group(10),
    "group20": _group(20),
    "instance": Normalization(
        _instance,
        "per example and channel, over positions",
        "Ulyanov et al. 2016 (1607.08022)",
        "instance normalization",
        centres_each_map=lambda place: True,
    ),
    "rms": Normalization(
        lambda place: RmsNorm(place.num_channels, _EPSILON),
        "per example, by the root mean square over channels and positions; no centring, no shift",
        "Zhang & Sennrich 2019 (1910.07467)",
        "RMS normalization",
    ),
    "filter-response": Normalization(
        lambda place: FilterResponseNorm(place.num_channels, place.num_positions, _EPSILON),
        "per example and channel, by the root mean square over positions; relu becomes max(y, learned tau)",
        "Singh & Krishnan 2020 (1911.09737)",
        "filter response normalization",
        activation=_thresholded,
    ),
    # Of weights.
    "weight": replace(
        _NONE,
        reparametrize=lambda place: WeightNorm(place.num_channels),
        description="each filter's length apart from its direction; set from data to unit variance at first",
        source="Salimans & Kingma 2016 (1602.07868)",
        words="weight normalization",
    ),
    "weight-mean-batch": Normalization(
        lambda place: MeanOnlyBatchNorm(place.num_channels, _MOMENTUM),
        "weight normalization, and batch normalization of the mean alone",
        "Salimans & Kingma 2016 (1602.07868), section 4",
        "weight normalization and mean-only batch normalization",
        keeps_bias=False,  # b is added after the mean is taken off
        couples_examples=True,
        judged_by="reestimated",
        reparametrize=lambda place: WeightNorm(place.num_channels),
    ),
    "weight-std-group2": _standardized_group(2),
    "weight-std-group4": _standardized_group(4),
    "weight-std-group10": _standardized_group(10),
    # What could make them unnecessary.
    "none-he": replace(
        _COMPETITOR,
        init="he",
        description="no normalization; weights N(0, 2/fan-in)",
        source="He et al. 2015 (1502.01852)",
        words="He initialization",
    ),
    "none-lecun": replace(
        _COMPETITOR,
        init="lecun",
        description="no normalization; weights N(0, 1/fan-in), which selu is made for",
        source="LeCun et al. 1998; Klambauer et al. 2017 (1706.02515)",
        words="LeCun initialization",
    ),
    "none-orthogonal": replace(
        _COMPETITOR,
        init="orthogonal",
        description="no normalization; orthogonal weights, times the activation's gain",
        source="Saxe et al. 2014 (1312.6120)",
        words="orthogonal initialization",
    ),
    "none-lsuv": replace(
        _COMPETITOR,
        init="lsuv",
        description="no normalization; orthogonal weights, scaled layer by layer to unit variance on data",
        source="Mishkin & Matas 2016 (1511.06422)",
        words="LSUV initialization",
    ),
    "none-clip0.1": _clipped(0.1),
    "none-clip1": _clipped(1.0),
    "none-clip10": _clipped(10.0),
    "none-agc": replace(
        _COMPETITOR,
        unit_clip=0.01,  # the authors' default
        reparametrize=lambda place: ScaledWeightStandardization(place.num_channels),
        activation=lambda activation, place: ScaledActivation(activation.build(), activation.unit_gain),
        description="each unit's gradient clipped to 1% of its weights' norm; filters standardized",
        source="Brock et al. 2021 (2102.06171)",
        words="adaptive gradient clipping",
    ),
    "dynamic-tanh": replace(
        _COMPETITOR,
        build=lambda place: DynamicTanh(place.num_channels),
        description="tanh(alpha x), alpha learned; learned scale and shift; reads no statistics",
        source="Zhu et al. 2025 (2503.10622)",
        words="dynamic tanh",
    ),
    "none-skip-init": replace(
        _COMPETITOR,
        residual_scale=0.0,
        description="no normalization; residual branches scaled by a trainable scalar, at first 0",
        source="De & Smith 2020 (2002.10444)",
        words="SkipInit",
    ),
}

ANYWHERE: Mapping[str, Normalization] = {
    name: entry for name, entry in NORMALIZATIONS.items() if entry.residual_scale is None
}
"""Those that do not ask for a network with shortcuts."""
