"""Runs a study: sweep, refine, select, confirm; goes on where a killed one stopped.

A stage is a set of chains (see `scheduler`): its adaptive parts, bisections and TPE, read top to bottom,
while the trials of all chains share the workers.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.base.seeding import derive
from benchmark.cli.display import Display
from benchmark.contract import BASELINE
from benchmark.data.datasets import DeviceData
from benchmark.execution.chains import Chain, Scheduler
from benchmark.execution.executors import Executor
from benchmark.stages.decisions import Decisions, Result
from benchmark.stages.rates import Cell, Key, RateSearch, open_storage
from benchmark.study import plan
from benchmark.study.spec import StudySpec
from benchmark.tracking import Record, Tracker
from benchmark.training.losses import loss_cap
from benchmark.variants.variant import Variant


@dataclass
class _Progress:
    planned: dict[str, int | None]  # by stage; None while it depends on what comes out before
    num_failed: int = 0


class StudyRun:
    """One run of a study, stage by stage."""

    def __init__(
        self,
        study: StudySpec,
        data: DeviceData,
        tracker: Tracker,
        executor: Executor,
        display: Display,
        folder: Path,
        command: str,
    ) -> None:
        self._study = study
        self._fingerprint = data.fingerprint
        self._tracker = tracker
        self._executor = executor
        self._display = display
        self._command = command
        self._began = time.monotonic()
        self._earlier_s = (tracker.read_json("progress.json") or {}).get("wall_time_s", 0.0)
        self._storage = open_storage(folder / "optuna.db")
        self._decisions = Decisions(data.num_classes, study.judge.rho, loss=study.loss)
        self._loss_cap = loss_cap(data.num_classes, study.loss)
        self._sweep_results: dict[Variant, dict[float, dict[int, Result]]] = {
            variant: defaultdict(dict) for variant in study.variants.product()
        }
        self._progress = _Progress({size.stage: None for size in plan.stage_sizes(study)})

    def run(self) -> bool:
        """All stages; whether every trial came to a result."""
        search = self._study.search
        try:
            self._sweep()
            if search.sampler != "fixed":
                if search.sampler == "grid" and search.num_bisections:
                    self._refine()
                if self._study.init.gains:
                    self._vary_gains()
                self._confirm()
        finally:
            self._log_progress()
        return self._progress.num_failed == 0

    def _sweep(self) -> None:
        """Every variant at every rate; then the grid grows while a best rate lies on its edge."""
        search, decisions = self._study.search, self._decisions
        decisions.grid = plan.grid(self._study)
        searches = {v: self._rate_search(v, "sweep") for v in self._study.variants.product()}
        num_trials = len(searches) * search.num_rates * self._study.seeds.sweep
        self._run_stage("sweep", None if search.pruning else num_trials, self._sweep_chains(searches))
        decisions.select(self._study, self._sweep_results)
        while search.sampler == "grid" and decisions.num_extensions < search.num_extensions:
            new = self._extension()
            if not new:
                break
            decisions.num_extensions += 1
            chains = [self._extension_chain(v, searches[v], rate) for v in searches for rate in new]
            self._display.note(
                f"a best rate lies on the grid's edge: trying {', '.join(f'{r:g}' for r in new)}"
            )
            self._run_stage("sweep", len(chains) * self._study.seeds.sweep, chains)
            decisions.select(self._study, self._sweep_results)
        self._log_decisions()

    def _extension(self) -> list[float]:
        """Rates to add for all variants: two beyond each edge where a best rate lies."""
        decisions, old = self._decisions, self._decisions.grid
        edges = {rate for variant, rate in decisions.best.items() if decisions.at_edge[variant]}
        grid = old
        if old[0] in edges:
            grid = plan.extend_grid(grid, upwards=False)
        if old[-1] in edges:
            grid = plan.extend_grid(grid, upwards=True)
        decisions.grid = grid
        return [rate for rate in grid if rate not in old]

    def _sweep_chains(self, searches: dict[Variant, RateSearch]) -> Iterator[Chain]:
        for variant, search in searches.items():
            done = {rate: num_seeds for (rate, _), num_seeds in search.finished().items()}
            if self._study.search.sampler == "grid":  # extensions come later, as they did the first time
                done = {rate: num_seeds for rate, num_seeds in done.items() if rate in self._decisions.grid}
            for rate, num_seeds in done.items():
                yield self._cell_chain(variant, rate, None, num_seeds)
            remaining = self._study.search.num_rates - len(done)
            if self._study.search.sampler == "tpe":
                yield self._adaptive_chain(variant, search, remaining)
            else:
                for _ in range(remaining):
                    cell = search.ask()
                    yield self._cell_chain(variant, cell.learning_rate, cell)

    def _cell_chain(
        self, variant: Variant, rate: float, cell: Cell | None, num_seeds: int | None = None
    ) -> Chain:
        """The sweep seeds of a rate, or the first few; `cell` is None where Optuna knows its value."""
        records = yield self._trials(variant, rate, plan.sweep_seeds(self._study)[:num_seeds], "sweep")
        if cell is not None:
            self._tell(cell, records)

    def _extension_chain(self, variant: Variant, search: RateSearch, rate: float) -> Chain:
        cell = None if (rate, None) in search.finished() else search.try_rate(rate)
        return self._cell_chain(variant, rate, cell)

    def _adaptive_chain(self, variant: Variant, search: RateSearch, count: int) -> Chain:
        """One rate after another, each chosen knowing the last; with pruning, one seed after another."""
        for _ in range(count):
            cell = search.ask()
            trials = self._trials(variant, cell.learning_rate, plan.sweep_seeds(self._study), "sweep")
            records: list[Record | None] = []
            pruned = False
            batches = [[trial] for trial in trials] if self._study.search.pruning else [trials]
            for number, batch in enumerate(batches):
                records += yield batch
                if self._study.search.pruning and records[-1] is not None:
                    pruned = cell.should_stop(number, self._capped_loss(records[-1]))
                    if pruned:
                        break
            self._tell(cell, records, pruned=pruned)

    def _refine(self) -> None:
        """Bisect every variant's and seed's stability edge."""
        chains = []
        for variant in self._study.variants.product():
            search = self._rate_search(variant, "refine")
            known = search.finished().keys()
            chains += [
                self._bisection_chain(variant, s, search, known) for s in plan.sweep_seeds(self._study)
            ]
        self._run_stage("refine", None, chains)
        self._log_decisions()

    def _bisection_chain(
        self, variant: Variant, seed: int, search: RateSearch, known: Collection[Key]
    ) -> Chain:
        results = {rate: seeds[seed] for rate, seeds in self._sweep_results[variant].items() if seed in seeds}
        for _ in range(self._study.search.num_bisections):
            stable, unstable = self._decisions.edges(variant, results)
            if stable is None or unstable is None:
                return
            rate = plan.bisect_rate(stable, unstable)
            cell = None if (rate, seed) in known else search.try_rate(rate, seed)
            records = yield self._trials(variant, rate, [seed], "refine")
            if cell is not None:
                self._tell(cell, records)
            if records[0] is None:
                return
            results[rate] = _result(records[0])

    def _vary_gains(self) -> None:
        """Each variant at its best rate, from initial weights of other scales."""

        def chain(variant: Variant, rate: float, gain: float) -> Chain:
            trials = self._trials(variant, rate, plan.sweep_seeds(self._study), "gains")
            yield [replace(trial, init_gain=gain) for trial in trials]

        chains = [
            chain(variant, rate, gain)
            for variant, rate in self._decisions.best.items()
            if rate is not None
            for gain in plan.other_gains(self._study)
        ]
        self._run_stage("gains", len(chains) * self._study.seeds.sweep, chains)

    def _confirm(self) -> None:
        """Fresh seeds for the cells that the claims compare.

        Seed by seed: the trials of a pair run close together, so that a machine that gets busier or idler
        on the way does not pass for a faster variant.
        """
        self._decisions.confirm = plan.confirm_cells(self._study, self._decisions.best)
        self._log_decisions()
        seeds = plan.confirm_seeds(self._study)
        walks = "landscape" in self._study.probes.enabled

        def trial(cell: plan.ConfirmCell, seed: int) -> plan.Trial:
            (own,) = self._trials(cell.variant, cell.learning_rate, [seed], "confirm")
            walk = self._decisions.best.get(Variant(BASELINE, cell.variant.activation))
            return replace(own, walk_rate=walk) if walks else own

        def chain(seed: int) -> Chain:
            yield [trial(cell, seed) for cell in cells]

        cells = self._decisions.confirm
        self._run_stage("confirm", len(cells) * len(seeds), [chain(seed) for seed in seeds])

    def _run_stage(self, stage: str, num_trials: int | None, chains: Iterable[Chain]) -> None:
        """Run chains to their ends, feeding the workers from all of them at once."""
        if num_trials is not None:
            self._progress.planned[stage] = (self._progress.planned.get(stage) or 0) + num_trials
        self._log_progress()
        self._display.start_stage(stage, num_trials)
        scheduler = Scheduler(self._executor, self._tracker, self._display, self._study.execution.retries)
        records = scheduler.run(chains)
        for trial, record in records:
            if record is None:
                self._progress.num_failed += 1
            elif stage == "sweep":
                self._sweep_results[trial.variant][trial.learning_rate][trial.seed] = _result(record)
        if num_trials is None:
            self._progress.planned[stage] = len(records)
        self._display.end_stage()

    def _trials(self, variant: Variant, rate: float, seeds: Iterable[int], stage: str) -> list[plan.Trial]:
        return plan.cell(self._study, variant, rate, seeds, stage, self._fingerprint)

    def _rate_search(self, variant: Variant, stage: str) -> RateSearch:
        name = f"{self._study.name}/{plan.study_hash(self._study)}/{variant}/{stage}"
        seed = derive("sampler", str(variant)) % 2**31
        return RateSearch(self._storage, name, self._study.search, self._decisions.grid, seed)

    def _tell(self, cell: Cell, records: list[Record | None], *, pruned: bool = False) -> None:
        finished = [record for record in records if record is not None]
        losses = [self._capped_loss(record) for record in finished]
        cell.finish(losses, [record.run_id for record in finished], pruned=pruned)

    def _capped_loss(self, record: Record) -> float:
        return min(record.metrics["final_val_loss"], self._loss_cap)

    def _log_decisions(self) -> None:
        self._tracker.log_json("decisions.json", self._decisions.document())

    def _log_progress(self) -> None:
        document = {
            "planned": self._progress.planned,
            "num_failed": self._progress.num_failed,
            "wall_time_s": self._earlier_s + time.monotonic() - self._began,  # of all sessions
            "command": self._command,
            "data_fingerprint": self._fingerprint,
        }
        self._tracker.log_json("progress.json", document)


def _result(record: Record) -> Result:
    metrics = record.metrics
    return Result(record.status, metrics["final_val_loss"], metrics["final_val_accuracy"])
