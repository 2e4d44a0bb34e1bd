"""The cache of decoded datasets against damage and against processes that start at once."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_datasets import flip_byte

from benchmark.data import cache
from benchmark.data.datasets import DataSpec, load_raw
from benchmark.data.sources import DATASETS


def test_second_load_does_not_read_the_source(tmp_path, monkeypatch):
    first, fingerprint = load_raw(DataSpec(), tmp_path)
    monkeypatch.setattr(cache, "_store", None)  # what a second read of the source would call
    second, again = load_raw(DataSpec(), tmp_path)
    assert again == fingerprint == second.fingerprint()
    for a, b in zip(first.arrays(), second.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("position", [0, 40, 5000, -1])
def test_damaged_cache_is_found_and_built_anew(position, tmp_path, caplog):
    _, fingerprint = load_raw(DataSpec(), tmp_path)
    path = tmp_path / "digits.cache"
    sound = path.read_bytes()
    flip_byte(path, position)
    raw, again = load_raw(DataSpec(), tmp_path)
    assert again == fingerprint == raw.fingerprint()
    assert path.read_bytes() == sound
    assert "digits.cache is damaged" in caplog.text


@pytest.mark.parametrize("length", [0, 10, 3000])
def test_cut_off_cache_is_built_anew(length, tmp_path):
    _, fingerprint = load_raw(DataSpec(), tmp_path)
    path = tmp_path / "digits.cache"
    sound = path.read_bytes()
    path.write_bytes(sound[:length])
    assert load_raw(DataSpec(), tmp_path)[1] == fingerprint
    assert path.read_bytes() == sound


def folder_instead(path):
    path.unlink()
    path.mkdir()
    (path / "mine.txt").write_text("mine")


def pipe_instead(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("instead", [folder_instead, pipe_instead])
def test_what_is_no_file_is_neither_waited_for_nor_lost(instead, tmp_path, caplog):
    _, fingerprint = load_raw(DataSpec(), tmp_path)
    path = tmp_path / "digits.cache"
    sound = path.read_bytes()
    instead(path)
    assert load_raw(DataSpec(), tmp_path)[1] == fingerprint
    assert path.read_bytes() == sound
    assert "digits.cache is no file" in caplog.text
    if instead is folder_instead:
        assert (tmp_path / "digits.cache.damaged" / "mine.txt").read_text() == "mine"


def test_numbers_that_are_no_pixels_are_not_trained_on(tmp_path, caplog):
    """As a file whose checksum is right: a NaN and an infinity among floats."""
    raw, fingerprint = load_raw(DataSpec(), tmp_path)
    path = tmp_path / "digits.cache"
    sound = path.read_bytes()
    images = raw.train_images.astype(np.float32)
    images.flat[:2] = np.nan, np.inf
    other = dataclasses.replace(raw, train_images=images)
    cache._store(path, DATASETS["digits"].stamp(tmp_path), other, fingerprint)
    assert load_raw(DataSpec(), tmp_path)[1] == fingerprint
    assert path.read_bytes() == sound
    assert "holds other numbers than pixels and labels" in caplog.text


CONCURRENT = """
import sys, time
from pathlib import Path
import numpy as np
from benchmark.data.cache import cached
from benchmark.data.raw import RawData

folder = Path(sys.argv[1])
def read():
    with (folder / "reads").open("a") as file:
        file.write("read\\n")
    time.sleep(0.5)
    images = np.arange(4000, dtype=np.uint8).reshape(10, 1, 20, 20)
    return RawData(images, np.arange(10), images, np.arange(10), ("a",) * 10)

while not (folder / "go").exists():
    time.sleep(0.01)
print(cached(folder / "data" / "x.cache", "stamp", read)[1])
"""


def test_processes_that_start_at_once_read_the_source_once(tmp_path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", CONCURRENT, str(tmp_path)],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    (tmp_path / "go").touch()
    outputs = [worker.communicate(timeout=60)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len(set(outputs)) == 1
    assert (tmp_path / "reads").read_text() == "read\n"
