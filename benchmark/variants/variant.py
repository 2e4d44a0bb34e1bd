"""A variant: the pair that is compared."""

from dataclasses import dataclass

from benchmark.contract import variant_name


@dataclass(frozen=True, order=True)
class Variant:
    """What is compared: a pair of a normalization and an activation, written `batch-relu`."""

    normalization: str
    activation: str

    def __str__(self) -> str:
        return variant_name(self.normalization, self.activation)
