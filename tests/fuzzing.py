"""What the fuzz tests share: how many cases, odd values and words, and what may come of a case."""

import contextlib
import io
import os
import sys
import tempfile
from collections import Counter
from functools import wraps

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis.errors
import benchmark.base.errors

COUNTS = Counter()
"""Family -> cases that ran."""
REFUSALS = (benchmark.base.errors.InputError, analysis.errors.InputError)
MOST = 500
"""Characters of a message."""


def SHORT():  # noqa: N802 asked when a test begins, not when this is imported
    return settings.get_current_profile_name() != "fuzz"


def fuzzed(family, *, short, full, **strategies):
    """A Hypothesis test that counts its cases; `short` of them, the same every time, unless asked for all."""

    def decorate(test):
        @wraps(test)
        def counted(*arguments, **named):
            COUNTS[family] += 1
            return test(*arguments, **named)

        return settings(
            max_examples=short if SHORT() else full,
            derandomize=SHORT(),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )(given(**strategies)(counted))

    return decorate


def is_one_line(message):
    assert 0 < len(message) <= MOST, message[:2000]
    assert message.isprintable(), message


def refused(action):
    """Whether bad input was refused, in a line; any other exception is the test's failure."""
    try:
        action()
    except REFUSALS as error:
        is_one_line(str(error))
        return True
    return False


def command(main, words):
    """Run a command line in this process: it ends well, or with code 2 and a line that says why."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code
    errors = err.getvalue()
    assert "Traceback" not in errors
    if code == 0:
        return out.getvalue()
    assert code == 2, (code, errors)
    last = errors.splitlines()[-1]
    assert "error: " in last
    is_one_line(last)
    usage = [line for line in errors.splitlines()[:-1] if not line.startswith(("usage: ", " "))]
    assert not usage, errors  # beside the usage one line
    return ""


class Watch:
    """Notes every file that this process opens to write, makes or renames outside a folder."""

    _listening: "Watch | None" = None
    _hooked = False

    def __init__(self, folder):
        self._folder = os.path.realpath(folder)
        self.found = []
        if not Watch._hooked:
            tempfile.gettempdir()  # which tries once whether it can write there
            sys.addaudithook(_audit)  # it cannot be removed
            Watch._hooked = True

    def __enter__(self):
        Watch._listening = self
        return self

    def __exit__(self, *raised):
        Watch._listening = None
        if raised[0] is None:
            assert not self.found, self.found

    def note(self, event, path):
        if isinstance(path, int) or path is None:
            return
        place = os.path.realpath(os.fsdecode(path))
        # Python's own: compiled modules, and what is thrown away.
        if place == os.devnull or "__pycache__" in place or place.startswith("/proc/"):
            return
        if not (place + os.sep).startswith(self._folder + os.sep):
            self.found.append((event, place))


def _audit(event, arguments):
    listening = Watch._listening
    if listening is None:
        return
    if event == "open":
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or any(c in (mode or "") for c in "wax+"):
            listening.note(event, path)
    elif event in ("os.mkdir", "os.remove", "os.rmdir"):
        listening.note(event, arguments[0])
    elif event in ("os.rename", "os.link", "os.symlink"):
        listening.note(event, arguments[1])
    elif event == "sqlite3.connect" and not os.fsdecode(arguments[0]).startswith("file:"):
        listening.note(event, arguments[0])


DIGITS = 5000
NESTED = 1000
LITERALS = [
    *("true", "false", "0", "-1", "1", "2", "7", "1000", "100000", "1e3", "1.5", "0.0", "-0.0", "1e-320"),
    *("1e308", "1e999", "nan", "inf", "-inf", "1_000", "0x10", "0b11", "0o17", "1979-05-27", "07:32:00"),
    *("1979-05-27T07:32:00Z", str(2**31), str(2**63 - 1), str(2**63), str(2**64), str(-(2**63) - 1)),
    *('""', "''", '"x"', '"sgd"', '"cnn"', '"all"', '"none"', '"../../x"', '"a/b"', '"-rf"', '"a b"'),
    *('"<script>"', '"%s%n"', '"%20"', '"{{7*7}}"', '"[bold]"', '"\\u0000"', '"\\n"', '"ä€😀"', '"\\u202e"'),
    *("[]", "{}", "[[]]", "[1, 2]", '["none", "batch"]', '["all"]', '[1, "a"]', "[true, false]", "[nan, 1]"),
    *('{name = "adam"}', "{a = 1}", "{name = 7}", "[{}, {}]", '[{name = "sgd"}, {name = "adam"}]'),
    *("9" * DIGITS, "-" + "9" * DIGITS, "0x" + "f" * DIGITS, "0." + "1" * DIGITS, "1e" + "9" * DIGITS),
    *("[" * NESTED + "]" * NESTED, "{a=" * NESTED + "1" + "}" * NESTED, f'"{"x" * DIGITS}"'),
    *(f"[{'1, ' * DIGITS}1]", f"{'a.' * 200}b", "[" * 12 + "]" * 12, '"""', "'''x'''", "=", "#", ""),
]
"""Values in TOML's notation, some of them none."""

numbers = st.one_of(
    st.integers().map(str), st.floats().map(repr), st.integers(0, 64).map(str), st.floats(0, 1).map(repr)
)
words = st.text(st.characters(codec=None), max_size=30)
"""Any text, halves of surrogate pairs among it."""
literals = st.one_of(st.sampled_from(LITERALS), numbers, words)
ODD_WORDS = [
    *(
        "",
        " ",
        "-",
        "--",
        "---",
        "=",
        "a=b",
        "/",
        ".",
        "..",
        "../..",
        "~",
        "~nobody",
        "*",
        "%s",
        "%20",
        "x" * 300,
    ),
    *(
        "x" * DIGITS,
        "\n",
        "a\nb",
        "\x1b[31m",
        "\x00",
        "\udcff",
        "ä€😀",
        "'",
        '"',
        "`x`",
        "$(x)",
        ";",
        "&",
        "|",
    ),
    *("<script>", "{{x}}", "[bold]", "/dev/null", "/dev/zero", "/proc/self/mem", "/etc/passwd", "/nowhere/x"),
    *(
        "file:///x",
        "nul",
        "quick",
        "smoke",
        "quik",
        "QUICK",
        "smoke.toml",
        "./smoke",
        "cpu",
        "cuda:0",
        "cuda:x",
    ),
    *("--help", "-h", "--set", "--device", "--tracking-uri", "--out", "--run", "--version", "--quick", "@x"),
]
