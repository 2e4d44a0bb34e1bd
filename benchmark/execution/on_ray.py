"""Trials on the machines of a Ray cluster, or on all GPUs of this one.

A worker is an actor, not a task: a task's process may be given another GPU after CUDA has seen its first, so
that Ray ends it after every task, and a start costs seconds. Ray places each worker on the machine that it
is told to, restarts none and repeats nothing: what is lost becomes a `Failure`, and the scheduler tries the
trial again, so that no event is told twice.
"""

import contextlib
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.base import interruption
from benchmark.base.errors import InputError
from benchmark.data.datasets import load
from benchmark.data.shared import Shared, restore, share
from benchmark.execution.executor import Group, WorkerSetup
from benchmark.execution.ray_cluster import connect, last_line
from benchmark.training.events import Evaluation, Event, Failure
from benchmark.training.trial import Trial

_START_S = 120.0  # in which the first workers must have started
_STRAGGLERS_S = 20.0  # after which those that have started do not wait for the others
_LOOK_EVERY_S = 10.0  # between looks for machines that have joined
_SEND_EVERY_S = 0.2  # evaluations in between travel together
_AHEAD = 64  # messages that a worker may be ahead of the runner; then it waits


@dataclass(eq=False)
class _Worker:
    """An actor, and the trials of its group that have not ended, by hash.

    `answer`: what machine it is on, until it has said so. `messages`: of its group. `is_broken`: a trial
    broke its device; it is replaced when all of the group's have ended.
    """

    node: str
    actor: Any
    answer: Any | None
    messages: Any | None = None
    running: dict[str, Trial] = field(default_factory=dict)
    is_broken: bool = False

    @property
    def is_free(self) -> bool:
        return self.answer is None and not self.running

    @property
    def awaited(self) -> Any | None:
        """What Ray can wait for; None of a free worker."""
        return self.answer if self.answer is not None else self.messages


