"""What a study decides on its way, from validation alone: stability, best rates, targets. Pure.

A result here is a finished trial's status and final judged metrics; a diverged trial's metrics are the loss
cap and chance already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from benchmark.contract import (
    BASELINE,
    TARGET_SHARE,
    best_cell,
    capped_loss,
    is_stable,
    is_usable,
    share_above_chance,
)
from benchmark.study.plan import ConfirmCell
from benchmark.study.spec import StudySpec
from benchmark.training.losses import CROSS_ENTROPY, Loss, loss_cap
from benchmark.variants.variant import Variant


@dataclass(frozen=True)
class Result:
    """One finished trial: its status and final judged validation loss and accuracy."""

    status: str
    loss: float
    accuracy: float


Cells = Mapping[Variant, Mapping[float, Mapping[int, Result]]]  # variant -> learning rate -> seed -> result


@dataclass
class Decisions:
    """What has been decided so far.

    Attributes:
        num_classes: K.
        rho: share of a variant's best accuracy above chance that a stable trial keeps.
        grid: the sweep's rates, ascending.
        num_extensions: how often the grid has grown.
        best: each variant's best rate; None where no cell trained half its seeds.
        best_accuracy: each variant's best cell-mean accuracy.
        at_edge: whether its best rate lies on the grid's edge.
        targets: per activation, the accuracy to reach and the variant whose sweep set it.
        confirm: the cells of the confirm stage.
        searched: per variant, the seeds that trained on the grid but were stable nowhere on it, ascending:
            the refinement looked for a stable rate beside their best one.
        loss: the study's.
    """

    num_classes: int
    rho: float
    grid: tuple[float, ...] = ()
    num_extensions: int = 0
    best: dict[Variant, float | None] = field(default_factory=dict)
    best_accuracy: dict[Variant, float] = field(default_factory=dict)
    at_edge: dict[Variant, bool] = field(default_factory=dict)
    targets: dict[str, tuple[float, Variant]] = field(default_factory=dict)
    confirm: list[ConfirmCell] = field(default_factory=list)
    searched: dict[Variant, list[int]] = field(default_factory=dict)
    loss: Loss = CROSS_ENTROPY

    def select(self, study: StudySpec, sweep: Cells) -> None:
        """Choose each variant's best rate, and the targets, from the sweep."""
        for variant, cells in sweep.items():
            self.best_accuracy[variant] = max(
                (fmean(r.accuracy for r in seeds.values()) for seeds in cells.values() if seeds),
                default=self._chance,
            )
            best = self._best_rate(cells)
            self.best[variant] = best
            self.at_edge[variant] = (
                best is not None and len(self.grid) > 1 and best in self.grid[:: len(self.grid) - 1]
            )
        for activation in study.variants.activations:
            target = self._target(study, sweep, activation)
            if target is not None:
                self.targets[activation] = target

    def is_stable(self, variant: Variant, result: Result) -> bool:
        """Section 5: trained, and near enough to the best of its variant."""
        return bool(is_stable(result.status, result.accuracy, self.threshold(variant)))

    def threshold(self, variant: Variant) -> float:
        """The least accuracy of a stable trial of a variant."""
        return share_above_chance(self.best_accuracy[variant], self._chance, self.rho)

    def is_usable(self, variant: Variant) -> bool:
        """Section 5: whether a variant trains at all, next to the study's best."""
        return is_usable(self.best_accuracy[variant], max(self.best_accuracy.values()), self._chance)

    def gaps(
        self, variant: Variant, results: Mapping[float, Result]
    ) -> tuple[list[tuple[float, float]], bool]:
        """Which gaps between one seed's rates the refinement halves next (section 4).

        Args:
            variant: whose.
            results: the seed's, by rate, as far as it was tried.

        Returns:
            the gaps at both edges of the stable rates, the upper one first; where no rate is stable but some
            trained, those on both sides of the best of these; none where none trained. And whether it was so.
        """
        rates = sorted(results)
        stable = [rate for rate in rates if self.is_stable(variant, results[rate])]
        trained = [rate for rate in rates if results[rate].status == "trained"]
        if not trained:
            return [], False
        ends = stable or [max(trained, key=lambda rate: (results[rate].accuracy, -results[rate].loss))]
        above = [(ends[-1], rate) for rate in rates if rate > ends[-1]][:1]
        below = [(rate, ends[0]) for rate in rates if rate < ends[0]][-1:]
        return [*above, *below], not stable

    def note_searched(self, variant: Variant, seed: int) -> None:
        """Remember that the refinement looked for a stable rate of this seed."""
        self.searched[variant] = sorted({*self.searched.get(variant, []), seed})

    def document(self) -> dict[str, Any]:
        """The study run's `decisions.json`; what is not decided yet is left out."""
        return {
            "num_classes": self.num_classes,
            "loss_cap": loss_cap(self.num_classes, self.loss),
            "grid": list(self.grid),
            "num_extensions": self.num_extensions,
            "variants": {
                str(variant): {
                    "best_learning_rate": rate,
                    "at_edge": self.at_edge[variant],
                    "best_cell_accuracy": self.best_accuracy[variant],
                    "stability_threshold": self.threshold(variant),
                    "usable": self.is_usable(variant),
                    "searched_seeds": self.searched.get(variant, []),
                }
                for variant, rate in self.best.items()
            },
            "targets": {
                activation: {"accuracy": accuracy, "variant": str(variant)}
                for activation, (accuracy, variant) in self.targets.items()
            },
            "confirm": [
                {"variant": str(cell.variant), "learning_rate": cell.learning_rate, "roles": list(cell.roles)}
                for cell in self.confirm
            ],
        }

    @property
    def _chance(self) -> float:
        return 1 / self.num_classes

    def _best_rate(self, cells: Mapping[float, Mapping[int, Result]]) -> float | None:
        """The rate of the least mean of min(loss, cap), among cells with half their seeds trained."""
        cap = loss_cap(self.num_classes, self.loss)
        tried = {rate: list(seeds.values()) for rate, seeds in cells.items() if seeds}
        best = best_cell(
            [fmean(capped_loss(result.loss, cap) for result in results) for results in tried.values()],
            [fmean(result.status == "trained" for result in results) for results in tried.values()],
        )
        return None if best is None else list(tried)[best]

    def _target(self, study: StudySpec, sweep: Cells, activation: str) -> tuple[float, Variant] | None:
        setter = Variant(BASELINE, activation)
        if setter not in self.best or not self.is_usable(setter) or self.best[setter] is None:
            setter = next(v for v in study.variants.product() if str(v) == study.variants.reference)
        rate = self.best.get(setter)
        if rate is None:
            return None
        accuracy = median(result.accuracy for result in sweep[setter][rate].values())
        return share_above_chance(accuracy, self._chance, TARGET_SHARE), setter
