"""A GPU that is not there, for the tests: a device type `pretend` whose tensors hold real numbers.

Code that runs on it must keep what it would have to keep on CUDA. It raises where CUDA would: tensors of two
devices do not mix (zero-dimensional ones of the CPU aside, as PyTorch has it), and nothing reads a tensor's
memory from the host. It raises too where CUDA would give other numbers from run to run: operations of which
PyTorch has no repeatable CUDA kernel, and draws from a device's own generator. What CUDA would do but slowly
is noted: `watch` lists each copy between host and device and each wait of the host, with the line that asked.

PyTorch's dispatch key for devices of others, PrivateUse1, is the device; its tensors wrap tensors of the CPU,
so that numbers are the CPU's to the bit.
"""

import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)
# Backward passes on the thread that asks for them, as on the CPU: another could not note who asked.
torch.autograd.set_multithreading_enabled(False)
aten = torch.ops.aten

# What the host must wait for: the number of results, or a number itself, is the device's to say.
_WAITS = {
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
# Those that `torch.use_deterministic_algorithms` lists as without a repeatable kernel on CUDA.
_UNREPEATABLE = {
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "_ctc_loss_backward",
    "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d_backward",
    "avg_pool3d_backward",
    "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward",
    "grid_sampler_2d_backward",
    "grid_sampler_3d_backward",
    "histc",
    "max_unpool2d",
    "max_unpool3d",
    "nll_loss2d_forward",
    "put_",
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "reflection_pad3d_backward",
    "upsample_bicubic2d_backward",
    "upsample_bilinear2d_backward",
    "upsample_linear1d_backward",
    "upsample_trilinear3d_backward",
}


# Those whose repeatable kernel on CUDA copies from the host where there are two dimensions or more (PyTorch's
# TensorAdvancedIndexing.cpp, `_scatter_via_index_put`); so the gradient of `gather` does.
_COPIES = {"scatter_add", "scatter_add_"}


@dataclass(frozen=True)
class Note:
    """Something that CUDA would do, but slowly.

    Attributes:
        kind: "read": the host waits for the device, mostly to copy from it; "write": the host copies to it.
        operation: PyTorch's name of what was asked.
        line: `file:line` of the product's code, or the test's, that asked.
    """

    kind: str
    operation: str
    line: str


class Watch:
    """What was noted, in order."""

    def __init__(self):
        self.notes = []

    @property
    def reads(self):
        return [note for note in self.notes if note.kind == "read"]

    @property
    def writes(self):
        return [note for note in self.notes if note.kind == "write"]


_watches = []


@contextmanager
def watch():
    """Note every wait and every copy until the end of the block."""
    found = Watch()
    _watches.append(found)
    try:
        yield found
    finally:
        _watches.remove(found)


def _note(kind, operation):
    for found in _watches:
        found.notes.append(Note(kind, operation, _asked_by()))


def _asked_by():
    """The innermost line of this repository that is not this file."""
    root = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path != Path(__file__) and path.is_relative_to(root) and ".venv" not in path.parts:
            return f"{path.relative_to(root)}:{frame.lineno}"
    return ""


class PretendTensor(torch.Tensor):
    """A tensor of the device; `numbers` is the tensor of the CPU that it stands for."""

    @staticmethod
    def __new__(cls, numbers):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            numbers.stride(),
            numbers.storage_offset(),
            dtype=numbers.dtype,
            device=DEVICE,
        )
        made.numbers = numbers
        return made

    @property
    def data(self):
        """As PyTorch's; set, it is the other's numbers too."""
        return self.detach()

    @data.setter
    def data(self, other):
        torch.Tensor.data.__set__(self, other)
        self.numbers = other.numbers

    def __repr__(self):
        return f"pretend({self.numbers!r})"

    def __reduce_ex__(self, protocol):
        """Saved as PyTorch saves tensors of devices without storages of their own: by a copy on the host."""
        _note("read", "save")
        parts = (self.detach().numbers.clone(), self.dtype, NAME, self.requires_grad)
        return torch._utils._rebuild_device_tensor_from_cpu_tensor, parts

    def tolist(self):
        """PyTorch's own refuses subclasses."""
        return self.cpu().tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        _check_operation(function, name)
        if name == "copy_":
            return _copy_(*args, **kwargs)
        if name == "_to_copy" and torch.device(kwargs.get("device") or DEVICE).type == "cpu":
            _note("read", name)
            return function(args[0].numbers, **{**kwargs, "non_blocking": False})
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            args = (args[0], [_as_index(index, name) for index in args[1]], *args[2:])
        tensors = list(_tensors((args, kwargs.values())))
        _check_devices(tensors, name)
        if name in _WAITS or (name == "repeat_interleave" and "output_size" not in kwargs):
            _note("read", name)
        if name in _COPIES and args[0].dim() > 1:
            _note("write", name)
        if kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        shapes = [tensor.shape for tensor in tensors]
        out = function(
            *_each(_numbers, args), **{key: _each(_numbers, value) for key, value in kwargs.items()}
        )
        if torch.Tag.inplace_view in function.tags:
            with torch._C._DisableTorchDispatch():
                function(*args, **kwargs)  # what the wrapping says of its shape
            return args[0]
        assert [_numbers(tensor).shape for tensor in tensors] == shapes, f"{function} resizes in place"
        written = {id(_numbers(tensor)): tensor for tensor in tensors}
        return _each(lambda leaf: written.get(id(leaf), _wrapped(leaf)), out)


