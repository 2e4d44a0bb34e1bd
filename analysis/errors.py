"""The one exception that means "the user's input is at fault"."""

from benchmark.contract.messages import one_line


class InputError(ValueError):
    """Bad input. Its message is one line: what was expected, what was found, how to mend it.

    The command line prints the message and exits with code 2; any other exception is a bug or a failure.

    Args:
        message: made one short line, whatever it quotes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))
