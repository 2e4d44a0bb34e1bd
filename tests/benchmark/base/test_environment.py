"""Which device is meant, and what is written down of it."""

import json
from types import SimpleNamespace

import pytest
import torch

from benchmark.base import environment
from benchmark.base.environment import choose_device, describe_environment
from benchmark.base.errors import InputError


@pytest.fixture
def gpus(monkeypatch):
    """A function: as if PyTorch found so many CUDA devices, and no other accelerator."""

    def there_are(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return there_are


@pytest.mark.parametrize(
    ("count", "name", "device"),
    [
        (0, "auto", "cpu"),
        (2, "auto", "cuda"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda"),
        (2, "cuda:0", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_devices_by_name(count, name, device, gpus):
    gpus(count)
    assert choose_device(name) == torch.device(device)


@pytest.mark.parametrize(
    ("count", "name", "said"),
    [
        (0, "cuda", "--device cuda: PyTorch finds no such device here: use --device auto"),
        (0, "cuda:0", "--device cuda:0: PyTorch finds no such device here: use --device auto"),
        (2, "cuda:2", "--device cuda:2: PyTorch finds 2 of that kind here: use --device auto"),
        (2, "mps", "--device mps: PyTorch finds no such device here: use --device auto"),
        *(
            (2, name, f"--device: expected auto, cpu, cuda, cuda:N or mps, found {name!r}: use --device auto")
            for name in (
                "tpu",
                "",
                "cuda:",
                "cuda:-1",
                "cuda:one",
                "cuda:1:2",
                "cpu:0",
                "CUDA",
                "privateuseone",
            )
        ),
    ],
)
def test_what_is_no_device_here_is_refused_in_one_line(count, name, said, gpus):
    gpus(count)
    with pytest.raises(InputError) as raised:
        choose_device(name)
    assert str(raised.value) == said


def test_a_cpu_has_no_accelerators_versions():
    document = describe_environment(torch.device("cpu")).document()
    assert document["device"] == "cpu"
    assert not {"driver", "cuda_runtime", "cudnn", "accelerator"} & set(document)


def test_what_drives_a_gpu_is_written_down(monkeypatch):
    properties = SimpleNamespace(major=9, minor=0, total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU, number {device.index}")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91300)
    asked = []
    monkeypatch.setattr(
        environment, "_output", lambda *command: asked.append(command[0]) or "580.95.05\n580.95.05"
    )
    document = describe_environment(torch.device("cuda:1")).document()
    assert "nvidia-smi" in asked
    expected = {
        "device": "cuda:1",
        "device_name": "a GPU, number 1",
        "driver": "580.95.05",
        "cuda_runtime": "13.0",
        "cudnn": 91300,
        "compute_capability": "9.0",
        "device_memory_bytes": 80 * 2**30,
        "num_devices": 2,
    }
    assert {key: document[key] for key in expected} == expected
    assert "cuDNN 91300" in document["numerics"]
    json.dumps(document)


def test_a_driver_that_does_not_say_its_version_is_none(monkeypatch):
    monkeypatch.setenv("PATH", "")  # no nvidia-smi, no git
    assert environment._driver_version() is None
