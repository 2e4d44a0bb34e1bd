"""A team's servers, real ones, which all tests here share."""

import shutil
import tempfile
from pathlib import Path

import pytest
from running import Left, Process
from team_stores import FORM, Stores, finish


@pytest.fixture(scope="session")
def team_folder():
    """A function that makes a folder that PostgreSQL's own user can enter, which pytest's cannot be."""
    made = []

    def make():
        folder = Path(tempfile.mkdtemp(prefix="team-"))
        folder.chmod(0o755)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def stores(team_folder):
    started = Stores(team_folder())
    try:
        started.up()
        yield started
    finally:
        started.do("down")


@pytest.fixture
def begin(stores, tmp_path):
    """A function that starts `python -m benchmark <words>` in a folder of that name, on the stores."""
    processes = []

    def begun(name, *words):
        (tmp_path / name).mkdir(exist_ok=True)
        process = Process(tmp_path / name, *words, stores=stores.environment)
        processes.append(process)
        return process

    yield begun
    for process in processes:
        if process.is_running():
            process.kill(group=True)


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """What `smoke` leaves without any server."""
    folder = tmp_path_factory.mktemp("local")
    finish(Process(folder, "run", "smoke", *FORM))
    return Left(folder)
