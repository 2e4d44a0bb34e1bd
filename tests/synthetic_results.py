"""Made-up but schema-true results of a study, for tests of measures, claims, figures and the report.

A trial's fate follows from where its rate lies beside its variant's stability edge: within two decades below
the edge it trains, further down it is too slow and stays stuck, above the edge it diverges. The stages are
then decided by the protocol's own rules, so that decisions and trials agree as in a real study.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.results import CURVE_FRAME, PROBE_FRAME, TRIAL_FRAME, Results, Variant
from benchmark import contract
from benchmark.contract import (
    BASELINE,
    BEST,
    CURVE_METRICS,
    FINAL_METRICS,
    RATE_MULTIPLES,
    TARGET_SHARE,
    USABLE_SHARE,
)
from benchmark.probes import PROBES

NUM_CLASSES = 10
CHANCE = 1 / NUM_CLASSES
LOSS_CAP = float(np.log(NUM_CLASSES))
NUM_VALIDATION = 360
NUM_CONVOLUTIONS = 6
EDGES = {"none-sigmoid": 0.2, "batch-sigmoid": 1.2, "none-relu": -0.6, "batch-relu": 0.6}
TIME_CONSTANTS = {"none": 30.0, "batch": 12.0}
GAPS = {"none": 0.30, "batch": 0.15}
ATTENUATION = {"none-sigmoid": 0.6, "none-tanh": 0.3, "none-relu": 0.15}
SMOOTHNESS = {"none": 10.0, "batch": 2.0}
PROBE_EVERY = 5
GAINS = (0.1, 0.316, 1.0, 3.16, 10.0)
RHO = 0.9
COMPETITORS = {"none-he": "He initialization", "none-lsuv": "LSUV initialization"}
"""Normalizations that compete with normalizing, in words; any other is `<name> normalization`."""


def make_results(
    *,
    activations: Sequence[str] = ("sigmoid", "relu"),
    normalizations: Sequence[str] = ("none", "batch"),
    seeds: int = 8,
    confirm_seeds: int = 8,
    edges: Mapping[str, float] | None = None,
    edge_spread: float = 0.05,
    time_constants: Mapping[str, float] | None = None,
    seconds_per_step: Mapping[str, float] | None = None,
    gaps: Mapping[str, float] | None = None,
    attenuation: Mapping[str, float] | None = None,
    smoothness: Mapping[str, float] | None = None,
    untrainable: Collection[str] = (),
    sampler: str = "grid",
    num_steps: int = 200,
    num_bisections: int = 3,
    rng: int = 0,
    with_probes: bool = False,
    with_landscape: bool = False,
    with_gains: bool = False,
    gain_cost: float = 2.5,
) -> Results:
    """A complete study in memory.

    Args:
        activations: of the study.
        normalizations: of the study.
        seeds: number of sweep seeds.
        confirm_seeds: number of confirm seeds.
        edges: log10 of the stability edge, by variant.
        edge_spread: standard deviation of the edge over seeds, decades.
        time_constants: steps to come within 1/e of the best accuracy at the best rate, by variant or norm.
        seconds_per_step: by variant or norm.
        gaps: final validation loss minus training loss, nats, by variant or norm.
        attenuation: decades of gradient norm lost per layer, by variant or norm.
        smoothness: effective smoothness along the gradient, by variant or norm.
        untrainable: variants that stay stuck at every rate.
        sampler: `grid`, or `fixed` for a notebook-like study at the single rate 1e-3.
        num_steps: budget.
        num_bisections: of the stability edge, per variant and seed.
        rng: seed of all noise.
        with_probes: log per-layer probes.
        with_landscape: log the landscape probe in the confirm stage.
        with_gains: train every variant at its best rate with several init gains as well.
        gain_cost: decades of rate that an unnormalized net loses per decade of init gain.
    """
    maker = _Maker(
        activations=tuple(activations),
        normalizations=tuple(normalizations),
        seeds=seeds,
        confirm_seeds=confirm_seeds,
        edges=EDGES | dict(edges or {}),
        edge_spread=edge_spread,
        time_constants=TIME_CONSTANTS | dict(time_constants or {}),
        seconds_per_step={"none": 0.010, "batch": 0.012} | dict(seconds_per_step or {}),
        gaps=GAPS | dict(gaps or {}),
        attenuation=ATTENUATION | dict(attenuation or {}),
        smoothness=SMOOTHNESS | dict(smoothness or {}),
        untrainable=frozenset(untrainable),
        sampler=sampler,
        num_steps=num_steps,
        num_bisections=num_bisections,
        rng=np.random.default_rng(rng),
        with_probes=with_probes,
        with_landscape=with_landscape,
        with_gains=with_gains,
        gain_cost=gain_cost,
    )
    return maker.make()


class _Maker:
    """Runs the made-up study stage by stage."""

    def __init__(self, **options):
        self.__dict__.update(options)
        planned = [Variant(n, a) for a in self.activations for n in self.normalizations]
        self.planned = {variant.name: variant for variant in planned}
        self.variants = list(self.planned)
        self.grid = [1e-3] if self.sampler == "fixed" else [float(r) for r in np.logspace(-3, 2, 6)]
        self.trials, self.curves, self.probes = [], [], []
        self.edge_of = {}

    def steps_s(self):
        """Of every variant, a round per confirm seed."""
        confirm = 0 if self.sampler == "fixed" else self.confirm_seeds
        return {
            variant: (self.of(self.seconds_per_step, variant, 0.014),)
            * contract.timing_rounds(self.seeds, confirm)
            for variant in self.variants
        }

    def make(self) -> Results:
        for variant in self.variants:
            for rate in self.grid:
                for seed in range(self.seeds):
                    self.train(variant, rate, seed, "sweep")
        decisions = self.select()
        if self.sampler != "fixed":
            self.refine(decisions, upper=True)
            others, self.rng = (
                self.rng,
                np.random.default_rng(1),
            )  # of its own: no other number hangs on these
            self.refine(decisions, upper=False)
            self.rng = others
            self.confirm(decisions)
            if self.with_gains:
                self.vary_gains(decisions)
        return self.collect(decisions)

    def of(self, table, variant, default):
        """A setting by variant, else by its normalization, else the default."""
        return table.get(variant, table.get(self.planned[variant].normalization, default))

    def train(self, variant, rate, seed, stage, gain=1.0):
        """One trial: its outcome, curve and probes."""
        normalization, activation = self.planned[variant].normalization, self.planned[variant].activation
        edge = self.edge_of.setdefault(
            (variant, seed), self.of(self.edges, variant, 0.3) + self.edge_spread * self.rng.normal()
        )
        # Without normalization, an init gain far from 1 costs as much as a rate that is as far off.
        distance = (
            np.log10(rate) - edge + (self.gain_cost * abs(np.log10(gain)) if normalization == BASELINE else 0)
        )
        diverged = distance > 0
        stuck = variant in self.untrainable or distance < -3
        every = max(1, self.num_steps // (50 if stage == "confirm" else 20))
        steps = np.arange(0, self.num_steps + 1, every)
        tau = self.of(self.time_constants, variant, 15.0) * 10 ** (0.5 * abs(distance + 0.5))
        tau *= np.exp(0.05 * self.rng.normal())
        peak = 0.97 + 0.004 * self.rng.normal()
        done = np.zeros(len(steps)) if stuck or diverged else 1 - np.exp(-steps / tau)
        if diverged and not stuck:
            steps, done = steps[:3], done[:3]
        trial = {
            "trial_hash": f"{variant}-{rate:.6g}-{seed}-{stage}-{gain:g}",
            "run_id": f"run{len(self.trials):05d}",
            "variant": variant,
            "normalization": normalization,
            "activation": activation,
            "stage": stage,
            "learning_rate": float(rate),
            "seed": seed,
        }
        keys = {k: v for k, v in trial.items() if k not in ("run_id", "learning_rate")}
        keys["trial_learning_rate"] = trial["learning_rate"]
        curve = self.curve(keys, steps, done, peak, spoiled=diverged and not stuck)
        status = "stuck" if stuck else "diverged" if diverged else "trained"
        last = {name: values[-1] for name, values in curve.items()}
        if status == "trained" and last["val_accuracy"] < CHANCE + 0.06:
            status = "stuck"
        self.trials.append(
            trial
            | {"status": status, "status_ema": status, "init_gain": gain}
            | self.finals(last, status, stage)
        )
        self.curves.append(keys | curve)
        if self.with_probes:
            self.probes.append(keys | self.layer_probes(variant, steps[::PROBE_EVERY], done[::PROBE_EVERY]))
        if self.with_landscape and stage == "confirm":
            self.probes.append(keys | self.landscape_probe(variant, steps))

    def curve(self, keys, steps, done, peak, *, spoiled):
        variant = keys["variant"]
        noise = self.rng.normal(size=(2, len(steps))) * np.where(done > 0, 0.004, 0.002)
        accuracy = CHANCE + (peak - CHANCE) * done
        train_loss = LOSS_CAP * (1 - done) + 0.02
        gap = self.of(self.gaps, variant, 0.2) * done**2
        val_accuracy = np.round(np.clip(accuracy + noise[0], 0, 1) * NUM_VALIDATION) / NUM_VALIDATION
        lost = np.where(steps == steps[-1], np.nan, 1.0) if spoiled else 1.0
        first = np.where(steps == 0, np.nan, 1.0)
        val_loss = (train_loss + gap) * lost
        per_step = self.of(self.seconds_per_step, variant, 0.014)
        return {
            "step": steps,
            "epoch": steps * 64 / 1077,
            "examples": steps * 64,
            "train_seconds": steps * per_step,
            "learning_rate": np.full(len(steps), keys["trial_learning_rate"]),
            "train_loss": train_loss * lost * first,
            "train_accuracy": np.clip(accuracy + 0.01, 0, 1) * first,
            "gradient_norm": (1.0 - 0.8 * done) * first,
            "parameter_norm": 10 + done,
            "examples_per_s": np.full(len(steps), 64 / per_step),
            "clean_train_loss": train_loss * lost,
            "clean_train_accuracy": np.clip(accuracy + 0.01 + noise[1], 0, 1),
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "val_loss_ema": val_loss * 1.1,
            "val_accuracy_ema": CHANCE + (val_accuracy - CHANCE) * 0.98,
            "clean_train_loss_ema": train_loss * lost * 1.1,
            "clean_train_accuracy_ema": np.clip(accuracy, 0, 1),
        }

    def finals(self, last, status, stage):
        diverged = status == "diverged"
        finals = {
            "final_val_loss": LOSS_CAP if diverged else last["val_loss"],
            "final_val_accuracy": CHANCE if diverged else last["val_accuracy"],
            "final_val_loss_ema": LOSS_CAP if diverged else last["val_loss_ema"],
            "final_val_accuracy_ema": CHANCE if diverged else last["val_accuracy_ema"],
            "final_clean_train_loss": LOSS_CAP if diverged else last["clean_train_loss"],
            "final_clean_train_accuracy": CHANCE if diverged else last["clean_train_accuracy"],
            "final_clean_train_loss_ema": LOSS_CAP if diverged else last["clean_train_loss_ema"],
            "final_clean_train_accuracy_ema": CHANCE if diverged else last["clean_train_accuracy_ema"],
            "best_val_loss": LOSS_CAP if diverged else last["val_loss"],
            "best_val_step": float(last["step"]),
            "train_seconds": last["train_seconds"],
            "probe_seconds": 0.03 * last["train_seconds"] * self.with_probes,
            "num_steps_done": float(last["step"]),
            "num_parameters": 5000.0,
        }
        test = {"test_loss": finals["final_val_loss"], "test_accuracy": finals["final_val_accuracy"]}
        return finals | (test if stage == "confirm" or self.sampler == "fixed" else {})

    def layer_probes(self, variant, steps, done):
        """[steps x layers] values of every per-layer probe, in long form."""
        layers = [*(f"conv{i + 1}" for i in range(NUM_CONVOLUTIONS)), contract.CLASSIFIER]
        depth = np.arange(len(layers))
        slope = self.of(self.attenuation, variant, 0.02) + 0.01 * self.rng.normal()
        log_norm = (
            slope * (depth - len(layers))
            - 0.5 * done[:, None]
            + 0.02 * self.rng.normal(size=(1, len(layers)))
        )
        ones = np.ones((len(steps), len(layers)))
        spread = ones + done[:, None]
        values = {
            contract.GRADIENT_NORM: 10**log_norm,
            "gradient_ratio": 10 ** (log_norm - 0.5),
            contract.GRADIENT_TIMES_WEIGHT: 3 * 10**log_norm,
            "weight_norm": 3 * ones,
            "update_ratio": np.where(steps[:, None] == 0, np.nan, 1e-3 * ones),
            contract.COVARIATE_SHIFT: 0.1 * (depth > 0) * ones,
            contract.COVARIATE_SHIFT_RELATIVE: 0.1 * depth * ones,
            contract.COVARIATE_SHIFT_COSINE: ones,
            "preactivation_mean": 0.1 * ones,
            "preactivation_std": spread,
            contract.PREACTIVATION_P15: 0.1 - spread,
            contract.PREACTIVATION_P50: 0.1 * ones,
            contract.PREACTIVATION_P85: 0.1 + spread,
        }
        normalization, activation = self.planned[variant].normalization, self.planned[variant].activation
        if activation in ("sigmoid", "tanh"):
            values[contract.SATURATED_SHARE] = (0.05 if normalization == "batch" else 0.3) * ones
        if activation == "relu":
            values[contract.DEAD_SHARE] = 0.1 * ones
        size = len(steps) * len(layers)
        return {
            "step": np.tile(np.repeat(steps, len(layers)), len(values)),
            "probe": np.repeat(list(values), size),
            "layer": np.tile(layers, len(steps) * len(values)),
            "index": np.tile(depth, len(steps) * len(values)),
            "value": np.concatenate([v.ravel() for v in values.values()]),
        }

    def landscape_probe(self, variant, steps):
        """[probes x steps] values of a walk, in long form."""
        level = self.of(self.smoothness, variant, 5.0)
        factors = {  # of the walk with the same steps
            contract.LANDSCAPE_SMOOTHNESS: 1.0,
            contract.LANDSCAPE_LOSS_MIN: 0.1,
            contract.LANDSCAPE_LOSS_MAX: 0.3,
            contract.LANDSCAPE_GRADIENT_CHANGE_MIN: 0.5,
            contract.LANDSCAPE_GRADIENT_CHANGE_MAX: 2.0,
        }
        values = np.exp(0.1 * self.rng.normal(size=(len(factors), len(steps))))
        values *= level * np.array(list(factors.values()))[:, None]
        factors |= {f"{name}{contract.OWN_RATE}": 2 * factor for name, factor in factors.items()}
        values = np.concatenate([values, 2 * values])
        return {
            "step": np.tile(steps, len(factors)),
            "probe": np.repeat(list(factors), len(steps)),
            "layer": np.repeat(contract.WHOLE_NETWORK, values.size),
            "index": np.full(values.size, -1),
            "value": values.ravel(),
        }

    def select(self):
        """The protocol's decisions after the sweep."""
        sweep = pd.DataFrame(self.trials)
        cells = sweep.groupby(["variant", "learning_rate"]).agg(
            loss=("final_val_loss", lambda x: np.minimum(x, LOSS_CAP).mean()),
            accuracy=("final_val_accuracy", "mean"),
            trained=("status", lambda s: (s == "trained").mean()),
        )
        best_of_study = cells["accuracy"].max() - CHANCE
        chosen = {}
        for variant in self.variants:
            own = cells.loc[variant]
            best_accuracy = float(own["accuracy"].max())
            eligible = own[own["trained"] >= 0.5]
            rate = float(eligible["loss"].idxmin()) if len(eligible) else None
            chosen[variant] = {
                "best_learning_rate": rate,
                "at_edge": len(self.grid) > 1 and rate in (self.grid[0], self.grid[-1]),
                "best_cell_accuracy": best_accuracy,
                "usable": bool(best_accuracy - CHANCE >= USABLE_SHARE * best_of_study),
                "stability_threshold": CHANCE + RHO * (best_accuracy - CHANCE),
                "searched_seeds": [],
            }
        return {
            "num_classes": NUM_CLASSES,
            "loss_cap": LOSS_CAP,
            "grid": self.grid,
            "num_extensions": 0,
            "variants": chosen,
            "targets": self.targets(sweep, chosen),
            "confirm": [] if self.sampler == "fixed" else self.confirm_cells(chosen),
        }

    def targets(self, sweep, chosen):
        targets = {}
        for activation in self.activations:
            source = Variant(BASELINE, activation).name
            if source not in chosen or not chosen[source]["usable"]:
                source = self.reference
            at_best = (sweep["variant"] == source) & (
                sweep["learning_rate"] == chosen[source]["best_learning_rate"]
            )
            if not at_best.any():
                continue
            median = sweep[at_best]["final_val_accuracy"].median()
            targets[activation] = {
                "accuracy": float(CHANCE + TARGET_SHARE * (median - CHANCE)),
                "variant": source,
            }
        return targets

    @property
    def reference(self):
        return self.variants[-1]

    def confirm_cells(self, chosen):
        cells: dict[tuple[str, float], list[str]] = {}
        for variant in self.variants:
            rate = chosen[variant]["best_learning_rate"]
            if rate is not None:
                cells.setdefault((variant, rate), []).append(BEST)
            own = self.planned[variant]
            plain = chosen.get(Variant(BASELINE, own.activation).name, {}).get("best_learning_rate")
            if plain is not None and own.normalization != BASELINE:
                for multiple in RATE_MULTIPLES:
                    cells.setdefault((variant, plain * multiple), []).append(f"x{multiple}")
        return [{"variant": v, "learning_rate": r, "roles": roles} for (v, r), roles in cells.items()]

    def refine(self, decisions, *, upper):
        sweep = pd.DataFrame(self.trials)
        for (variant, seed), own in sweep[sweep["stage"] == "sweep"].groupby(["variant", "seed"]):
            threshold = decisions["variants"][variant]["stability_threshold"]
            stable = own[(own["status"] == "trained") & (own["final_val_accuracy"] >= threshold)][
                "learning_rate"
            ]
            if not len(stable):
                continue
            if upper:
                inside, beyond = stable.max(), [rate for rate in self.grid if rate > stable.max()][:1]
            else:
                inside, beyond = stable.min(), [rate for rate in self.grid if rate < stable.min()][-1:]
            if beyond:
                self.bisect(variant, seed, threshold, inside, beyond[0])

    def bisect(self, variant, seed, threshold, inside, outside):
        for _ in range(self.num_bisections):
            middle = float(np.sqrt(inside * outside))
            self.train(variant, middle, seed, "refine")
            last = self.trials[-1]
            if last["status"] == "trained" and last["final_val_accuracy"] >= threshold:
                inside = middle
            else:
                outside = middle

    def confirm(self, decisions):
        for cell in decisions["confirm"]:
            for seed in range(
                contract.CONFIRM_SEED_OFFSET, contract.CONFIRM_SEED_OFFSET + self.confirm_seeds
            ):
                self.train(cell["variant"], cell["learning_rate"], seed, "confirm")

    def vary_gains(self, decisions):
        for variant in self.variants:
            rate = decisions["variants"][variant]["best_learning_rate"]
            for gain in GAINS:
                for seed in range(self.seeds if rate is not None and gain != 1.0 else 0):
                    self.train(variant, rate, seed, "gains", gain)

    def collect(self, decisions) -> Results:
        trials = pd.DataFrame(self.trials).reindex(columns=list(TRIAL_FRAME))
        counts = trials["stage"].value_counts()
        return Results(
            study=self.study(),
            schema=self.schema(),
            decisions=decisions,
            environment=ENVIRONMENT,
            progress={
                "planned": {stage: int(counts.get(stage, 0)) for stage in ("sweep", "refine", "confirm")},
                "wall_time_s": 301.5,
                "command": "python -m benchmark run synthetic",
            },
            run_id="0" * 32,
            study_hash="0123abcd",
            commit="f" * 40,
            data_fingerprint="made",
            trials=trials,
            curves=_frame(self.curves, CURVE_FRAME),
            probes=_frame(self.probes, PROBE_FRAME),
            steps_s=self.steps_s(),
        )

    def schema(self):
        return {
            "schema_version": contract.SCHEMA_VERSION,
            "protocol_version": contract.PROTOCOL_VERSION,
            "metrics": METRICS,
            "probes": {
                name: {"unit": unit, "direction": "none", "description": words, "probe": enabled}
                for enabled, probe in PROBES.items()
                for name, (unit, words) in probe.metrics.items()
            },
            "normalizations": {
                name: {
                    "words": COMPETITORS.get(name, f"{name} normalization"),
                    "is_competitor": name in COMPETITORS,
                }
                for name in self.normalizations
            },
        }

    def study(self):
        every = max(1, self.num_steps // 20)
        return {
            "name": "synthetic",
            "description": "made-up results for tests",
            "variants": {
                "normalizations": list(self.normalizations),
                "activations": list(self.activations),
                "reference": self.reference,
            },
            "data": {
                "dataset": "digits",
                "preprocessing": "standardize",
                "validation": "test" if self.sampler == "fixed" else "split",
                "num_validation": NUM_VALIDATION,
            },
            "network": {"blocks": 3, "width": 8, "dropout": 0.15},
            "init": {"gains": list(GAINS) if self.with_gains else []},
            "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.0},
            "schedule": {"name": "constant"},
            "budget": {
                "num_steps": self.num_steps,
                "batch_size": 64,
                "eval_every": every,
                "confirm_eval_every": max(1, self.num_steps // 50),
            },
            "search": {
                "sampler": self.sampler,
                "low": self.grid[0],
                "high": self.grid[-1],
                "num_rates": len(self.grid),
                "num_bisections": self.num_bisections,
                "num_extensions": 2,
            },
            "seeds": {"sweep": self.seeds, "confirm": self.confirm_seeds, "first": 0},
            "judge": {"statistics": "reestimated", "rho": RHO},
            "probes": {
                "enabled": ["gradients", "activations"] * self.with_probes
                + ["landscape"] * self.with_landscape,
                "every": PROBE_EVERY,
            },
        }


def _frame(pieces, columns):
    """One frame of many pieces, each a mapping from column to an array or to one value for all its rows."""
    if not pieces:
        return pd.DataFrame(columns=list(columns))
    sizes = [len(piece["step"]) for piece in pieces]
    return pd.DataFrame(
        {
            name: np.repeat([piece[name] for piece in pieces], sizes)
            if np.ndim(pieces[0][name]) == 0
            else np.concatenate([piece[name] for piece in pieces])
            for name in columns
        }
    )


METRICS = {
    name: {"unit": unit, "direction": direction, "description": words}
    for name, (unit, direction, words) in (*CURVE_METRICS.items(), *FINAL_METRICS.items())
}
ENVIRONMENT = {
    "python": "3.11.9",
    "torch": "2.11.0",
    "torchvision": "0.26.0",
    "mlflow": "3.0.0",
    "optuna": "5.0.0",
    "platform": "Linux",
    "cpu": "two cores of something",
    "num_cores": 2,
    "device": "cpu",
    "device_name": "cpu",
    "git_commit": "f" * 40,
    "git_dirty": False,
}
