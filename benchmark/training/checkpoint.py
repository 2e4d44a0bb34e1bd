"""What a trial leaves on disk: its progress, so that a killed trial goes on, and its last and best weights.

<folder>/<trial hash>/progress.pt   while it runs: state, best weights, rows logged so far
<folder>/<trial hash>/last.pt       when done: weights and buffers after the last step
<folder>/<trial hash>/best.pt       when done: those of the least validation loss (`save_best_only`)
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.training.state import TrainState


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

    def load_progress(self, device: torch.device) -> tuple[TrainState, dict[str, Any]] | None:
        """What `save_progress` wrote last here; None if nothing readable is there: the trial starts anew."""
        path = self.folder / "progress.pt"
        try:
            saved = torch.load(path, map_location=device, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception:  # torch.load raises what its unpickler and zip reader raise on damaged files
            path.unlink()
            return None
        if saved.get("machine") != self._machine:
            return None
        return TrainState(**saved["state"]), saved["progress"]

    def finish(self, last: dict[str, Tensor], best: dict[str, Tensor]) -> None:
        """Write the final weights and drop the progress."""
        _save(self.folder / "best.pt", best)
        _save(self.folder / "last.pt", last)
        (self.folder / "progress.pt").unlink(missing_ok=True)


def _save(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(document, partial)
    os.replace(partial, path)  # atomic: a reader sees the old file or the new one
