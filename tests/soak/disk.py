"""Disks that fill up, at many sizes; then there is room again."""

import resource
import shutil
import subprocess

from soak.attacked import CLAIMS, REPORT, RUN, Tally, check

LARGEST_FILES = (2_000, 30_000, 120_000, 400_000, 700_000, 900_000)
"""Bytes that no file can exceed: before the data are cached, while stores are made, while trials end."""
DISKS = ("256k", "1100k", "1500k", "2500k")
"""Sizes of whole disks that the study is run on."""


def disk(bench):
    """Run where there is no room, then where there is."""
    tally = Tally("disk")
    for number, num_bytes in enumerate(LARGEST_FILES):
        study = bench.study(f"disk-{number}", fresh=num_bytes in LARGEST_FILES[:3])
        _fill(bench, study, tally, f"no file above {num_bytes:,} bytes", lambda n=num_bytes: _limit(n))
        bench.done_with(study)
    for number, size in enumerate(DISKS):
        study = bench.study(f"small-disk-{number}", fresh=True)
        if reason := _mounted(study, size):
            tally.notes.append(f"a disk of {size}: not tried, for it could not be mounted: {reason}")
            break
        try:
            code, said = study.do(tally, RUN, f"a disk of {size}", codes={1, 2})
            _note(tally, code, said, f"a disk of {size}")
            study.do(tally, REPORT, f"a disk of {size}", codes={0, 2})
            saved = study.folder / "saved"
            shutil.copytree(study.mlruns, saved)
        finally:
            _unmount(study)
        shutil.rmtree(study.mlruns)
        saved.rename(study.mlruns)  # room again
        check(study, bench.reference, tally, f"a disk of {size}")
        bench.done_with(study)
    return tally


def _fill(bench, study, tally, what, limit):
    code, said = study.do(tally, RUN, what, first=limit, codes={1, 2})
    _note(tally, code, said, what)
    study.do(tally, CLAIMS, what, first=limit, codes={0, 2})
    check(study, bench.reference, tally, what)


def _note(tally, code, said, what):
    tally.tries += 1
    tally.met += code in (1, 2)
    if code == 2 and "free some room there" not in said.strip().splitlines()[-1]:
        tally.other.append(f"{what}: the last line says no remedy: {said.strip().splitlines()[-1]}")


def _limit(num_bytes):
    # What it prints goes to a file too, which is let grow a little: it is not the study's.
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def _mounted(study, size):
    """Mount a disk of this size as the study's folder; why not, if not."""
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(study.mlruns)],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""


def _unmount(study):
    subprocess.run(["umount", str(study.mlruns)], check=False)
