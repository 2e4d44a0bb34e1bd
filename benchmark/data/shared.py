"""A data set as arrays that processes of a machine can share, instead of each having its own."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmark.data.datasets import DeviceData, Split

Shared = dict[str, Any]
"""The fields of a `DeviceData`, with its splits as dictionaries of arrays."""


def share(data: DeviceData) -> Shared:
    """A data set's fields as arrays in this process' memory; a split that has two names is there once."""
    splits = {name: value for name, value in vars(data).items() if isinstance(value, Split)}
    arrays = {
        id(split): {name: tensor.cpu().numpy() for name, tensor in vars(split).items()}
        for split in splits.values()
    }
    return {**vars(data), **{name: arrays[id(split)] for name, split in splits.items()}}


def restore(shared: Shared, device: torch.device) -> DeviceData:
    """The data set of what `share` gave, on a device; on a CPU its tensors lie where the arrays lie."""
    splits = {
        id(arrays): Split(**{name: _tensor(array).to(device) for name, array in arrays.items()})
        for arrays in shared.values()
        if isinstance(arrays, dict)
    }
    fields: dict[str, Any] = {name: splits.get(id(value), value) for name, value in shared.items()}
    return DeviceData(**fields)


def _tensor(array: npt.NDArray[np.generic]) -> Tensor:
    """An array as a tensor, without a copy.

    PyTorch warns of one that is read-only, as shared ones are, for it has no such tensors. Nothing writes to
    a data set: what did would end its process, and not change what the others read.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
