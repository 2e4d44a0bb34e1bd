"""Replicas side by side whose steps are recorded once, as a CUDA graph, and then replayed.

A step of a small network launches hundreds of kernels of microseconds each, and the host needs longer to ask
for them than the device to run them. A graph asks for all of them at once.

Shapes: R replicas, S >= R rows of a recording, K steps of its longest graph, B examples of a batch.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from benchmark.base.errors import InputError
from benchmark.data.datasets import Split
from benchmark.training.engines import _steps
from benchmark.training.evaluate import Judgement
from benchmark.training.population import Population
from benchmark.training.state import TrainState
from benchmark.training.step import Problem, StreamKeys, step

_STEPS_PER_REPLAY = 8
"""K. What is left over of an interval is replayed step by step."""

Work = Callable[[], None]


class Recorder(Protocol):
    """Records what work launches: the same operations on the same memory, whenever they are replayed."""

    def warm_up(self, work: Work) -> None:
        """Run work once, for what only its first run needs: libraries' handles, their choices, constants."""

    def record(self, work: Work) -> Work:
        """What launches again all that `work` launches. Its Python is not run again."""


class CudaGraphs:
    """Records CUDA graphs, all in one pool of memory: no two of them may run at once.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # Kept as long as further ones are to share the pool: PyTorch takes none whose graphs have gone.
        self._graphs: list[Any] = []

    def warm_up(self, work: Work) -> None:
        """Run work once beside the stream in use, as PyTorch's notes on CUDA graphs ask for."""
        present, side = torch.cuda.current_stream(self._device), _side_stream(self._device)
        side.wait_stream(present)
        with torch.cuda.stream(side):
            work()
        present.wait_stream(side)

    def record(self, work: Work) -> Work:
        """Capture what work launches.

        Raises:
            RuntimeError: it waits for the device, copies from the host, or there is no memory for it.
        """
        graph = torch.cuda.CUDAGraph()
        pool = self._graphs[0].pool() if self._graphs else None
        capture = torch.cuda.graph(graph, pool=pool, stream=_side_stream(self._device))
        present = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(present):  # or a capture that fails would leave its own stream in use
            try:
                with capture:
                    work()
            except RuntimeError as error:
                # A capture that work has broken ends with an error of its own, which says no more than that.
                first = error.__context__
                raise first if isinstance(first, RuntimeError) else error from None
        self._graphs.append(graph)
        return graph.replay


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all graphs: each stream that cuBLAS has worked on keeps a workspace."""
    return torch.cuda.Stream(device)


class Graphed:
    """R replicas as one network, channels last, as `fused` has them; their steps replayed from CUDA graphs.

    A graph is of one problem and one number of rows, 1, 2, 4, 8 or 16: as few are recorded while replicas end
    one by one. It goes when its problem does.

    Args:
        recorder: makes what records on a device.
    """

    name = "graphed"
    max_rows = 16

    def __init__(self, recorder: Callable[[torch.device], Recorder] = CudaGraphs) -> None:
        self._recorder = recorder
        self._recorded: WeakKeyDictionary[Problem, tuple[Recorder, dict[int, _Recording]]]
        self._recorded = WeakKeyDictionary()

    def check(self, device: torch.device, threads: int) -> None:
        """Refuse what has no CUDA graphs."""
        if device.type != "cuda":
            raise InputError(
                f"execution.engine: expected a CUDA device for 'graphed', found {device.type}: use --device "
                "cuda, or another engine"
            )

    def advance(self, population: Population, num_steps: int) -> None:
        """Replay the steps of all rows; the first time, record them."""
        self._recording_of(population).advance(population, num_steps)
        population.stepped(num_steps)

    def judge(
        self, population: Population, splits: Sequence[Split], reestimation: Split | None
    ) -> list[Judgement]:
        """Evaluate all rows at once, each operation launched."""
        return _steps.judge(population, splits, reestimation, channels_last=True)

    def _recording_of(self, population: Population) -> "_Recording":
        problem, num_rows = population.problem, 1 << (len(population.rows) - 1).bit_length()
        if problem not in self._recorded:
            self._recorded[problem] = self._recorder(population.sums.device), {}
        recorder, recordings = self._recorded[problem]
        if num_rows not in recordings:
            recordings[num_rows] = _Recording(population, num_rows, recorder)
        return recordings[num_rows]


class _Recording:
    """The steps of a problem with so many rows, and the memory that they read and write.

    Keeps nothing of the problem, which would else never go.

    Args:
        population: of the problem; untouched.
        num_rows: S, at least as many as it has.
        recorder: of the problem.
    """

    def __init__(self, population: Population, num_rows: int, recorder: Recorder) -> None:
        own = population.padded(num_rows).clone()
        self._state, self._sums = own.state, own.sums
        self._keys, self._rates = own.keys, own.learning_rates
        self._index = own.batches(_STEPS_PER_REPLAY)  # [K, S, B]
        steps = partial(self._steps, population.problem)
        recorder.warm_up(partial(steps, 1))
        # All at once: what recording costs is then of the first step, which is no trial's time.
        self._replays = {count: recorder.record(partial(steps, count)) for count in (_STEPS_PER_REPLAY, 1)}

    def _steps(self, problem: Problem, count: int) -> None:
        """What is recorded."""
        network = problem.bind(self._state, channels_last=True)
        for index in self._index[:count]:
            self._sums += step(problem, network, self._state, index, self._keys, self._rates)

    def advance(self, population: Population, num_steps: int) -> None:
        """Bring a population in, replay so many steps, and bring it out again; nothing is waited for."""
        num_rows = len(population.rows)
        mine = _tensors(self._state, self._sums, self._keys, self._rates)
        theirs = _tensors(population.state, population.sums, population.keys, population.learning_rates)
        for buffer, rows in zip(mine, theirs, strict=True):
            _fill(buffer, rows)
        batches = population.batches(num_steps)
        whole, rest = divmod(num_steps, _STEPS_PER_REPLAY)
        first = 0
        for count in [_STEPS_PER_REPLAY] * whole + [1] * rest:
            _fill(self._index[:count].transpose(0, 1), batches[first : first + count].transpose(0, 1))
            self._replays[count]()
            first += count
        population.state.copy_(self._state.part(0, num_rows))
        population.sums.copy_(self._sums[:num_rows])


def _tensors(state: TrainState, sums: Tensor, keys: StreamKeys, rates: Tensor) -> list[Tensor]:
    return [*state.tensors(), sums, *vars(keys).values(), rates]


def _fill(buffer: Tensor, rows: Tensor) -> None:
    """[S, ...] takes [R, ...], whose last row is repeated in what is left."""
    buffer[: len(rows)].copy_(rows)
    buffer[len(rows) :].copy_(rows[-1:])
