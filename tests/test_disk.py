"""A disk without room, a place where nothing can be: a line, code 2, and it goes on afterwards."""

import resource
import subprocess
import sys

import pytest
from running import REPOSITORY, TINY, Left, main_of

RUN = ("run", "tiny.toml", "--device", "cpu")


def limited(folder, num_bytes, *words):
    """Run `python -m <words>` where no file can grow beyond a size: a full disk, for everyone to have."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={
            "PYTHONDONTWRITEBYTECODE": "1",  # what is cut off there breaks Python itself
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "HOME": str(folder),
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_study_that_ran_out_of_room_goes_on_once_there_is_some(new_folder, tmp_path):
    """While databases are made; `make soak` has other moments."""
    num_bytes = 400_000
    (tmp_path / "tiny.toml").write_text(TINY)
    done = limited(tmp_path, num_bytes, "benchmark", *RUN)
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    if done.returncode == 2:
        assert last.startswith("error: ")
        assert "free some room there" in last
    assert main_of("benchmark", tmp_path, *RUN)[0] == 0
    assert Left(tmp_path).repeated_steps() == []
    assert len(Left(tmp_path).trials()) == 10


@pytest.mark.parametrize(
    "words", [("benchmark", *RUN), ("benchmark", "plan", "tiny.toml"), ("analysis", "claims", "tiny")]
)
def test_a_place_that_is_a_file_is_named(tmp_path, words):
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "mlruns").write_text("mine")
    code, _, errors = main_of(words[0], tmp_path, *words[1:])
    assert code == 2
    assert errors.splitlines()[-1].startswith("error: ")
    assert "mlruns" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "mlruns").read_text() == "mine"
