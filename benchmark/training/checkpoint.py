"""What a trial leaves on disk: its progress, so that a killed trial goes on, and its last and best weights.

<folder>/<trial hash>/progress.pt   while it runs: state, best weights, rows logged so far
<folder>/<trial hash>/last.pt       when done: weights and buffers after the last step
<folder>/<trial hash>/best.pt       when done: those of the least validation loss (`save_best_only`)
"""

import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmark.training.state import TrainState

Read = TypeVar("Read")
_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoint folder of one trial.

    Args:
        folder: where it is.
        machine: what a trial's times and roundings depend on; progress made on another is not gone on with.
    """

    def __init__(self, folder: Path, machine: str = "") -> None:
        self.folder = folder
        self._machine = machine

    def save_progress(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Write the state and the loop's own progress, atomically."""
        _save(
            self.folder / "progress.pt",
            {"state": vars(state), "progress": progress, "machine": self._machine},
        )

    def load_progress(self, device: torch.device, read: Callable[[dict[str, Any]], Read]) -> Read | None:
        """What `save_progress` wrote last here; None if there is nothing to go on from: a new start.

        A file that is damaged, or has another form, is said and removed. Its checksums (CRC-32, of every part
        of the archive that `torch.save` writes) are looked at here, for `torch.load` does not.

        Args:
            device: where the tensors are to be.
            read: makes of the document what is wanted; a `KeyError`, `TypeError` or `ValueError` of it says
                that the document has another form.
        """
        for partial in self.folder.glob("*.partial"):  # of a process that was killed
            partial.unlink(missing_ok=True)
        path = self.folder / "progress.pt"
        if not path.exists():
            return None
        try:
            if not path.is_file():  # a pipe would be waited for
                raise ValueError("it is no file")
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"the checksum of its part {damaged} is another")
            saved = torch.load(path, map_location=device, weights_only=True)
            if saved["machine"] != self._machine:
                return None
            return read(saved)
        except (
            Exception
        ) as error:  # torch.load raises what its unpickler and zip reader raise on damaged files
            _log.warning("%s is damaged (%s); its trial begins anew", path, _first_line(error))
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            return None

    def finish(self, last: dict[str, Tensor], best: dict[str, Tensor]) -> None:
        """Write the final weights and drop the progress."""
        _save(self.folder / "best.pt", best)
        _save(self.folder / "last.pt", last)
        (self.folder / "progress.pt").unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _save(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(document, partial)
    os.replace(partial, path)  # atomic: a reader sees the old file or the new one