class OnRay:
    """Runs trials in a Ray cluster, one group per worker at a time.

    Only machines whose device and numerics are the runner's are used, whenever they join; the data set is
    sent once to each. This process must run on a machine of the cluster.

    Args:
        setup: what the workers need to know.
        address: `host:port`, `auto`, or empty: Ray is started on this machine alone. Where this process uses
            Ray already, it is what it uses.
        workers: side by side on a device (a machine's CPU, a GPU); 0: one per core, one per GPU.
        threads: CPU threads of each.
        note: is told which machines are used, and which not, and why.
    """

    def __init__(
        self, setup: WorkerSetup, address: str, workers: int, threads: int, note: Callable[[str], None]
    ) -> None:
        self._device = torch.device(setup.device)
        if ":" in setup.device:
            raise InputError(
                f"--device {setup.device}: Ray says which GPU a trial has, and takes all: use --device cuda"
            )
        self._setup = replace(setup, folder=setup.folder.resolve())
        self._address = address
        self._asked = workers
        self._threads = threads
        self._note = note
        self._workers: list[_Worker] = []
        self._queue: deque[Group] = deque()
        self._hosts: dict[str, str] = {}  # of all machines that have been seen, by Ray's name of them
        self._looked_at = 0.0
        self._said: set[str] = set()
        self._open = contextlib.ExitStack()
        self._actor = ray.remote(_Actor)

    @property
    def capacity(self) -> int:
        """How many groups run side by side: changes as machines come and go, but is never none."""
        return max(1, len(self._workers))

    def submit(self, group: Group) -> None:
        """Give a group to a free worker, or queue it."""
        self._queue.append(group)
        self._assign()

    def events(self) -> Iterator[Event]:
        """Wait a while for workers to have something to say, and pass it on.

        Raises:
            InputError: all machines are lost.
        """
        self._look_for_machines()
        if not self._workers:
            raise InputError(
                "Ray: expected a machine to train on, found none left: start some, and run the same command "
                "again, which goes on where this one stopped"
            )
        for worker in self._wait(1.0):
            if worker.answer is not None:
                self._admit(worker)
                events = []
            else:
                events = self._read(worker)
            self._assign()  # first: the worker should not wait for what is made of its results
            yield from events

    def __enter__(self) -> "OnRay":
        with contextlib.ExitStack() as undo:
            undo.callback(self._end)
            self._begin()
            undo.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _begin(self) -> None:
        """Have at least one worker that is ready.

        Raises:
            InputError: there is none to be had.
        """
        if not ray.is_initialized():
            connect(self._address, self._device.type, self._asked, self._threads)
        data = load(self._setup.data, torch.device("cpu"), self._setup.folder / "data")
        self._data = ray.put(share(data))
        mark, name = tempfile.mkstemp(dir=self._setup.folder, prefix=".runner-")
        os.close(mark)
        self._mark = Path(name)
        self._open.callback(self._mark.unlink, missing_ok=True)
        began = time.monotonic()
        self._look_for_machines()
        while any(worker.answer is not None for worker in self._workers):
            waited = time.monotonic() - began
            if waited > (_STRAGGLERS_S if any(worker.is_free for worker in self._workers) else _START_S):
                break
            for worker in self._wait(1.0):
                self._admit(worker)
        if not any(worker.is_free for worker in self._workers):
            raise InputError(
                f"Ray: expected a machine with {self._setup.machine} and {self._threads} free CPU cores"
                f"{' and a GPU' if self._device.type == 'cuda' else ''}, found none among "
                f"{', '.join(self._hosts.values()) or 'no machines at all'}"
            )

    def _end(self) -> None:
        """End the workers; Ray itself ends with this process, or stays for the next study."""
        for worker in self._workers:
            ray.kill(worker.actor)  # checkpoints are written atomically: nothing is lost by a kill
        self._workers.clear()
        self._queue.clear()
        self._open.close()

    def _look_for_machines(self) -> None:
        """Hire workers on machines that have not been seen before."""
        if self._workers and time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        for node in ray.nodes():
            if not node["Alive"] or node["NodeID"] in self._hosts:
                continue
            number, host = self._num_workers(node["Resources"]), node["NodeManagerHostname"]
            self._hosts[node["NodeID"]] = host
            self._workers += [self._hire(node["NodeID"]) for _ in range(number)]
            self._note(f"Ray: {number} workers on {host}")

    def _num_workers(self, resources: Mapping[str, float]) -> int:
        most = int(resources.get("CPU", 0)) // self._threads
        if self._device.type == "cuda":
            return min(int(resources.get("GPU", 0)) * max(1, self._asked), most)
        return min(self._asked or most, most)

    def _hire(self, node: str) -> _Worker:
        actor = self._actor.options(
            num_cpus=self._threads,
            num_gpus=1 / max(1, self._asked) if self._device.type == "cuda" else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            max_restarts=0,
            max_task_retries=0,
        ).remote(self._setup, self._data, self._mark)
        return _Worker(node, actor, actor.machine.remote())

    def _wait(self, timeout_s: float) -> list[_Worker]:
        """The workers that have something to say; none if there is nothing for so long."""
        interruption.check()
        asked = {id(worker.awaited): worker for worker in self._workers if worker.awaited is not None}
        awaited = [worker.awaited for worker in asked.values()]
        if not awaited or not ray.wait(awaited, num_returns=1, timeout=timeout_s)[0]:
            return []
        ready, _ = ray.wait(awaited, num_returns=len(awaited), timeout=0)
        return [asked[id(one)] for one in ready]

    def _admit(self, worker: _Worker) -> None:
        """Let a worker that has started train, if its machine is as the runner's."""
        host, expected = self._hosts[worker.node], self._setup.machine
        try:
            found = ray.get(worker.answer)
        except RayError as error:
            self._dismiss(worker)
            self._say_once(f"Ray: a worker on {host} did not start: {last_line(error)}")
            return
        if found != expected:
            self._dismiss(worker)
            self._say_once(f"Ray: {host} is not used: expected {expected}, found {found}")
            return
        worker.answer = None

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._note(message)

    def _assign(self) -> None:
        for worker in self._workers:
            if self._queue and worker.is_free:
                group = self._queue.popleft()
                worker.running = {trial.hash: trial for trial in group.trials}
                worker.messages = worker.actor.run.options(
                    num_returns="streaming", _generator_backpressure_num_objects=_AHEAD
                ).remote(group)

    def _read(self, worker: _Worker) -> list[Event]:
        """A worker's next message."""
        try:
            events: list[Event] = ray.get(next(worker.messages))  # type: ignore[arg-type]
        except RayError as error:
            return self._bury(worker, error)
        for event in events:
            if not isinstance(event.content, Evaluation):
                del worker.running[event.trial.hash]
            if isinstance(event.content, Failure) and event.content.broke_device:
                worker.is_broken = True
        if not worker.running:
            worker.messages = None
            if worker.is_broken:
                self._dismiss(worker)
                self._workers.append(self._hire(worker.node))
        return events

    def _dismiss(self, worker: _Worker) -> None:
        ray.kill(worker.actor)
        self._workers.remove(worker)

    def _bury(self, worker: _Worker, error: RayError) -> list[Event]:
        """Replace a worker that has died, or do without it where its machine has; its trials have failed."""
        self._dismiss(worker)
        host = self._hosts[worker.node]
        if any(node["Alive"] and node["NodeID"] == worker.node for node in ray.nodes()):
            self._workers.append(self._hire(worker.node))
            failure = Failure(f"its worker process on {host} died", str(error))
        else:
            failure = Failure(f"its machine {host} was lost", str(error), lost_machine=True)
        return [Event(trial, failure) for trial in worker.running.values()]


class _Actor:
    """A worker's life: prepare its process once, then run groups.

    Args:
        setup: what it needs to know.
        data: the data set, where Ray keeps it for all processes of a machine.
        mark: a file in the suite's folder, which another machine sees if the folder is shared.
    """

    def __init__(self, setup: WorkerSetup, data: Shared, mark: Path) -> None:
        device = torch.device(setup.device).type  # Ray shows it one GPU alone, the first
        folder = setup.folder if mark.exists() else _folder_of_this_machine()
        self._setup = replace(setup, device=device, folder=folder)
        self._data = restore(data, self._setup.prepare())

    def machine(self) -> str:
        """What it would train on."""
        return self._setup.machine

    def run(self, group: Group) -> Iterator[list[Event]]:
        """Run a group, in messages of events: those of a moment together, the end of a trial at once."""
        events, sent_at = [], 0.0
        for event in self._setup.run(group, self._data):
            events.append(event)
            is_end = not isinstance(event.content, Evaluation)
            if is_end or time.monotonic() - sent_at > _SEND_EVERY_S:
                yield events
                events, sent_at = [], time.monotonic()


def _folder_of_this_machine() -> Path:
    """Where a machine keeps checkpoints that does not see the runner's folder."""
    return Path(tempfile.gettempdir()) / f"batchnorm-benchmark-{os.getuid()}"
