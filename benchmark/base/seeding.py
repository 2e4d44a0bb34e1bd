"""Named random streams: every random number is a pure function of names and counters.

A seed owns one stream per use (`init`, `order`, `augmentation`, `dropout`, `noise`). A number is found by
hashing (seed, stream, step, index), never by advancing a generator, so it depends neither on the variant nor
on the learning rate, the device, or what else runs; and a trial resumes from its step number alone.

The hash is Philox-4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011), in int64 arithmetic so that CPU and CUDA give the same bits.
"""

import hashlib
import os
from functools import cache

import torch
from torch import Tensor

STREAMS = ("init", "order", "augmentation", "dropout", "noise")

# Round multipliers and Weyl increments of Philox-4x32, from the paper's table 2 and section 3.3.
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_MASK = 0xFFFFFFFF
_ROUNDS = 10


def derive(*components: int | str) -> int:
    """Hash named components into a 63-bit integer, the same on every machine and Python.

    Args:
        components: for example a seed, a stream's name and a layer's index.
    """
    digest = hashlib.sha256("/".join(map(str, components)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def stream_key(seed: int, stream: str, device: torch.device | str = "cpu") -> Tensor:
    """The key of one of a seed's streams. [2] int64, each entry below 2**32.

    Raises:
        ValueError: `stream` is none of `STREAMS`.
    """
    if stream not in STREAMS:
        raise ValueError(f"stream: expected one of {STREAMS}, found {stream!r}")
    value = derive(seed, stream)
    return torch.tensor([value & _MASK, value >> 32], dtype=torch.int64, device=device)


def generator(seed: int, *components: int | str) -> torch.Generator:
    """A CPU generator for draws made once per trial on the host: initial weights."""
    return torch.Generator().manual_seed(derive(seed, *components))


def philox(key: Tensor, counter: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Philox-4x32-10.

    Args:
        key: [..., 2] int64, entries in [0, 2**32); its leading dimensions are those of S.
        counter: four int64 tensors, entries in [0, 2**32), that broadcast to one shape S.

    Returns:
        [4, *S] int64, entries in [0, 2**32), independent and uniform over distinct (key, counter).
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)
    # Both halves of a round in one tensor: what the products' halves become changes places each round, so the
    # constants take turns instead. High bits are cleared only before a product, which no others can reach.
    multipliers, keys = _constants(key.device)
    keys = ((key[..., None, :] + keys) & _MASK).movedim(-2, 0).movedim(-1, 1)  # [10, 2, ...]
    keys = keys.reshape(*keys.shape, *[1] * (c0.dim() - key.dim() + 1))
    multipliers = multipliers.view(2, 2, *[1] * c0.dim())
    even, odd = torch.stack((c0, c2)), (c3, c1)
    for number in range(_ROUNDS):
        order = (0, 1) if number % 2 else (1, 0)
        # The products wrap modulo 2**64: their low and high 32 bits are right whatever the sign.
        product = even.bitwise_and_(_MASK).mul_(multipliers[number % 2])
        even = product >> 32
        for half in (0, 1):
            even[half].bitwise_xor_(odd[half]).bitwise_xor_(keys[number, order[half]])
        odd = (product[1], product[0])
    return torch.stack((even[0], odd[1], even[1], odd[0])).bitwise_and_(_MASK)


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """The multipliers of the even and the odd rounds, [2, 2], and what each round's key adds, [10, 2]."""
    multipliers = torch.tensor([[_M0, _M1], [_M1, _M0]], device=device)
    return multipliers, torch.tensor([[r * _W0, r * _W1] for r in range(_ROUNDS)], device=device)


def words(key: Tensor, position: Tensor | int, count: int) -> Tensor:
    """`count` random 32-bit words of streams, each at one position (a step, an epoch).

    Args:
        key: [..., 2] int64, from `stream_key`.
        position: int64 [...], or one for all; below 2**32.
        count: how many of each.

    Returns:
        [..., count] int64, entries in [0, 2**32). The first n of them do not depend on `count`.
    """
    index = torch.arange((count + 3) // 4, device=key.device)
    zero = torch.zeros((), dtype=torch.int64, device=key.device)
    positions = (zero + position).expand(key.shape[:-1]).unsqueeze(-1)
    return philox(key, (index, zero, positions, zero)).movedim(0, -1).flatten(-2)[..., :count]


def uniform(key: Tensor, position: Tensor | int, shape: tuple[int, ...]) -> Tensor:
    """Uniform float32 in [0, 1), [..., *shape], on the 24-bit grid that float32 holds exactly."""
    count = torch.Size(shape).numel()
    return ((words(key, position, count) >> 8).float() * 2.0**-24).reshape(*key.shape[:-1], *shape)


def permutation(key: Tensor, position: int, length: int) -> Tensor:
    """A random order of `range(length)` from each of some streams. [..., length] int64.

    Sorting 32-bit words: a tie, of probability length**2 / 2**33, is broken by index, the same everywhere.
    """
    return torch.argsort(words(key, position, length), stable=True)


def make_deterministic() -> None:
    """Ask this process' libraries for repeatable, full-precision float32 arithmetic; before CUDA is used.

    On a CPU, repeatability rests on equal kernels and thread counts alone, and nothing here changes a number.
    On CUDA it rests on

    - cuDNN: its deterministic algorithms, none chosen by timing;
    - cuBLAS: a workspace of fixed size (its documentation, "Results Reproducibility");
    - PyTorch: kernels without atomic additions where it has both kinds (gradients of indexing and `gather`;
      `scatter`, `index_put`), and an error where it has no repeatable one. By the list of
      `torch.use_deterministic_algorithms`, and by what the CUDA library of PyTorch 2.14 can raise, nothing
      here is of that kind: gradients of `max_pool2d`, convolutions, means and log-softmax are not on
      the list, and that of `grid_sample` is not asked for. `tests/pretend_gpu.py` refuses what is on it;
    - random numbers that are hashes of counters, above, and never the device's generator's.
    """
    torch.backends.cudnn.benchmark = False  # would choose algorithms by timing them
    torch.backends.cudnn.deterministic = True
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # What `use_deterministic_algorithms` sets, without importing the compiler, which takes seconds.
    torch.set_deterministic_debug_mode("error")
    # Not NaN into all new memory: that finds reads of it, and costs a pass over everything.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # TF32 rounds products to 10 bits: another experiment than the CPU's.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
