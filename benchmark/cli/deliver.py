"""What the verb `deliver` does: results that a store has not taken are written into it."""

import argparse
from pathlib import Path

from rich.console import Console

from benchmark.base.locks import only_runner
from benchmark.cli.printing import say
from benchmark.contract import SPOOL_FOLDER
from benchmark.contract.addresses import without_password
from benchmark.tracking.mlflow.delivery import deliver
from benchmark.tracking.mlflow.store import connect, default_uri


def deliver_all(options: argparse.Namespace, folder: Path) -> int:
    """Deliver what all studies have kept: 0.

    Raises:
        InputError: the store does not answer, or is another; or a study is being run.
    """
    console = Console(stderr=True)
    studies = sorted(path.name for path in (folder / SPOOL_FOLDER).glob("*/"))
    if not studies:
        say(console, f"nothing waits in {folder / SPOOL_FOLDER}")
        return 0
    uri = options.tracking_uri or default_uri(folder)
    client = connect(uri)
    for name in studies:
        with only_runner(folder, None, name):
            num_trials = deliver(client, uri, folder, name)
        say(
            console,
            f"study {name}: delivered to {without_password(uri)}, with the results of {num_trials} trials",
        )
    return 0
