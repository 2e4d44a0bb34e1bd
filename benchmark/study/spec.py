"""A study: what is varied, on what, for how long. `study_files` reads it from TOML."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from benchmark.base.registry import lookup
from benchmark.base.section import Section
from benchmark.contract import ALPHA, CONFIRM_SEED_OFFSET, LANDSCAPE, STABLE_SHARE, least_seeds
from benchmark.data.datasets import DataSpec
from benchmark.probes.watch import ProbesSpec
from benchmark.study.execution import ExecutionSpec
from benchmark.training.losses import CrossEntropy, LossSpec
from benchmark.training.optimizers import OptimizerSpec, Sgd
from benchmark.training.precision import Precision
from benchmark.training.schedules import Constant, ScheduleSpec
from benchmark.variants.activations import ACTIVATIONS
from benchmark.variants.networks import AnyNetworkSpec, NetworkSpec
from benchmark.variants.norms import ANYWHERE, NORMALIZATIONS
from benchmark.variants.variant import Variant

_ALL = "all"  # alone in a list of names, stands for every entry of the registry


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
        if self.reference not in map(str, self.product()):
            raise ValueError(
                f"reference: expected one of the study's variants ({', '.join(map(str, self.product()))}), "
                f"found {self.reference!r}"
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

    num_steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
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
    low: float = Field(gt=0.0)
    high: float = Field(gt=0.0)
    num_rates: int = Field(default=6, ge=1)
    num_bisections: int = Field(default=0, ge=0)
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

    gains: tuple[Annotated[float, Field(gt=0.0)], ...] = ()

    @field_validator("gains")
    @classmethod
    def _with_one(cls, gains: tuple[float, ...]) -> tuple[float, ...]:
        if gains and 1.0 not in gains:
            raise ValueError(f"expected 1.0, the network's own, among the gains, found {gains}")
        if len(set(gains)) != len(gains):
            raise ValueError(f"expected each gain once, found {gains}")
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


class AxisSpec(Section):
    """The `[axis]` section: one more thing to vary, by running the whole study at each of its values.

    Attributes:
        key: the dotted key of the study that varies, such as `budget.batch_size`.
        label: what it is, for people and figures.
        values: what it takes in turn: numbers, words, or tables where the key is a section.
        names: what to call the values; by default as they are written.
        position: which value this study has; set when the study is read, never in a file.
    """

    key: str
    label: str
    values: tuple[Any, ...] = Field(min_length=2)
    names: tuple[str, ...] = ()
    position: int | None = None

    @field_validator("values")
    @classmethod
    def _of_a_known_kind(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float | str | dict):
                raise ValueError(f"expected numbers, words or tables, found {value!r}")
        return values

    @model_validator(mode="after")
    def _named(self) -> "AxisSpec":
        if self.names and len(self.names) != len(self.values):
            raise ValueError(f"names: expected one per value, {len(self.values)}, found {len(self.names)}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"names: expected each name once, found {list(self.names)}")
        if any(value in self.values[:position] for position, value in enumerate(self.values)):
            raise ValueError(f"values: expected each value once, found {list(self.values)}")
        return self

    @property
    def value_name(self) -> str:
        """What this study's value is called."""
        position = self.position or 0
        return self.names[position] if self.names else str(self.values[position])


class StudySpec(Section):
    """A whole study."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str
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
        raise ValueError(f"expected each name once, found {', '.join(names)}")
    return names
