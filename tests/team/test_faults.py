"""Servers that are killed in the middle of a run, and started again."""

import time

import pytest
from running import TINY, Left, Process
from team_stores import FORM, WAIT_S, SharedLeft, Stores, finish, slow

pytestmark = pytest.mark.team

AWAY_S = 20.0


@pytest.fixture
def own_stores(team_folder):
    """Stores that no other test has: they are killed."""
    started = Stores(team_folder())
    try:
        started.up()
        yield started
    finally:
        started.do("down")


def test_every_trial_once_and_the_numbers_of_a_run_without_faults(own_stores, tmp_path):
    study = tmp_path / "tiny-faults.toml"
    study.write_text(TINY.replace('"tiny"', '"tiny-faults"'))
    words = ("run", str(study), *FORM, *slow(1000))
    (tmp_path / "local").mkdir()
    finish(Process(tmp_path / "local", *words))
    local, left = Left(tmp_path / "local"), SharedLeft(own_stores, "tiny-faults")

    (tmp_path / "shared").mkdir()
    process = Process(tmp_path / "shared", *words, stores=own_stores.environment)
    try:
        process.wait_until(lambda: left.run_statuses("trial")["FINISHED"] >= 2, WAIT_S)
        own_stores.kill()
        time.sleep(AWAY_S)
        own_stores.up()
        finish(process)
    finally:
        if process.is_running():
            process.kill(group=True)
    assert left.trials() == local.trials()
    assert left.rates() == local.rates()
    assert sorted(left.trial_hashes().values()) == [1] * 10
    assert not left.repeated_steps()
    assert set(left.run_statuses("trial")) == {"FINISHED"}
