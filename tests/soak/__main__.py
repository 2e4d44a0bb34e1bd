"""`python -m soak [NAME ...]`: attack the study, and print what was tried and what was lost."""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before any library is imported: what is forked has no threads
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}

from soak.attacked import REPORT, RUN, Study, Tally, preload  # noqa: E402
from soak.damage import damage  # noqa: E402
from soak.disk import disk  # noqa: E402
from soak.kills import kills  # noqa: E402
from soak.signals import signals  # noqa: E402
from soak.workers import workers  # noqa: E402
from soak.world import clock, numbers, scratch, stores  # noqa: E402

SCENARIOS = {
    one.__name__: one for one in (kills, disk, damage, workers, signals, numbers, clock, stores, scratch)
}


class Bench:
    """Where scenarios get their studies from.

    Args:
        folder: for all of them.
        seed: of every random moment.
        num_kills: of the scenario `kills`, at least.
        keep: whether folders are kept.

    Attributes:
        reference: the study that nothing disturbed.
        pace_s: seconds that it and its report took, for moments in the midst of a run.
    """

    def __init__(self, folder, seed, num_kills, *, keep):
        self.folder, self.seed, self.num_kills, self._keep = Path(folder), seed, num_kills, keep
        self.rng = random.Random(seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.reference = self._reference()
        self.pace_s = float((self.reference.folder / "pace_s").read_text())

    def _reference(self):
        """The study undisturbed, with its report; the one of an earlier call if there is one."""
        folder = self.folder / "reference"
        if (folder / "pace_s").exists():
            return Study(folder)
        shutil.rmtree(folder, ignore_errors=True)
        study, tally = Study(folder), Tally("reference")
        say("the reference, undisturbed")
        began = time.monotonic()
        for words in (RUN, REPORT):
            study.do(tally, words, "nothing", codes={0})
        if not tally.is_clean:
            sys.exit("\n".join(tally.tracebacks + tally.other))
        (folder / "pace_s").write_text(f"{time.monotonic() - began:.1f}")
        return study

    def study(self, name, *, fresh=False):
        """A folder for the study, with an empty store unless it is to be made."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return Study(self.folder / name, None if fresh else self._empty_store())

    def copy_of(self, study, name):
        """A copy of a study's folder, by this name."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(study.mlruns, self.folder / name / "mlruns")
        return Study(self.folder / name)

    def done_with(self, study):
        if not self._keep:
            shutil.rmtree(study.folder, ignore_errors=True)

    def _empty_store(self):
        store = self.folder / "empty.db"
        if not store.exists():
            import multiprocessing

            process = multiprocessing.get_context("fork").Process(target=_make_store, args=(store,))
            process.start()
            process.join()
        return store


def _make_store(path):
    from benchmark.tracking.mlflow.store import connect

    connect(f"sqlite:///{path}.new")
    os.rename(f"{path}.new", path)


def say(message):
    print(message, file=sys.stderr, flush=True)


def table(tallies):
    """What was tried and what came of it, as Markdown."""
    lines = [
        "| scenario | tries | faults met | lost | doubled | tracebacks | other | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for tally in tallies:
        counts = (tally.lost, tally.doubled, tally.tracebacks, tally.other)
        cells = (tally.name, tally.tries, tally.met, *map(len, counts), f"{tally.seconds:.0f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main(arguments=None):
    """Run scenarios; 1 if anything was lost, or was not as promised."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--folder", type=Path, help="to work in, and to keep (default: a temporary one)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="at least so many (default: %(default)s)")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(SCENARIOS):
        parser.error(f"expected names of {', '.join(SCENARIOS)}, found {', '.join(sorted(unknown))}")
    began = time.monotonic()
    preload()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        bench = Bench(folder, options.seed, options.kills, keep=options.folder is not None)
        tallies = [_run(name, bench) for name in options.only or SCENARIOS]
    print(table(tallies))
    print(f"\nseed {options.seed}, {time.monotonic() - began:.0f} s in all")
    return int(not all(tally.is_clean for tally in tallies))


def _run(name, bench):
    """One scenario, whatever it raises."""
    say(f"{name} ...")
    bench.rng = random.Random(f"{bench.seed}/{name}")
    began = time.monotonic()
    try:
        tally = SCENARIOS[name](bench)
    except Exception:
        tally = Tally(name)
        tally.other.append(traceback.format_exc())
    tally.seconds = time.monotonic() - began
    say(f"{name}: {tally.tries} tries, {'nothing lost' if tally.is_clean else 'SEE ABOVE'}")
    return tally


if __name__ == "__main__":
    sys.exit(main())
