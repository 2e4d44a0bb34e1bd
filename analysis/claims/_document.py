"""`verdicts.json`: the verdicts as data. Its schema is `analysis/verdicts.schema.json`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from analysis.claims._base import Claim, Verdict
from analysis.results import Results
from benchmark.contract import ALPHA

VERDICTS_SCHEMA_VERSION = 2
RENAMED = {"family": "tests_together", "family_size": "num_tests"}
"""Keys of the document that our attributes have another name for: here `Family` is a study with an axis."""
CLAIM_FIELDS = (
    "statement",
    "h0",
    "h1",
    "measure",
    "contrast",
    "pairing",
    "unit",
    "delta",
    "delta_reason",
    "family",
    "needs",
    "primary",
)
VERDICT_FIELDS = (
    "claim",
    "normalizer",
    "activation",
    "outcome",
    "effect",
    "low",
    "high",
    "effect_low",
    "effect_high",
    "unit",
    "delta",
    "p_supported",
    "p_refuted",
    "n",
    "family_size",
    "seeds_needed",
    "reason",
    "sentence",
    "exploratory",
    "survives_holm_over_all",
)


def verdicts_document(
    results: Results, verdicts: Iterable[Verdict], claims: Mapping[str, Claim]
) -> dict[str, Any]:
    """The verdicts as JSON-safe data: NaN is null, infinities are "inf" and "-inf"."""
    verdicts = list(verdicts)
    judged = {verdict.claim for verdict in verdicts}
    return {
        "schema_version": VERDICTS_SCHEMA_VERSION,
        "protocol_version": str(results.schema["protocol_version"]),
        "study": str(results.study["name"]),
        "study_hash": results.study_hash,
        "run_id": results.run_id,
        "commit": results.commit,
        "status": results.status,
        "alpha": ALPHA,
        "claims": {
            claim.id: {field: _field(claim, field) for field in CLAIM_FIELDS}
            for claim in claims.values()
            if claim.id in judged
        },
        "verdicts": [
            {field: _field(verdict, field) for field in VERDICT_FIELDS}
            | {"robustness": _robustness(verdict), "samples": _samples(verdict)}
            for verdict in verdicts
        ],
    }


def _field(source: Claim | Verdict, field: str) -> Any:
    return _safe(getattr(source, RENAMED.get(field, field)))


def _robustness(verdict: Verdict) -> dict[str, Any] | None:
    """How the outcome fares under other choices; None where none was tried."""
    found = verdict.robustness
    if found is None:
        return None
    return {"num_same": found.num_same, "num_choices": found.num_choices, "words": found.words}


def _samples(verdict: Verdict) -> list[dict[str, Any]]:
    """Per pair, the seed and what is known of its effect."""
    sample = verdict.sample
    if sample is None:
        return []
    return [
        {"seed": int(seed), "low": _safe(float(low)), "high": _safe(float(high))}
        for seed, low, high in zip(sample.seeds, sample.low, sample.high, strict=True)
    ]


def _safe(value: Any) -> Any:
    """A value that JSON can hold."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
    return value
