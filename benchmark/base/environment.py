"""Where a study is run: the device, the versions, the commit."""

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmark.base.errors import InputError

_PACKAGES = ("torch", "torchvision", "mlflow", "optuna", "numpy", "scipy", "pandas", "seaborn", "statsmodels")


@dataclass(frozen=True)
class Environment:
    """What a reader needs to know to judge timings and to repeat a study.

    Attributes:
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        device_name: its model.
        numerics: what its arithmetic rounds by: version of PyTorch and kind of kernels.
        git_commit: of the code.
        git_dirty: whether the code has changes beside it.
        accelerator: versions of what drives the device, and its memory; empty of a CPU.
    """

    device: str
    device_name: str
    numerics: str
    git_commit: str
    git_dirty: bool
    accelerator: Mapping[str, object] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """Everything, for the study run's `environment.json`."""
        own = asdict(self)
        return {
            **own.pop("accelerator"),
            **own,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpu": _cpu_name(),
            "num_cores": os.cpu_count(),
            **{package: _version(package) for package in _PACKAGES},
        }


def describe_environment(device: torch.device) -> Environment:
    """The present environment, training on `device`."""
    commit = _git("rev-parse", "HEAD")
    dirty = bool(_git("status", "--porcelain"))
    return Environment(
        str(device),
        device_name(device),
        numerics(device),
        commit or "unknown",
        dirty,
        _accelerator(device),
    )


def device_name(device: torch.device) -> str:
    """The model of a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def choose_device(name: str) -> torch.device:
    """The device to train on; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Args:
        name: `auto`, `cpu`, `mps`, `cuda`, or `cuda:N`, the N-th from 0.

    Raises:
        InputError: no such name, or this machine does not have it.
    """
    counts = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        return torch.device(next(kind for kind, count in counts.items() if count))
    kind, colon, index = name.partition(":")
    if kind not in counts or (colon and not (kind == "cuda" and index.isdecimal())):
        raise InputError(
            f"--device: expected auto, cpu, cuda, cuda:N or mps, found {name!r}: use --device auto"
        )
    if int(index or 0) >= counts[kind]:
        found = f"{counts[kind]} of that kind" if counts[kind] else "no such device"
        raise InputError(f"--device {name}: PyTorch finds {found} here: use --device auto")
    return torch.device(name)


def numerics(device: torch.device) -> str:
    """What two runs must share to round alike: the library, and which kernels of it are used."""
    kernels = [f"torch {torch.__version__}"]
    if device.type == "cuda":
        kernels.append(f"cuDNN {torch.backends.cudnn.version()}")
    if device.type == "cpu":
        kernels.append(torch.backends.cpu.get_cpu_capability())
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
        kernels += [f"oneDNN {limit}"] if limit else []
    return ", ".join(kernels)


def _accelerator(device: torch.device) -> dict[str, object]:
    """What drives an accelerator; None where it cannot be told."""
    if device.type != "cuda":
        return {}
    properties = torch.cuda.get_device_properties(device)
    return {
        "driver": _driver_version(),
        "cuda_runtime": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "compute_capability": f"{properties.major}.{properties.minor}",
        "device_memory_bytes": properties.total_memory,
        "num_devices": torch.cuda.device_count(),
    }


def _driver_version() -> str | None:
    """Of NVIDIA's driver: PyTorch does not say it."""
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return _output(*query).partition("\n")[0] or None


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    # Looking leaves nothing behind: a lock cut off by a full disk would keep the user from committing.
    return _output("git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments)


def _output(*command: str) -> str:
    """What a command prints; nothing if it is not there, or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
