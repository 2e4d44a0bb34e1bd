"""Messages of one short line, whatever they quote, and command lines that refuse in such a line."""

import argparse
import sys
from reprlib import Repr
from typing import NoReturn

MOST = 400
"""Characters of a message."""
MOST_QUOTED = 60
"""Characters of a value that a message quotes."""


def one_line(text: str, most: int = MOST) -> str:
    """A text as one line of so many characters at most: what has no picture is escaped, its middle left out.

    Newlines, control characters, which a terminal would obey, and halves of surrogate pairs, as the names of
    files have them that are not UTF-8, have none.
    """
    if len(text) > 2 * most:
        text = text[:most] + text[-most:]  # more is not shown, and may be a whole file
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return line if len(line) <= most else f"{line[: most * 2 // 3 - 5]} ... {line[-(most // 3) :]}"


def excerpt(value: object) -> str:
    """How a message quotes what was found: `repr`, cut short; of any depth, size and number of digits."""
    return one_line(_REPR.repr(value), MOST_QUOTED + 20)


def short(text: str) -> str:
    """How a message says a word of the user's, such as a key, as it is but for its length."""
    return one_line(text, 2 * MOST_QUOTED)


class _Repr(Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = MOST_QUOTED

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out a number of very many digits.
        return repr(x) if abs(x) < 10**MOST_QUOTED else f"a number of {x.bit_length()} bits"


_REPR = _Repr()


class Parser(argparse.ArgumentParser):
    """`argparse` whose errors are one short line, below the usage; its subparsers are of this kind, too."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As it does; but what no command line of a shell can have is refused."""
        args = sys.argv[1:] if args is None else list(args)
        if any("\0" in word for word in args):
            self.error("expected words without NUL characters, found one with: leave it out")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Say it, and exit with code 2."""
        super().error(one_line(message))


def lenient_streams() -> None:
    """Let what a terminal's encoding lacks be printed as an escape, where Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
