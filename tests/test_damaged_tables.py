"""A table that a trial logged, damaged bit by bit: what is read is what was written, or nothing."""

import numpy as np
import pytest

from analysis.data.files import read_table
from analysis.errors import InputError
from benchmark.contract import CURVE_METRICS, PROBE_COLUMNS, local_artifacts
from benchmark.tracking.mlflow.store import Artifacts

URI = "sqlite:///mlflow.db"
ROWS = {
    "curves.parquet": [dict.fromkeys(CURVE_METRICS, 0.1) | {"step": 10 * step} for step in range(6)],
    "probes.parquet": [
        dict(zip(PROBE_COLUMNS, (step, "gradient_norm", f"conv{layer}", layer, 0.3 * layer), strict=True))
        for step in range(0, 60, 10)
        for layer in range(6)
    ],
}


@pytest.mark.parametrize("name", ROWS)
def test_no_flipped_bit_is_read_as_another_number(name, tmp_path, monkeypatch):
    """Of 400 flips 113 once were. Those in the names of columns are told by the names."""
    monkeypatch.chdir(tmp_path)
    Artifacts(None, URI, "made").write_table("run", name, ROWS[name])
    path = local_artifacts(URI, "made", "run") / name
    content, whole = path.read_bytes(), read_table(path)
    assert whole.to_pylist() == ROWS[name]
    rng = np.random.default_rng(0)
    refused = []
    for position, bit in zip(rng.integers(0, len(content), 400), rng.integers(0, 8, 400), strict=True):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            table = read_table(path)
        except InputError as error:
            refused.append(str(error))
            continue
        assert table.to_pylist() == ROWS[name] or table.column_names != whole.column_names
    assert len(refused) > 100
    assert all(message.startswith(f"{path}: expected a parquet file, found ") for message in refused)
