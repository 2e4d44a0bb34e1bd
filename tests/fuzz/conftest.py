"""How many cases: few and the same ones every time, or, by the profile `fuzz`, thousands of new ones."""

from fuzzing import COUNTS, SHORT
from hypothesis import settings

settings.register_profile("fuzz", database=None, deadline=None, derandomize=False)


def pytest_terminal_summary(terminalreporter):
    """How many cases each family had, of the thousands."""
    if COUNTS and not SHORT():
        terminalreporter.section("cases")
        for family, count in sorted(COUNTS.items()):
            terminalreporter.write_line(f"{family}: {count:,d}")
        terminalreporter.write_line(f"in all: {sum(COUNTS.values()):,d}")
