"""Precisions: what computes in them, and that nothing does afterwards."""

import pytest
import torch
from made_engines import engine_on
from made_trials import make_data, make_study, make_trial, replica_of

from benchmark.base.errors import InputError
from benchmark.training.engines import ENGINES
from benchmark.training.population import Population
from benchmark.training.precision import check_precision, computing_in

CPU = torch.device("cpu")


ULP = 2.0**-8
"""Half the distance of neighbouring bfloat16 numbers, relative to them: what rounding to one may do."""


def update_of(precision, engine, folder, moved=0.0):
    """What one step adds to the parameters; each of them moved by a share of itself, up or down, before."""
    study = make_study(precision=precision, network={"dropout": 0.2, "width": 6}, data={"augmentation": {}})
    replica = replica_of(make_trial(study), make_data(), folder)
    population = Population.of(replica.problem(), [replica.row()], [replica.state])
    parameters = population.state.parameters
    signs = torch.randint(0, 2, parameters.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    parameters.mul_(1 + moved * signs)
    before = parameters.clone()
    engine_on(ENGINES[engine], CPU).advance(population, 1)
    assert parameters.dtype == torch.float32
    return parameters - before


@pytest.mark.parametrize("engine", ENGINES)
def test_bf16_takes_the_same_step_as_far_as_its_rounding_goes(engine, tmp_path):
    """To three times what rounding the parameters alone to bfloat16 would do to it; and it was rounded."""
    exact = update_of("fp32", engine, tmp_path / "exact")
    rounded = update_of("bf16", engine, tmp_path / "rounded")
    twin = update_of("fp32", engine, tmp_path / "twin", moved=ULP)
    off, allowed = (rounded - exact).norm(), 3 * (twin - exact).norm()
    assert 1e-5 * exact.norm() < off < allowed < exact.norm()


def test_tf32_is_on_inside_and_off_outside():
    with computing_in("tf32", torch.device("cuda")):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_tf32_is_refused_where_it_would_be_nothing():
    check_precision("tf32", torch.device("cuda"))
    check_precision("bf16", CPU)
    with pytest.raises(InputError, match="precision: expected fp32 or bf16 on cpu"):
        check_precision("tf32", CPU)
