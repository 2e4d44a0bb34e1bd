"""What is measured: nets of the shipped studies, on made images of their data sets' shapes.

Shapes: N images, C channels, H x W pixels, K classes.
"""

from dataclasses import dataclass

import torch

from benchmark.data.datasets import DeviceData, Split
from benchmark.study.files import load_study
from benchmark.study.identity import trial_of
from benchmark.study.spec import StudySpec
from benchmark.training.engines import REFERENCE
from benchmark.training.trial import Trial
from benchmark.variants.networks import NetworkSpec
from benchmark.variants.variant import Variant

ACTIVATION = "relu"
LEARNING_RATE = 1e-3
"""So low that random labels lead nowhere: no net diverges, and none gets numbers that are slow to compute."""

# Of every channel, as standardized natural images have them.
_OFFSET, _SCALE = 127.5, 1 / 64


@dataclass(frozen=True)
class Net:
    """A network as a study trains it.

    Attributes:
        name: in tables.
        study: whose network, batch, augmentation, dropout and optimizer.
        width: of its network; 0: the study's own.
        image_shape: (C, H, W).
        num_classes: K.
        num_train: images to train on; their number changes no step.
        num_validation, num_test: images that an evaluation reads, as in the study.
        most_replicas: at once on a CPU, where of large ones a single step would take many seconds.
        trial_replicas: of how many replicas whole trials are timed; of many large ones that takes long.
    """

    name: str
    study: str
    width: int
    image_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    num_validation: int
    num_test: int
    most_replicas: int
    trial_replicas: tuple[int, ...]

    def spec(self) -> StudySpec:
        """The study, with this width."""
        return load_study(self.study, [f"network.width={self.width}"] if self.width else [])


_CIFAR = ((3, 32, 32), 100, 10_000, 5_000, 10_000)

NETS = {
    net.name: net
    for net in (
        Net("digits", "quick", 0, (1, 8, 8), 10, 1_077, 360, 360, 16, (1, 16)),
        Net("small", "small", 0, (1, 8, 8), 10, 1_257, 180, 360, 16, (1, 16)),
        Net("cifar-16", "cifar100", 16, *_CIFAR, 16, (1,)),
        Net("cifar-60", "cifar100", 0, *_CIFAR, 4, (1,)),
    )
}


def made_data(net: Net, device: torch.device) -> DeviceData:
    """Random images and labels of the net's shapes and numbers, on the device; the same at every call."""
    source = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        return Split(
            torch.randint(0, 256, (count, *net.image_shape), dtype=torch.uint8, generator=source).to(device),
            torch.randint(0, net.num_classes, (count,), generator=source).to(device),
            torch.full((net.image_shape[0], 1, 1), _OFFSET, device=device),
            torch.full((net.image_shape[0], 1, 1), _SCALE, device=device),
        )

    train = split(net.num_train)

    return DeviceData(
        name=net.name,
        fingerprint="made",
        num_classes=net.num_classes,
        class_names=tuple(map(str, range(net.num_classes))),
        train=train,
        validation=split(net.num_validation),
        test=split(net.num_test),
        clean_train=train.first(net.num_validation),
        reestimation=train.first(512),
    )


def trials_of(
    study: StudySpec, normalization: str, replicas: int, threads: int, engine: str = REFERENCE
) -> list[Trial]:
    """Trials of one population: `replicas` seeds of the confirm stage."""
    execution = study.execution.model_copy(update={"threads": threads})
    study, variant = study.model_copy(update={"execution": execution}), Variant(normalization, ACTIVATION)
    return [
        trial_of(study, variant, LEARNING_RATE, seed, "confirm", "made", engine=engine)
        for seed in range(replicas)
    ]


def network_of(study: StudySpec) -> NetworkSpec:
    """The study's network, which is one of the notebook's family: others have no script that people write."""
    assert isinstance(study.network, NetworkSpec)
    return study.network
