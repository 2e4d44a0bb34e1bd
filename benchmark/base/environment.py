"""Where a study is run: the device, the versions, the commit."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmark.base.errors import InputError

_PACKAGES = ("torch", "torchvision", "mlflow", "optuna", "numpy", "scipy", "pandas", "seaborn", "statsmodels")


@dataclass(frozen=True)
class Environment:
    """What a reader needs to know to judge timings and to repeat a study.

    Attributes:
        device: `cpu`, `cuda` or `mps`.
        device_name: its model.
        numerics: what its arithmetic rounds by: version of PyTorch and kind of kernels.
        git_commit: of the code.
        git_dirty: whether the code has changes beside it.
    """

    device: str
    device_name: str
    numerics: str
    git_commit: str
    git_dirty: bool

    def document(self) -> dict[str, object]:
        """Everything, for the study run's `environment.json`."""
        return asdict(self) | {
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
    return Environment(device.type, device_name(device), numerics(device), commit or "unknown", dirty)


def device_name(device: torch.device) -> str:
    """The model of a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def choose_device(name: str) -> torch.device:
    """The device to train on; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        InputError: this machine does not have it.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if not available[name]:
        raise InputError(f"--device {name}: PyTorch finds no such device here: use --device auto")
    return torch.device(name)


def numerics(device: torch.device) -> str:
    """What two runs must share to round alike: the library, and which kernels of it are used."""
    kernels = [f"torch {torch.__version__}"]
    if device.type == "cuda":
        kernels.append(f"cuDNN {torch.backends.cudnn.version()}")  # type: ignore[no-untyped-call]
    if device.type == "cpu":
        kernels.append(torch.backends.cpu.get_cpu_capability())
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
        kernels += [f"oneDNN {limit}"] if limit else []
    return ", ".join(kernels)


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
    try:
        done = subprocess.run(
            ("git", "-C", str(Path(__file__).parent), *arguments),
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
