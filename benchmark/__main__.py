"""The command line: `python -m benchmark plan|run|replicate|status STUDY`, and `throughput`.

Exit codes: 0 done, 1 some trials failed, 2 bad input, 130 interrupted.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.base import interruption
from benchmark.base.errors import InputError
from benchmark.contract.addresses import without_password
from benchmark.contract.files import obstacle

FOLDER = Path("mlruns")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code."""
    options = parser().parse_args(arguments)
    interruption.listen()
    try:
        return _do(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if options.verb in ("run", "replicate"):
            again = _command_again(options)
            print(f"\nstopped; nothing finished is lost. To go on: {again}", file=sys.stderr)
        return 130
    except Exception as error:
        if not (found := obstacle(error)):
            raise
        print(f"error: {found}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """All flags of all verbs."""
    top = argparse.ArgumentParser(
        prog="python -m benchmark", description="Train a study and log what happens."
    )
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
        sub.add_argument(
            "--tracking-uri",
            metavar="U",
            help="where MLflow tracks (default: MLFLOW_TRACKING_URI, else mlruns/mlflow.db)",
        )
        sub.add_argument(
            "--storage",
            metavar="U",
            help="a team's PostgreSQL for Optuna's records (default: OPTUNA_STORAGE, else mlruns/optuna.db)",
        )
        if verb != "status":
            _add_device(sub)
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


def _do(options: argparse.Namespace) -> int:
    """What the verb does. Imported here: `--help` need not wait for torch, nor `status` for optuna."""
    if options.verb == "throughput":
        from benchmark.throughput.command import throughput

        return throughput(options, FOLDER)
    again = _command_again(options)
    if options.verb == "status":
        from benchmark.cli.status import status

        return status(options, FOLDER, again)
    from benchmark.cli import commands

    verbs = {"plan": commands.plan, "run": commands.run, "replicate": commands.replicate}
    return verbs[options.verb](options, FOLDER, again)


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
    sys.exit(main())
