"""What holds for every test."""

import os

# Tests share the machine with each other and with trials' worker processes, and numbers on CPU are equal only
# for equal thread counts. Set here, before anything imports a numerical library.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
