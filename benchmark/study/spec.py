"""A study: what is varied, on what, for how long. `study_files` reads it from TOML."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from benchmark.base.registry import lookup
from benchmark.base.section import Section
from benchmark.contract import ALPHA, CONFIRM_SEED_OFFSET, LANDSCAPE, STABLE_SHARE, STUDY_NAME, least_seeds
from benchmark.contract.messages import excerpt, short
from benchmark.data.datasets import DataSpec
from benchmark.probes.watch import ProbesSpec
from benchmark.study.axis_spec import AxisSpec
from benchmark.study.execution import ExecutionSpec
from benchmark.training.losses import CrossEntropy, LossSpec
from benchmark.training.optimizers import OptimizerSpec, Sgd
from benchmark.training.precision import Precision
from benchmark.training.schedules import Constant, ScheduleSpec
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import AnyNetworkSpec, NetworkSpec
from benchmark.variants.norms import ANYWHERE, NORMALIZATIONS
from benchmark.variants.variant import Variant

# What is beyond these is a slip: it would end without memory, or not before the year does.
_MOST_STEPS, _MOST_EXAMPLES = 10_000_000, 1_000_000
_LEAST_RATE, _GREATEST_RATE = 1e-20, 1e10
_ALL = "all"  # alone in a list of names, stands for every entry of the registry


def _in_reach(factor: float) -> float:
    if not _LEAST_RATE <= factor <= _GREATEST_RATE:
        raise ValueError(f"expected {_LEAST_RATE:g} to {_GREATEST_RATE:g}, found {factor:g}")
    return factor


_Rate = Annotated[float, Field(gt=0.0), AfterValidator(_in_reach)]


class VariantsSpec(Section):
    """The `[variants]` section: every normalization is paired with every activation.

    `["all"]` stands for every one there is, of normalizations for every one that any network can have.

    Attributes:
        reference: the variant that sets an activation's target where the unnormalized one is unusable.
    """

    normalizations: tuple[str, ...] = Field(default=("none", "batch"), min_length=1)
    activations: tuple[str, ...] = Field(default=("sigmoid", "relu"), min_length=1)
    reference: str = "batch-relu"

    @field_validator("normalizations")
    @classmethod
    def _known_normalizations(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(ANYWHERE) if names == (_ALL,) else _known(names, NORMALIZATIONS, "normalization")

    @field_validator("activations")
    @classmethod
    def _known_activations(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, ACTIVATIONS, "activation")

    @model_validator(mode="after")
    def _reference_is_planned(self) -> "VariantsSpec":
        names = [str(variant) for variant in self.product()]
        if self.reference not in names:
            raise ValueError(
                f"reference: expected one of the study's variants ({short(', '.join(names))}), "
                f"found {excerpt(self.reference)}"
            )
        return self

    def product(self) -> list[Variant]:
        """All variants, normalization by normalization."""
        return [Variant(norm, act) for norm in self.normalizations for act in self.activations]


class BudgetSpec(Section):
    """The `[budget]` section: how long a trial trains and how often it is looked at.

    Attributes:
        num_steps: T, optimizer steps.
        batch_size: examples per step.
        eval_every: E, steps between evaluations in sweep and refine.
        confirm_eval_every: the same in confirm: at most T / 50.
    """

    num_steps: int = Field(ge=1, le=_MOST_STEPS)
    batch_size: int = Field(ge=1, le=_MOST_EXAMPLES)
    eval_every: int = Field(ge=1)
    confirm_eval_every: int = Field(ge=1)

    @model_validator(mode="after")
    def _divides(self) -> "BudgetSpec":
        for name in ("eval_every", "confirm_eval_every"):
            every = getattr(self, name)
            if self.num_steps % every:
                raise ValueError(f"{name}: expected a divisor of num_steps = {self.num_steps}, found {every}")
        return self


class SearchSpec(Section):
    """The `[search]` section: which learning rates are tried.

    Attributes:
        sampler: `grid` (needed by every stability claim), `qmc`, `random`, `tpe` (adaptive), or `fixed`:
            the one rate `low`, nothing searched.
        low, high: the range of learning rates.
        num_rates: rates per variant; of the grid, equispaced in log10.
        num_bisections: of each edge of the stable rates, per variant and seed; grid only.
        num_extensions: how often the grid may grow by two rates at an edge where the best rate lies.
        pruning: stop a rate's remaining seeds when it is clearly worse than the best (Wilcoxon); tpe only.
    """

    sampler: Literal["grid", "qmc", "random", "tpe", "fixed"] = "grid"
    low: _Rate
    high: _Rate
    num_rates: int = Field(default=6, ge=1, le=1000)
    num_bisections: int = Field(default=0, ge=0, le=20)
    num_extensions: int = Field(default=2, ge=0, le=2)
    pruning: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "SearchSpec":
        if self.sampler == "fixed":
            if self.num_rates != 1 or self.low != self.high:
                raise ValueError('sampler: "fixed" expects num_rates = 1 and low = high, the one rate')
        elif self.low >= self.high or self.num_rates < 2:
            raise ValueError(
                f"low: expected below high, and num_rates of at least 2, found low = {self.low:g}, "
                f"high = {self.high:g}, num_rates = {self.num_rates}"
            )
        if self.pruning and self.sampler != "tpe":
            raise ValueError(
                f'pruning: only sampler "tpe" prunes (the others need every trial), found {self.sampler!r}'
            )
        if self.num_bisections and self.sampler != "grid":
            raise ValueError(
                f'num_bisections: only sampler "grid" is refined, found {self.sampler!r}: set it to 0'
            )
        return self


class InitSpec(Section):
    """The `[init]` section.

    Attributes:
        gains: factors on the initial weights with which each variant is trained at its best rate, to see how
            much its outcome depends on their scale; none: not asked.
    """

    gains: tuple[_Rate, ...] = Field(default=(), max_length=100)

    @field_validator("gains")
    @classmethod
    def _with_one(cls, gains: tuple[float, ...]) -> tuple[float, ...]:
        if gains and 1.0 not in gains:
            raise ValueError(f"expected 1.0, the network's own, among the gains, found {excerpt(gains)}")
        if len(set(gains)) != len(gains):
            raise ValueError(f"expected each gain once, found {excerpt(gains)}")
        return gains


class SeedsSpec(Section):
    """The `[seeds]` section: which seeds.

    Attributes:
        sweep: how many sweep and refine have: first, first + 1, ...
        confirm: how many confirm has: first + 1000, first + 1001, ..., none of them a sweep's of any study.
        first: where they begin; another value, beyond another study's last, is for repeating that study.
    """

    sweep: int = Field(ge=1)
    confirm: int = Field(ge=0)
    first: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _disjoint(self) -> "SeedsSpec":
        end = self.first + max(self.sweep, self.confirm)
        if end > CONFIRM_SEED_OFFSET:
            raise ValueError(
                f"first: expected first + the number of seeds to be at most {CONFIRM_SEED_OFFSET}, where the "
                f"seeds of confirm begin, found {end}"
            )
        return self


class JudgeSpec(Section):
    """The `[judge]` section.

    Attributes:
        statistics: which normalization statistics judged metrics use: re-estimated at the evaluation (but for
            normalizations of which moving averages are a part), or the moving averages.
        rho: share of a variant's best accuracy above chance that a stable trial keeps.
    """

    statistics: Literal["reestimated", "moving-average"] = "reestimated"
    rho: float = Field(default=STABLE_SHARE, gt=0.0, le=1.0)


class StudySpec(Section):
    """A whole study."""

    name: str = Field(pattern=STUDY_NAME, max_length=100)
    description: str = Field(max_length=10_000)
    variants: VariantsSpec = VariantsSpec()
    data: DataSpec = DataSpec()
    network: AnyNetworkSpec = NetworkSpec()
    loss: LossSpec = CrossEntropy()
    optimizer: OptimizerSpec = Sgd()
    schedule: ScheduleSpec = Constant()
    budget: BudgetSpec
    search: SearchSpec
    seeds: SeedsSpec
    judge: JudgeSpec = JudgeSpec()
    init: InitSpec = InitSpec()
    probes: ProbesSpec = ProbesSpec()
    precision: Precision = "fp32"
    axis: AxisSpec | None = None
    execution: ExecutionSpec = ExecutionSpec()

    @model_validator(mode="after")
    def _seeds_can_decide(self) -> "StudySpec":
        """Section 8: the smallest p of n pairs is 2^-n; Holm's first step divides 5% by the family's size."""
        family = len(self.variants.activations)
        needed = least_seeds(family)
        stages = {"sweep": self.seeds.sweep}
        if self.search.sampler != "fixed":
            stages["confirm"] = self.seeds.confirm
        for stage, seeds in stages.items():
            if seeds < needed:
                raise ValueError(
                    f"seeds.{stage}: expected at least {needed}, with which a family of {family} activations "
                    f"can decide (2^-n <= {ALPHA:g}/{family}), found {seeds}"
                )
        return self

    @model_validator(mode="after")
    def _choices_see_validation_only(self) -> "StudySpec":
        if self.data.validation == "test" and self.search.sampler != "fixed":
            raise ValueError(
                'data.validation: "test" expects sampler "fixed": a rate must not be chosen on the test split'
            )
        return self

    @model_validator(mode="after")
    def _walks_have_a_rate(self) -> "StudySpec":
        if LANDSCAPE in self.probes.enabled and self.search.sampler == "fixed":
            raise ValueError(
                'probes.enabled: "landscape" needs a selected rate, which sampler "fixed" has not'
            )
        return self

    @model_validator(mode="after")
    def _gains_are_trained(self) -> "StudySpec":
        if self.init.gains and self.search.sampler == "fixed":
            raise ValueError(
                'init.gains: expected none with sampler "fixed", which selects no rate to vary them at'
            )
        return self

    @model_validator(mode="after")
    def _confirm_is_dense(self) -> "StudySpec":
        if self.search.sampler != "fixed" and self.budget.confirm_eval_every * 50 > self.budget.num_steps:
            raise ValueError(
                f"budget.confirm_eval_every: expected at most num_steps/50 = "
                f"{self.budget.num_steps / 50:g}, found {self.budget.confirm_eval_every}"
            )
        return self


def _known(names: tuple[str, ...], registry: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    if names == (_ALL,):
        return tuple(registry)
    for name in names:
        lookup(registry, name, kind)
    if len(set(names)) != len(names):
        raise ValueError(f"expected each name once, found {short(', '.join(names))}")
    return names
