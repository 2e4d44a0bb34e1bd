"""How the trials of a study are run."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from benchmark.base.registry import lookup
from benchmark.base.section import Section
from benchmark.training.engines import AUTO, ENGINES


class ExecutionSpec(Section):
    """The `[execution]` section: how trials are run; it changes what they compute by rounding alone.

    Attributes:
        engine: a name in `ENGINES`; `auto`: for each variant the fastest here, by a short measurement.
        executor: `local`, processes of this machine; `ray`, those of a Ray cluster.
        address: of the cluster, `host:port` or `auto`; empty: Ray is started on this machine alone.
        workers: trials side by side on a device (a machine's CPU, a GPU); 0: one per core on CPU, one on an
            accelerator.
        threads: CPU threads of each. (Numbers are equal on CPU for equal thread counts.)
        checkpoint_every_s: seconds between a trial's checkpoints.
        retries: further tries of a trial that raised an exception.
    """

    engine: str = AUTO
    executor: Literal["local", "ray"] = "local"
    address: str = Field(default="", pattern=r"^(auto|[^/\s]+:\d+)?$")
    workers: int = Field(default=0, ge=0, le=1024)
    threads: int = Field(default=1, ge=1, le=1024)
    checkpoint_every_s: float = Field(default=30.0, gt=0.0, le=1e6)
    retries: int = Field(default=1, ge=0, le=100)

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, name: str) -> str:
        if name != AUTO:
            lookup(ENGINES, name, "engine")
        return name

    @model_validator(mode="after")
    def _address_is_rays(self) -> "ExecutionSpec":
        if self.address and self.executor != "ray":
            raise ValueError(
                f'address: expected none with executor = "{self.executor}", found {self.address!r}: '
                'set executor = "ray", or leave it empty'
            )
        return self
