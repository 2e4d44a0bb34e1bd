"""What starts from data: LSUV, and how it meets a gain. (Weight normalization's start: with its formula.)"""

import pytest
import torch
from made_networks import make_network
from made_trials import make_data, make_study, make_trial, replica_of

from benchmark.variants.data_start import start_from_data
from benchmark.variants.networks import FAMILIES, initialize


@pytest.mark.parametrize("gain", [1.0, 0.1, 10.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_lsuv_starts_every_layer_at_variance_1_whatever_the_gain(family, gain):
    """1511.06422: of each layer's outputs on the images, the last included."""
    images = make_data().train.take(slice(None))
    network = make_network("none-lsuv", "relu", family=family)
    initialize(network, 0, gain)
    start_from_data(network, images)
    stds = []
    for unit in network.hidden().values():
        unit.register_forward_pre_hook(lambda unit, inputs: stds.append(unit.weigh(inputs[0]).std()))
    stds.append(network(images).std())
    expected = torch.ones(len(network.weighted_layers()))
    torch.testing.assert_close(torch.stack(stds), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["none-lsuv", "weight"])
def test_what_starts_from_data_absorbs_a_gain(name, tmp_path):
    """LSUV's weights are the same from any gain; of weight normalization all but v and the dense layer's."""
    data, starts = make_data(), {}
    study = make_study(variants={"normalizations": ["none", name], "reference": "none-relu"})
    for gain in (1.0, 10.0):
        trial = make_trial(study, f"{name}-relu", init_gain=gain)
        starts[gain] = dict(replica_of(trial, data, tmp_path / str(gain)).network.named_parameters())
    for key, start in starts[1.0].items():
        has_gain = name == "weight" and key.endswith(("conv.weight", "dense.weight"))
        torch.testing.assert_close(
            starts[10.0][key], (10.0 if has_gain else 1.0) * start, rtol=1e-4, atol=1e-6
        )


def test_lsuv_of_normalized_units_works_too_and_is_repeatable():
    images = make_data().train.take(slice(None))
    a, b = (make_network("batch", init="lsuv") for _ in range(2))
    for network in (a, b):
        start_from_data(network, images)
    out = a.units[0].weigh(images)
    assert out.std().item() == pytest.approx(1, rel=1e-4)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
