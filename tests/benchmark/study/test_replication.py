"""What a replication of a study shares with it, and what not."""

import pytest
from made_trials import make_study

from benchmark.base.errors import InputError
from benchmark.study import plan
from benchmark.study.files import load_studies, load_study
from benchmark.study.replication import replication_of


def apart_from_seeds_and_split(study):
    document = study.model_dump(exclude={"name"})
    del document["seeds"]["first"], document["data"]["split_seed"]
    return document


@pytest.mark.parametrize(
    "study", [make_study(seeds={"sweep": 7, "confirm": 9}), load_study("quick")], ids=str
)
def test_replications_share_no_seed_and_no_split(study):
    family = [study, *(replication_of(study, number) for number in (1, 2, 3))]
    for stage in (plan.sweep_seeds, plan.confirm_seeds):
        seeds = [seed for one in family for seed in stage(one)]
        assert len(set(seeds)) == len(seeds)
    assert [one.data.split_seed for one in family] == [0, 1, 2, 3]
    assert [one.name for one in family[1:]] == [f"{study.name}-replication-{k}" for k in (1, 2, 3)]
    for one in family:
        assert apart_from_seeds_and_split(one) == apart_from_seeds_and_split(study)


def test_a_replication_is_the_same_whenever_it_is_asked_for():
    study = make_study()
    assert replication_of(study, 2) == replication_of(study, 2)


def test_every_value_of_an_axis_is_replicated():
    studies = load_studies("depth-small")
    assert [replication_of(one, 1).axis for one in studies] == [one.axis for one in studies]


def test_where_the_test_split_validates_there_is_no_other_split():
    study = load_study("notebook")
    assert replication_of(study, 1).data == study.data


def test_seeds_run_out():
    study = make_study(seeds={"sweep": 300, "confirm": 300})
    assert replication_of(study, 2).seeds.first == 600
    with pytest.raises(InputError, match=r"replication 3 of .*: expected unused seeds, found none"):
        replication_of(study, 3)
