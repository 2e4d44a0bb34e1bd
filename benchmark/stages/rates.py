"""Which learning rates are tried: with `storage` the modules that import optuna.

One Optuna trial is one rate: of a variant, with all its seeds; of a refinement, with the one seed whose edge
is bisected. Its value is the mean over seeds of min(final validation loss, loss cap); its user attribute
`trials` names its trials by the hashes that the tracker knows them by.
"""

import logging
import warnings
from collections.abc import Sequence

import optuna
from optuna.samplers import BaseSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from benchmark.stages.storage import PARAMETER
from benchmark.study.plan import round_rate
from benchmark.study.spec import SearchSpec

_log = logging.getLogger(__name__)
# A rate is given up when a signed-rank test of its seeds against the best rate's says worse at this level.
_PRUNING_P = 0.1

RateAndSeed = tuple[float, int | None]
"""A cell: its learning rate, and the seed whose edge it bisects; None for all seeds."""


class TriedRate:
    """One learning rate being tried."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._study = study
        self._trial = trial

    def should_stop(self, num_seeds_done: int, loss: float) -> bool:
        """Note the loss of one more seed; whether the rate is clearly worse than the best so far."""
        self._trial.report(loss, step=num_seeds_done)
        return self._trial.should_prune()

    def finish(self, losses: Sequence[float], trial_hashes: Sequence[str], *, pruned: bool = False) -> None:
        """Record the rate's value and its trials; no losses: every trial of it failed."""
        self._trial.set_user_attr("trials", list(trial_hashes))
        if pruned:
            self._study.tell(self._trial, state=TrialState.PRUNED)
        elif losses:
            self._study.tell(self._trial, sum(losses) / len(losses))
        else:
            self._study.tell(self._trial, state=TrialState.FAIL)


class RateSearch:
    """The learning rates of one variant, in an Optuna study that survives the process.

    Args:
        storage: from `storage.open_storage`.
        name: the Optuna study's name; opened if it exists, so that a killed study goes on. Cells that were
            being tried then, or whose trials all failed, are asked for again.
        search: the study's search section.
        rates: the grid, for the grid sampler.
        seed: of the sampler.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        name: str,
        search: SearchSpec,
        rates: Sequence[float],
        seed: int,
    ) -> None:
        self._search = search
        self._rates = rates
        self._seed = seed
        self._range = (rates[0], rates[-1]) if self._is_grid else (search.low, search.high)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the pruner is marked so
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=_PRUNING_P) if search.pruning else None
        self._study = optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=_sampler(search, rates, seed),
            pruner=pruner or optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        # Told through a handle of its own: the grid sampler stops the study after its last grid point, which
        # outside `optimize` is an error.
        self._recorder = optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler())
        self._give_up_unfinished()
        self._lost = self._find_lost()

    def finished(self) -> dict[RateAndSeed, int | None]:
        """Every cell that was told a value: None, or, if it was pruned, after how many of its seeds."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return {
            _key(trial): len(trial.intermediate_values) if trial.state == TrialState.PRUNED else None
            for trial in self._study.get_trials(deepcopy=False, states=states)
        }

    def ask(self) -> TriedRate:
        """The next cell."""
        if self._lost:
            return self.try_rate(self._lost.pop(0))
        if self._search.sampler in ("random", "tpe"):
            # Their generators start anew with the process: seeded by the cell's number, a study that was
            # interrupted goes on as if it had not been.
            self._study.sampler = _sampler(self._search, self._rates, self._seed + self._num_sampled())
        return self._next()

    def try_rate(self, learning_rate: float, seed: int | None = None) -> TriedRate:
        """The cell of a given rate: an extension of the grid, or a bisection for one seed."""
        attributes = {"enqueued": learning_rate} | ({} if seed is None else {"seed": seed})
        self._study.enqueue_trial({PARAMETER: learning_rate}, user_attrs=attributes)
        return self._next()

    def _next(self) -> TriedRate:
        trial = self._study.ask()
        enqueued = trial.user_attrs.get("enqueued", self._range[0])  # may lie outside the first range
        low, high = min(self._range[0], enqueued), max(self._range[1], enqueued)
        rate = trial.suggest_float(PARAMETER, low, high, log=low < high)
        return TriedRate(self._recorder, trial, round_rate(rate))

    def _give_up_unfinished(self) -> None:
        """Mark as failed what a killed process was trying: those cells are tried anew, in new trials."""
        for _ in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._recorder.ask()  # enqueued, but never taken: it would be taken for the next one enqueued
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._recorder.tell(trial.number, state=TrialState.FAIL)

    def _find_lost(self) -> list[float]:
        """Rates that were asked for before and have no value; Optuna itself never comes back to them."""
        trials = self._study.get_trials(deepcopy=False)
        if self._is_grid:
            asked = list(self._rates) if trials else []
        else:
            asked = [_key(trial)[0] for trial in trials if trial.params]
        done = self.finished()
        return [rate for rate in dict.fromkeys(asked) if (rate, None) not in done]

    def _num_sampled(self) -> int:
        trials = self._study.get_trials(deepcopy=False)
        return sum(bool(trial.params) and "enqueued" not in trial.user_attrs for trial in trials)

    @property
    def _is_grid(self) -> bool:
        return self._search.sampler in ("grid", "fixed")


def _key(trial: optuna.trial.FrozenTrial) -> RateAndSeed:
    return round_rate(trial.params[PARAMETER]), trial.user_attrs.get("seed")


def _sampler(search: SearchSpec, rates: Sequence[float], seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # QMC is marked experimental
        if search.sampler == "qmc":
            # Scrambled: an unscrambled Sobol sequence starts at the range's lower end.
            return QMCSampler(scramble=True, seed=seed)
    if search.sampler == "tpe":
        # By default its first ten trials are random: most searches would end before it has begun.
        return TPESampler(n_startup_trials=max(2, search.num_rates // 3), seed=seed)
    if search.sampler == "random":
        return RandomSampler(seed=seed)
    return GridSampler({PARAMETER: list(rates)}, seed=seed)
