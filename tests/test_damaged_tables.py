"""A trial's table, damaged: what is read is what was written, or nothing; and it is trained again."""

import shutil

import numpy as np
import pytest
from running import TINY, Left, main_of

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


def test_trials_whose_tables_are_damaged_are_trained_again_and_no_other(tmp_path, caplog):
    (tmp_path / "tiny.toml").write_text(TINY)
    watched = ("--set", 'probes.enabled=["gradients"]')
    run = ("benchmark", tmp_path, "run", "tiny.toml", "--device", "cpu", *watched)
    assert main_of(*run)[0] == 0
    whole, report = Left(tmp_path).trials(), ("analysis", tmp_path, "report", "tiny")
    curves = sorted(tmp_path.glob("mlruns/artifacts/tiny/*/artifacts/curves.parquet"))
    assert len(curves) == 10
    shutil.rmtree(curves[0].parent)
    curves[1].write_bytes(curves[1].read_bytes()[:-1])
    curves[2].with_name("probes.parquet").unlink()
    untouched = {path: path.stat().st_mtime_ns for path in curves[3:]}

    code, out, _ = main_of(*report)
    assert code == 0
    assert "3 trials are left out" in (tmp_path / out.strip().splitlines()[-1]).read_text()

    assert main_of(*run)[0] == 0
    assert caplog.text.count("is damaged or gone; it is trained again") == 3
    assert Left(tmp_path).trials() == whole
    assert Left(tmp_path).repeated_steps() == []
    assert {path: path.stat().st_mtime_ns for path in curves[3:]} == untouched
    code, out, _ = main_of(*report)
    assert code == 0
    page = (tmp_path / out.strip().splitlines()[-1]).read_text()
    assert "trials are left out" not in page
    assert "Nothing: every planned trial ended." in page
