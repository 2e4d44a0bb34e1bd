"""What holds for every test."""

import os
import shutil

import pytest

# Tests share the machine with each other and with trials' worker processes, and numbers on CPU are equal only
# for equal thread counts. Set before anything imports a numerical library; the environment may have another.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

os.environ.pop("OPTUNA_STORAGE", None)  # a team's: what tests run is no business of it


@pytest.fixture
def one_thread():
    """One thread of PyTorch's, as trials have by default."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


COSTLY = ("killed", "smoke", "measured", "store", "results", "table", "composed", "page")
"""Fixtures that take many seconds."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items):
    """Tests that share a costly fixture run in one of the processes side by side, which makes it once."""
    for item in items:
        for name in COSTLY:
            if name in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(name))
                break


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory):
    """A function that makes a folder to run studies in, with an empty store (which takes seconds)."""
    from benchmark.tracking.mlflow.store import connect

    store = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{store}")

    def make(name):
        folder = tmp_path_factory.mktemp(name)
        (folder / "mlruns").mkdir()
        shutil.copy(store, folder / "mlruns")
        return folder

    return make


@pytest.fixture(scope="session")
def smoke(new_folder):
    """What `python -m benchmark run smoke` leaves, uninterrupted, trial after trial in one process."""
    from running import NARROW, Left, main_of

    folder = new_folder("smoke")
    code, _, errors = main_of("benchmark", folder, "run", "smoke", *NARROW, "--set", "execution.workers=1")
    assert code == 0, errors
    return Left(folder)
