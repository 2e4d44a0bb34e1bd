"""The processes that candidates live in, and what they are asked.

Each has its own number of threads and its own libraries, so that none disturbs another; while one is measured
the others wait. A process holds several candidates, of one net at a time.
"""

import contextlib
import multiprocessing
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from benchmark.base import seeding
from benchmark.base.errors import InputError
from benchmark.throughput.ceilings import Machine, Work, count_work, measure_machine
from benchmark.throughput.conventional import Conventional, plain_network, plain_optimizer
from benchmark.throughput.nets import ACTIVATION, Net, made_data, network_of
from benchmark.throughput.ours import Ours, TrialTook, chosen, measure_trial
from benchmark.throughput.timing import Took
from benchmark.throughput.with_keras import WithKeras


@dataclass(frozen=True)
class Candidate:
    """A way to train.

    Attributes:
        kind: `conventional`, `keras` or `ours`.
        name: an engine's name, or a backend's.
        replicas: that train in one step.
        processes: side by side, each with as many replicas.
        threads: of each; 0: what the library takes by itself, which is every core.
    """

    kind: str
    name: str = ""
    replicas: int = 1
    processes: int = 1
    threads: int = 1

    @property
    def label(self) -> str:
        """For people: `eager`, `fused R=4`, `keras (torch)`."""
        if self.kind == "ours":
            return f"{self.name} R={self.replicas}" if self.replicas > 1 else self.name
        return f"{self.kind} ({self.name})" if self.name else self.kind

    @property
    def homes(self) -> list[tuple[str, int, int]]:
        """Which processes it lives in: (libraries, threads, number)."""
        libraries = f"keras-{self.name}" if self.kind == "keras" else self.kind
        return [(libraries, self.threads, number) for number in range(self.processes)]


@dataclass(frozen=True)
class Built:
    """What is known of a candidate before it is measured.

    Attributes:
        num_images: of a step, in one process.
        launches: operators of a step; None where nobody counts them.
        threads: that it has.
    """

    num_images: int
    launches: float | None
    threads: int


class _Runner(Protocol):
    num_images: int
    launches: float | None

    def measure(self, num_steps: int) -> Took: ...


class _Service:
    """What runs in a process: the answers to what `Home` asks."""

    def __init__(self, libraries: str, threads: int, device: str) -> None:
        if threads:
            torch.set_num_threads(threads)
        if libraries == "ours":  # scripts do not ask for it
            seeding.make_deterministic()
        self._device = torch.device(device)
        self._runners: dict[Candidate, _Runner] = {}

    def take(self, net: Net, normalization: str) -> Work:
        """Forget the last net, make the next one's data, and count its step.

        Every process counts, side by side: the first step of each imports half of PyTorch's compiler, for
        seconds.
        """
        self._normalization = normalization
        self._study, self._data = net.spec(), made_data(net, self._device)
        self._runners.clear()
        network = plain_network(
            network_of(self._study), normalization, ACTIVATION, self._data.image_shape, self._data.num_classes
        ).to(self._device)
        batch = slice(0, self._study.budget.batch_size)
        images, labels = self._data.train.take(batch), self._data.train.labels[batch]
        return count_work(network, plain_optimizer(self._study, network), images, labels)

    def build(self, candidate: Candidate) -> Built | str:
        """Make a candidate of the present net; or the reason why it cannot be."""
        setting = self._study, self._normalization, self._data
        try:
            if candidate.kind == "conventional":
                runner: _Runner = Conventional(*setting)
            elif candidate.kind == "keras":
                runner = WithKeras(*setting, candidate.name)
            else:
                runner = Ours(*setting, candidate.name, candidate.replicas)
            runner.measure(1)  # what the first step costs extra is not measured
        except InputError as error:
            return str(error)
        self._runners[candidate] = runner
        return Built(runner.num_images, runner.launches, torch.get_num_threads())

    def measure(self, candidate: Candidate, num_steps: int) -> Took:
        """Time steps of a candidate."""
        return self._runners[candidate].measure(num_steps)

    def machine(self, seconds: float, large: bool) -> Machine:
        """Measure the ceilings."""
        return measure_machine(self._device, seconds=seconds, large=large)

    def chosen(self, most_replicas: int) -> tuple[str, int]:
        """What `auto` takes for the present net."""
        return chosen(self._study, self._normalization, self._data, most_replicas)

    def trial(self, engine: str, replicas: int) -> TrialTook | str:
        """Time confirm trials of the present net; or the reason why it cannot be."""
        try:
            return measure_trial(self._study, self._normalization, self._data, engine, replicas)
        except InputError as error:
            return str(error)


class Home:
    """One process, and the connection to it.

    Args:
        libraries: whose candidates it takes: `conventional`, `ours`, or Keras with a backend.
        threads: of its CPU; 0: as many as its libraries take.
        device: where its candidates train.
    """

    def __init__(self, libraries: str, threads: int, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # No daemon: a conventional candidate has processes of its own.
        self._process = context.Process(target=_serve, args=(theirs, libraries, threads, device))
        self._process.start()
        theirs.close()

    def ask(self, what: str, *arguments: Any) -> None:
        """Begin with something; `answer` waits for it."""
        self._connection.send((what, arguments))

    def answer(self) -> Any:
        """What came of the last question.

        Raises:
            RuntimeError: the process has ended; it said why.
        """
        try:
            return self._connection.recv()
        except EOFError:
            raise RuntimeError("a measuring process has died: its own words are above") from None

    def close(self) -> None:
        """End it; at once if it is at work, whose answer nobody awaits then."""
        self._connection.close()  # it ends by itself when nobody is left to ask
        self._process.join(1.0)
        self._process.kill()
        self._process.join()


def ask_all(homes: Sequence[Home], what: str, *arguments: Any) -> list[Any]:
    """Ask the same of several at once, and wait for all."""
    for home in homes:
        home.ask(what, *arguments)
    return [home.answer() for home in homes]


def _serve(connection: Connection, libraries: str, threads: int, device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    # A spawned process would have its own children spawned, too; a script's are made as the platform has it.
    multiprocessing.set_start_method(None, force=True)
    service = _Service(libraries, threads, device)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            what, arguments = connection.recv()
            connection.send(getattr(service, what)(*arguments))