_refused = []


def _refuse(message):
    """Raise; in a backward pass, where that ends the process (PyTorch 2.14), at the operation after it."""
    if torch._C._current_graph_task_id() == -1:
        raise RuntimeError(message)
    _refused.append(message)


def _check_operation(function, name):
    if _refused and torch._C._current_graph_task_id() == -1:
        raise RuntimeError(_refused.pop())
    if torch.Tag.nondeterministic_seeded in function.tags:
        _refuse(f"{function}: draws from the device's own generator, which nothing here may")
    if name in _UNREPEATABLE:
        _refuse(f"{function}: does not have a deterministic implementation on CUDA")


def _check_devices(tensors, name):
    for tensor in tensors:
        if not isinstance(tensor, PretendTensor) and tensor.dim() > 0:
            _refuse(
                f"Expected all tensors to be on the same device, but {name} found one on {DEVICE} and one of "
                f"shape {tuple(tensor.shape)} on {tensor.device}"
            )
    if tensors and not isinstance(tensors[0], PretendTensor) and name.endswith("_"):
        _refuse(f"{name}: expected what is written to on {DEVICE}, found it on {tensors[0].device}")


def _copy_(target, source, non_blocking=False):
    """The one operation between devices."""
    ours = isinstance(target, PretendTensor), isinstance(source, PretendTensor)
    if ours != (True, True):
        _note("write" if ours[0] else "read", "copy_")
    _numbers(target).copy_(_numbers(source))
    return target


def _as_index(index, name):
    """An index on the device: masks make the host wait, indices of the CPU are copied."""
    if index is None:
        return None
    if index.dtype in (torch.bool, torch.uint8):
        _note("read", f"{name} by a mask")
    if not isinstance(index, PretendTensor):
        _note("write", f"{name} by indices of the CPU")
        return PretendTensor(index)
    return index


def _tensors(tree):
    for item in tree:
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, list | tuple | type({}.values())):
            yield from _tensors(item)


def _each(change, tree):
    """An operation's arguments or results, each changed; they are leaves, or lists and tuples of leaves."""
    if isinstance(tree, list | tuple):
        return type(tree)(_each(change, item) for item in tree)
    return change(tree)


def _numbers(leaf):
    return leaf.numbers if isinstance(leaf, PretendTensor) else leaf


def _wrapped(leaf):
    return PretendTensor(leaf) if isinstance(leaf, torch.Tensor) else leaf


def _empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    shape = {"memory_format": memory_format} if memory_format is not None else {}
    return PretendTensor(torch.empty(size, dtype=dtype, **shape))


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return PretendTensor(torch.empty_strided(size, stride, dtype=dtype))


def _arange(*ends, dtype=None, layout=None, device=None, pin_memory=None):
    return PretendTensor(torch.arange(*ends, dtype=dtype))


def _silu_backward(gradient, x):
    return _wrapped(aten.silu_backward(_numbers(gradient), _numbers(x)))


def _copy_from(source, target, non_blocking=False):
    return _copy_(target, source)


_library = torch.library.Library("aten", "IMPL")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")
for _overload in ("arange", "arange.start", "arange.start_step"):  # PyTorch's own begins empty, and grows
    _library.impl(_overload, _arange, "PrivateUse1")
_library.impl(
    "silu_backward", _silu_backward, "PrivateUse1"
)  # in place of other devices', which rounds otherwise
_library.impl("_copy_from", _copy_from, "PrivateUse1")  # `torch.tensor` passes the wrapping by
# What `torch.load` maps to the device arrives as a tensor of the CPU, from which the device's is then made.
torch.serialization.register_package(
    0, lambda storage: None, lambda storage, location: storage if location.startswith(NAME) else None
)
