"""A connection to a Ray cluster, or one of this machine alone."""

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import ray
import torch
from ray._private.services import canonicalize_bootstrap_address  # Ray has no public way to read "auto"

from benchmark.base.errors import InputError

_CONNECT_S = 5.0  # after which an address is said not to answer; Ray itself tries for minutes


def connect(address: str, device: str, workers: int, threads: int) -> None:
    """Join a cluster, or start Ray on this machine.

    Raises:
        InputError: nothing answers at the address, or it is another version's.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is reported to anybody
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        options["address"] = _answering(address)
        options["runtime_env"] = {"py_modules": [str(Path(__file__).parents[1])]}  # this very code
    else:
        devices = torch.cuda.device_count() if device == "cuda" else 1
        options |= {"address": "local", "include_dashboard": False}
        options["num_cpus"] = max(1, workers) * devices * threads
        options["runtime_env"] = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
    asked_to_end = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except Exception as error:  # of many kinds, plain ones among them
        raise InputError(
            "execution.address: expected a Ray cluster that this process can join, found "
            f"{address or 'this machine alone'}: {last_line(error)}"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, asked_to_end)  # Ray's own would end the process without a word


def _answering(address: str) -> str:
    """The address as Ray has it, if anything listens there; `auto` is the cluster of this machine.

    Raises:
        InputError: there is no such cluster, or nothing answers.
    """
    mend = "start Ray (ray start --head), or leave it empty to have it started on this machine alone"
    try:
        found = str(canonicalize_bootstrap_address(address))
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, ValueError):
        raise InputError(
            f"execution.address: expected the address of a running Ray cluster, found {address!r}, where "
            f"nothing answers: {mend}"
        ) from None
    return found


def last_line(error: Exception) -> str:
    """Of what Ray says, which is long, what it is about."""
    return next(iter(reversed(str(error).strip().splitlines())), type(error).__name__)
