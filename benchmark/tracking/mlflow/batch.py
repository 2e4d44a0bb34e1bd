"""What is new of runs, kept a moment and written for many of them together.

A trial of a small net takes seconds or less and many end at once, so a call of MLflow per trial and kind of
value is most of what tracking costs. Nothing here decides what is logged, only when. What the store does not
take goes to the spool, and from there, in order, when it is back: training waits for neither.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from benchmark.contract import stores
from benchmark.tracking.mlflow import spool
from benchmark.tracking.mlflow.changes import Change, Point, Rows, RunWriter, now_ms
from benchmark.tracking.mlflow.spool import Spool

DELAY_S = 2.0
"""Whatever waits is written after at most this long."""

_log = logging.getLogger(__name__)


class Batch:
    """Keeps what is new of runs, and writes it: when asked to, and by itself after `DELAY_S`.

    What is lost by a kill is what waits; so what took longer to compute than that should not wait.

    Args:
        writer: into the store.
        kept: where goes what the store does not take.
        place: the store, in words.

    Attributes:
        kept_in: the folder of that.
    """

    def __init__(self, writer: RunWriter, kept: Spool, place: str) -> None:
        self._writer = writer
        self._spool = kept
        self.kept_in = kept.folder
        self._place = place
        self._pending: dict[str, Change] = {}
        self._outgoing: list[Change] = []  # taken from there to be written
        self._open: set[str] = set()
        self._is_away = self._has_ended = False
        self._state = threading.RLock()  # held briefly; of all above
        self._writing = threading.RLock()  # held while the store is told; taken before `_state`
        self._timer: threading.Timer | None = None
        self._error: Exception | None = None

    def begin(self, name: str, tags: Mapping[str, str], params: Mapping[str, str]) -> str:
        """Begin a run; its id."""
        with self._state:
            change = self._change(self._writer.new_id())
            change.begins = name, now_ms()
            change.tags.update(tags)
            change.params.update(params)
            self._open.add(change.run_id)
            return change.run_id

    def go_on(self, run_id: str, params: Mapping[str, str], untagged: str) -> None:
        """Go on with a run that was begun before; it loses a tag, if it has it."""
        with self._state:
            change = self._change(run_id)
            change.params.update(params)
            change.tags.pop(untagged, None)
            change.untagged.append(untagged)
            change.status = "RUNNING", None
            self._open.add(run_id)

    def log(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        """Keep a run's metrics at a step."""
        now = now_ms()
        with self._state:
            self._change(run_id).points += [Point(name, value, now, step) for name, value in values.items()]

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Keep a run's tags."""
        with self._state:
            change = self._change(run_id)
            change.tags.update(tags)
            change.untagged = [name for name in change.untagged if name not in tags]

    def document(self, run_id: str, name: str, document: dict[str, Any]) -> None:
        """Keep a document of a run, in place of an earlier one."""
        with self._state:
            self._change(run_id).documents[name] = document

    def text(self, run_id: str, name: str, text: str) -> None:
        """Keep a text of a run, in place of an earlier one."""
        with self._state:
            self._change(run_id).texts[name] = text

    def end(
        self,
        run_id: str,
        status: str,
        tags: Mapping[str, str] | None = None,
        tables: Mapping[str, Rows] | None = None,
    ) -> None:
        """Keep that a run has ended, with which tags and tables."""
        with self._state:
            self.tag(run_id, tags or {})
            change = self._change(run_id)
            change.tables.update(tables or {})
            change.status = status, now_ms()
            self._open.discard(run_id)

    def end_open(self, status: str) -> None:
        """Keep that all runs have ended which were begun or gone on with here, and have not."""
        for run_id in list(self._open):
            self.end(run_id, status)

    def flush(self) -> None:
        """Write what waits; while the store does not answer, put it into the spool instead."""
        if self._put_aside():
            return
        with self._writing:
            if self._put_aside():  # it has gone away meanwhile
                return
            with self._state:
                self._error = None
                self._outgoing += self._take()
            try:
                if self._outgoing:
                    self._writer.write(self._outgoing)
            except Exception as error:
                if not (why := stores.why_away(error)):
                    raise  # what could not be written is the first to be written next time
                self._go_away(why)
            self._outgoing = []

    def deliver(self, patience_s: float) -> bool:
        """At the end, write all that waits, and all that is in the spool; whether the store has taken it.

        Args:
            patience_s: how long a store is waited for that does not answer.
        """
        self.flush()
        deadline = time.monotonic() + patience_s
        while self._is_away and not self._try_again():
            if time.monotonic() > deadline:
                with self._writing:  # what the clock has begun is over
                    self._has_ended = True
                return False
            time.sleep(stores.RETRY_S)
        return True

    def _take(self) -> list[Change]:
        """What waits, which then does not; the clock is stopped. The caller holds the state."""
        changes = list(self._pending.values())
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return changes

    def _put_aside(self) -> bool:
        """While the store is away: what waits into the spool, and true."""
        with self._state:
            if self._is_away:
                self._spool.put(self._take())
                self._wind(stores.RETRY_S)
            return self._is_away

    def _go_away(self, why: str) -> None:
        with self._state:
            self._is_away = True
            self._spool.put(self._outgoing)
            self._put_aside()
        _log.warning(
            "%s does not take results (%s): they are kept in %s, and training goes on",
            self._place,
            why,
            self._spool.folder,
        )

    def _try_again(self) -> bool:
        """Deliver the spool, as far as the store takes it; whether that is all of it."""
        with self._writing:
            if not self._is_away or self._has_ended:
                return not self._is_away
            while True:
                with self._state:
                    self._put_aside()
                    files = spool.waiting(self._spool.folder)
                    if not files:
                        self._is_away = False
                        self._take()
                        break
                try:
                    self._writer.write(spool.read(files[0])[1])
                except Exception as error:
                    if not stores.why_away(error):
                        raise
                    return False
                spool.remove(files[0])
        _log.warning("%s has taken all that was kept for it", self._place)
        return True

    def _change(self, run_id: str) -> Change:
        """What waits of a run; from the first on, the clock runs."""
        if self._error is not None:
            raise self._error
        self._wind(DELAY_S)
        return self._pending.setdefault(run_id, Change(run_id))

    def _wind(self, seconds: float) -> None:
        if self._timer is None and not self._has_ended:
            self._timer = threading.Timer(seconds, self._ring)
            self._timer.daemon = True
            self._timer.start()

    def _ring(self) -> None:
        """Write in the clock's thread; what it raises is for whoever comes next."""
        with self._state:
            self._timer = None
        try:
            if self._is_away:
                self._try_again()
            else:
                self.flush()
        except Exception as error:
            self._error = error
