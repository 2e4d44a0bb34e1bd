"""What holds for every test."""

import os

import pytest

# Tests share the machine with each other and with trials' worker processes, and numbers on CPU are equal only
# for equal thread counts. Set here, before anything imports a numerical library.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """What `python -m benchmark run smoke` leaves, uninterrupted, trial after trial in one process."""
    from running import NARROW, Left, main_of

    folder = tmp_path_factory.mktemp("smoke")
    code, _, errors = main_of("benchmark", folder, "run", "smoke", *NARROW, "--set", "execution.workers=1")
    assert code == 0, errors
    return Left(folder)
