"""How a message is printed."""

from rich.console import Console


def say(console: Console, message: str) -> None:
    """Print a message as it is: on one line, which only the terminal may wrap."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)
