"""Studies on a team's stores: the numbers of local ones, side by side, one runner each."""

import getpass
import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest
from running import REPOSITORY, TINY, Process, main_of
from team_stores import FORM, SETTINGS, WAIT_S, SharedLeft, Stores, finish, free_port, slow

from benchmark.base.errors import InputError
from benchmark.base.locks import LostLockError, only_runner

pytestmark = pytest.mark.team


@pytest.fixture(scope="module")
def shared(stores, tmp_path_factory):
    """What `smoke` leaves in a team's stores, and the folder that it was run in."""
    folder = tmp_path_factory.mktemp("shared")
    finish(Process(folder, "run", "smoke", *FORM, stores=stores.environment))
    return SharedLeft(stores, "smoke"), folder


def analysed(folder, environment, *words):
    """`python -m analysis <words>` in a folder: its standard output."""
    command = [sys.executable, "-m", "analysis", *words]
    everything = os.environ | environment | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=everything, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def judged(folder, environment):
    """The verdicts of `smoke`'s report, without those on times, and without the names of runs."""
    analysed(folder, environment, "report", "smoke")
    document = json.loads((folder / "mlruns" / "reports" / "smoke" / "verdicts.json").read_text())
    return [verdict for verdict in document["verdicts"] if verdict["claim"] != "worth-its-cost"]


def test_a_study_has_the_numbers_of_a_local_one(stores, shared, local):
    left, folder = shared
    assert left.trials() == local.trials()
    assert left.rates() == local.rates()
    assert left.artifact("decisions.json") == local.artifact("decisions.json")
    assert not left.repeated_steps()
    assert set(left.run_statuses("trial")) == {"FINISHED"}
    verdicts = judged(folder, stores.environment)
    assert verdicts
    assert verdicts == judged(
        local.folder, {"MLFLOW_TRACKING_URI": f"sqlite:///{local.folder}/mlruns/mlflow.db"}
    )
    assert {path.name for path in (folder / "mlruns").iterdir()} & {"mlflow.db", "optuna.db"} == set()


def test_another_persons_run_of_it_takes_over_what_is_finished(begin, shared):
    left, _ = shared
    before = left.trial_hashes()
    process = begin("other", "run", "smoke", *FORM)
    assert process.wait(WAIT_S) == 0, process.stderr
    assert "(30 from an earlier run)" in process.stderr
    assert left.trial_hashes() == before
    assert left.run_statuses("study") == {"FINISHED": 1}


def tiny(folder, name):
    (folder / f"{name}.toml").write_text(TINY.replace('"tiny"', f'"{name}"'))
    return str(folder / f"{name}.toml")


def test_two_studies_at_once_do_not_mix(stores, begin, tmp_path):
    names = ("tiny-one", "tiny-two")
    processes = [begin(name, "run", tiny(tmp_path, name), *FORM) for name in names]
    for process in processes:
        assert process.wait(WAIT_S) == 0, process.stderr
    for name in names:
        left = SharedLeft(stores, name)
        assert sorted(left.trial_hashes().values()) == [1] * 10
        assert not left.repeated_steps()
        assert len(left.rates()["COMPLETE"]) == 2
        claims = analysed(tmp_path / name, stores.environment, "claims", name)
        assert f"{name} (" in claims
        assert "complete" in claims
        status = begin(name, "status", tiny(tmp_path, name), *SETTINGS)
        assert status.wait(WAIT_S) == 0


def test_one_runner_at_a_time_and_the_next_once_it_is_killed(stores, begin, tmp_path):
    study = tiny(tmp_path, "tiny-lock")
    words = ("run", study, *FORM, *slow(4000))
    left = SharedLeft(stores, "tiny-lock")
    first = begin("first", *words)
    first.wait_until(lambda: "RUNNING" in left.run_statuses("trial"), WAIT_S)

    second = begin("second", *words)
    assert second.wait(WAIT_S) == 2
    (line,) = second.stderr.splitlines()
    holder = f"{getpass.getuser()}@{socket.gethostname()}"[:40]
    assert line.startswith(f"error: study 'tiny-lock' is being run by {holder}")
    assert f"pid {first.pid}, since 20" in line
    assert stores.password not in line

    first.kill(group=False)  # its worker notices by itself
    third = begin("second", *words)  # and is not refused
    assert third.wait(WAIT_S) == 0, third.stderr
    assert sorted(left.trial_hashes().values()) == [1] * 10
    assert not left.repeated_steps()
    assert set(left.run_statuses("trial")) == {"FINISHED"}
    assert left.run_statuses("study") == {"FINISHED": 1}


