"""The one exception that means "the user's input is at fault"."""


class InputError(ValueError):
    """Bad input. Its message is one line: what was expected, what was found, how to mend it.

    The command line prints the message and exits with code 2; any other exception is a bug or a failure.
    """
