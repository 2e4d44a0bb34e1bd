import re
import subprocess
import sys

import pytest

from benchmark.base import locks
from benchmark.base.errors import InputError
from benchmark.base.locks import only_runner
from benchmark.base.servers import database_url


def test_one_runner_of_a_study_in_a_folder(tmp_path):
    with only_runner(tmp_path, None, "made") as lock:
        assert lock.workplace is None
        lock.check(now=True)
        with only_runner(tmp_path, None, "another"), only_runner(tmp_path / "elsewhere", None, "made"):
            pass
        with (
            pytest.raises(
                InputError, match=r"^study 'made' is being run by another process \(it holds .*made.lock\)"
            ),
            only_runner(tmp_path, None, "made"),
        ):
            pass
    with only_runner(tmp_path, None, "made"):
        pass


def test_the_lock_of_a_killed_runner_is_free(tmp_path):
    code = (
        "import os, pathlib, sys; from benchmark.base.locks import only_runner\n"
        "with only_runner(pathlib.Path(sys.argv[1]), None, 'made'): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    with only_runner(tmp_path, None, "made"):
        pass


def test_who_holds_a_lock_can_be_said_in_what_postgres_takes(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 100)
    monkeypatch.setattr("getpass.getuser", lambda: "zoë")
    name = locks._client_name()
    assert len(name) == 63
    assert re.fullmatch(r"zo\?@h+ pid \d+", name)

    def nobody():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert locks._client_name().startswith("user ")


def test_studies_have_locks_of_their_own():
    keys = {locks._key(name) for name in ("made", "Made", "made ", "quick")}
    assert len(keys) == 4
    assert all(-(2**63) <= key < 2**63 for key in keys)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("postgresql://me@db/optuna?passfile=/a", "postgresql+psycopg://me@db/optuna?passfile=/a"),
        ("postgres://me@db/optuna", "postgresql+psycopg://me@db/optuna"),
        ("postgresql+psycopg://me@db/optuna", "postgresql+psycopg://me@db/optuna"),
    ],
)
def test_the_driver_is_psycopg_unless_the_address_says_another(given, url):
    assert database_url(given, "--storage") == url


def test_other_databases_are_refused():
    with pytest.raises(InputError, match=r"--storage: expected postgresql://.*, found mysql://me:") as raised:
        database_url("mysql://me:s3cret@db/optuna", "--storage")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://me:s3cret@127.0.0.1:1/optuna", "Connection refused"),
        ("postgresql+psycopg://me:s3cret@127.0.0.1:many/optuna", "invalid literal for int"),
        ("postgresql+psychic://me:s3cret@127.0.0.1/optuna", "Can't load plugin"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(url, said, tmp_path):
    with pytest.raises(InputError, match=said) as raised, only_runner(tmp_path, url, "made"):
        pass
    assert "\n" not in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_missing_driver_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with (
        pytest.raises(InputError, match=r"its driver cannot be imported .* install the extra `postgres`"),
        only_runner(tmp_path, "postgresql+psycopg://me@127.0.0.1:1/optuna", "made"),
    ):
        pass