def test_the_lock_of_a_killed_runner_is_free_within_a_second(stores, tmp_path):
    code = (
        "import pathlib, sys, time; from benchmark.base.locks import only_runner\n"
        "with only_runner(pathlib.Path(sys.argv[1]), sys.argv[2], 'made'): print(flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "first"), stores.storage]
    with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        holder.kill()
    time.sleep(1.0)
    with only_runner(tmp_path / "second", stores.storage, "made"):
        pass


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("password", 'password authentication failed for user "benchmark"'),
        ("database", 'database "nothere" does not exist'),
        ("port", "Connection refused"),
    ],
)
@pytest.mark.parametrize("package", ["benchmark", "analysis"])
def test_a_database_that_cannot_be_used_is_one_line_within_seconds(package, what, said, stores, tmp_path):
    parts = {"password": stores.password, "port": stores.database_port, "database": "optuna"}
    parts |= {what: {"password": "wr0ngsecret", "port": free_port(), "database": "nothere"}[what]}
    url = "postgresql://benchmark:{password}@127.0.0.1:{port}/{database}".format(**parts)
    options = {
        "benchmark": ("run", "smoke", "--storage", url),
        "analysis": ("claims", "smoke", "--tracking-uri", url),
    }
    words = options[package]
    main_of(package, tmp_path, *words)  # whatever is imported now, is
    began = time.monotonic()
    code, _, errors = main_of(package, tmp_path, *words)
    assert time.monotonic() - began < 10.0
    assert code == 2
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert str(parts["password"]) not in line
    assert "benchmark:***@127.0.0.1" in line


def test_a_lock_whose_connection_breaks_is_taken_anew_or_lost(stores, tmp_path):
    def break_off():
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%{}'"
        assert stores.rows("optuna", query.format(f"pid {os.getpid()}")) == [(True,)]

    with only_runner(tmp_path / "first", stores.storage, "made") as lock:
        assert re.fullmatch(r"postgresql:\d+/optuna", lock.workplace)
        break_off()
        lock.check(now=True)
        with (
            pytest.raises(InputError, match="study 'made' is being run by"),
            only_runner(tmp_path, stores.storage, "made"),
        ):
            pass
        break_off()
        with (
            only_runner(tmp_path / "second", stores.storage, "made"),
            pytest.raises(
                LostLockError, match=f"was lost, and now study 'made' is being run by .*pid {os.getpid()}"
            ),
        ):
            lock.check(now=True)


def test_names_of_all_kinds_have_a_lock_whose_holder_is_found(stores, tmp_path):
    """Numbers of 64 bits with either sign, which the server keeps in halves."""
    for name in ("a", "b", "quick", "cifar100-small", "studie-ä"):
        with (
            only_runner(tmp_path / "first", stores.storage, name),
            pytest.raises(InputError, match=f"pid {os.getpid()}, since 20"),
            only_runner(tmp_path / "second", stores.storage, name),
        ):
            pass


def test_what_is_up_stays_as_it_is(stores):
    before = (stores.folder / "mlflow.pid").read_text()
    said = stores.up()
    assert (stores.folder / "mlflow.pid").read_text() == before
    assert f"export MLFLOW_TRACKING_URI={stores.tracking_uri}\n" in said
    assert f"export OPTUNA_STORAGE='{stores.storage}'\n" in said
    assert stores.password not in said
    assert (stores.folder / "pgpass").stat().st_mode & 0o777 == 0o600
    elsewhere = Stores(stores.folder)  # on other ports
    done = elsewhere.do("up")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: PostgreSQL runs on port {stores.database_port} already")
    for line in (
        f"PostgreSQL runs on 127.0.0.1:{stores.database_port}",
        f"MLflow     runs on 127.0.0.1:{stores.port}",
    ):
        assert line in elsewhere.do("status").stdout  # whichever ports are asked for
