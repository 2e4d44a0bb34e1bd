"""The command line: `python -m benchmark plan|run|replicate|status STUDY`, `deliver`, `throughput`.

Exit codes: 0 done, 1 some trials failed, 2 bad input, 130 interrupted.
"""

from benchmark.base import interruption

if __name__ == "__main__":
    interruption.leave_at_once()  # first of all

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.base.errors import InputError
from benchmark.contract import ENVIRONMENT
from benchmark.contract.addresses import without_password
from benchmark.contract.files import obstacle
from benchmark.contract.messages import Parser, lenient_streams, one_line

FOLDER = Path("mlruns")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code."""
    os.environ.update(ENVIRONMENT)
    lenient_streams()
    options = parser().parse_args(arguments)
    interruption.leave_at_once(lambda: _stopped(options))
    try:
        verb = _verb(options)
        interruption.listen()
        return verb()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or interruption.was_asked():  # whatever it was made into
            _stopped(options)
            return 130
        found = str(error) if isinstance(error, InputError) else obstacle(error)
        if not found:
            raise
        print(f"error: {one_line(found)}", file=sys.stderr)
        return 2


def _stopped(options: argparse.Namespace) -> None:
    """Say how to go on."""
    if options.verb in ("run", "replicate"):
        again = _command_again(options)
        try:
            print(f"\nstopped; nothing finished is lost. To go on: {again}", file=sys.stderr, flush=True)
        except OSError:  # the terminal is gone: nor can Python print what it still has
            sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def parser() -> argparse.ArgumentParser:
    """All flags of all verbs."""
    top = Parser(prog="python -m benchmark", description="Train a study and log what happens.")
    verbs = top.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("plan", "show a study's trials, cells and the time to expect; trains nothing"),
        ("run", "run a study, or go on with it"),
        ("replicate", "run a study once more on unused seeds and another split, or go on with that"),
        ("status", "show how far a study has come"),
    ):
        sub = verbs.add_parser(verb, help=text, description=text)
        sub.add_argument(
            "study", metavar="STUDY", help="a name in benchmark/studies, or a path to a TOML file"
        )
        sub.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            dest="overrides",
            help="override one dotted key of the study, for example --set network.width=12",
        )
        _add_store(sub)
        sub.add_argument(
            "--storage",
            metavar="U",
            help="a team's PostgreSQL for Optuna's records (default: OPTUNA_STORAGE, else mlruns/optuna.db)",
        )
        if verb != "status":
            _add_device(sub)
    text = "write into the store what it did not take while studies ran"
    sub = verbs.add_parser("deliver", help=text, description=text)
    _add_store(sub)
    text = "measure images per second: engines, the conventional script, Keras, the machine's ceilings"
    sub = verbs.add_parser("throughput", help=text, description=text)
    _add_device(sub)
    sub.add_argument(
        "--quick",
        action="store_true",
        help="one small net, briefly, without Keras: does it work, not how fast",
    )
    sub.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder (default: one by time in {FOLDER}/throughput)"
    )
    return top


def _verb(options: argparse.Namespace) -> Callable[[], int]:
    """What the verb does. Imported here: `--help` need not wait for torch, nor `status` for optuna."""
    if options.verb == "throughput":
        from benchmark.throughput.command import throughput

        return lambda: throughput(options, FOLDER)
    if options.verb == "deliver":
        from benchmark.cli.deliver import deliver_all

        return lambda: deliver_all(options, FOLDER)
    again = _command_again(options)
    if options.verb == "status":
        from benchmark.cli.status import status

        return lambda: status(options, FOLDER, again)
    from benchmark.cli import commands

    verbs = {"plan": commands.plan, "run": commands.run, "replicate": commands.replicate}
    return lambda: verbs[options.verb](options, FOLDER, again)


def _add_store(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--tracking-uri",
        metavar="U",
        help="where MLflow tracks (default: MLFLOW_TRACKING_URI, else mlruns/mlflow.db)",
    )


def _add_device(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="where to train: auto (the default), cpu, cuda, cuda:N or mps",
    )


def _command_again(options: argparse.Namespace) -> str:
    verb = "replicate" if options.verb == "replicate" else "run"
    words = ["python", "-m", "benchmark", verb, options.study]
    for override in options.overrides:
        words += ["--set", override]
    if getattr(options, "device", "auto") != "auto":
        words += ["--device", options.device]
    for flag, address in (("--tracking-uri", options.tracking_uri), ("--storage", options.storage)):
        if address:
            words += [flag, without_password(address)]  # it is printed, and logged
    return shlex.join(words)


if __name__ == "__main__":
    code = main()
    interruption.let_go()
    sys.exit(code)
