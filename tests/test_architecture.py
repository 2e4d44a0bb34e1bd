"""Who imports whom, read off the sources: the rules that keep any part replaceable."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmark", "analysis")
MAX_LINES = 340
"""The one module that may know MLflow cannot be cut in two."""


def modules():
    """Every module of both packages: dotted name -> path."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(name):
    """(imported module, whether only inside a function) of every import that runs.

    `from benchmark.study import plan` imports the module `benchmark.study.plan`, not only its package.
    Imports under `if TYPE_CHECKING` never run.
    """
    found = set()

    def visit(node, inside):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add((full if full in MODULES else node.module, inside))
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(MODULES[name].read_text(encoding="utf-8")), False)
    return found


IMPORTS = {name: imports_of(name) for name in MODULES}


def imported(name, *, at_top=False):
    return {module for module, inside in IMPORTS[name] if not (at_top and inside)}


def importers_of(*roots):
    """Modules that import anything at or below one of `roots`."""
    return {
        name
        for name in MODULES
        for module in imported(name)
        if any(module == root or module.startswith(f"{root}.") for root in roots)
    }


def below(*roots):
    return {n for n in MODULES if any(n == root or n.startswith(f"{root}.") for root in roots)}


def test_the_sources_are_read():
    """Lest the tests below pass for want of anything to look at."""
    assert {"benchmark.training.loop", "benchmark.variants.norms", "analysis.data.load"} <= set(MODULES)
    assert "torch" in imported("benchmark.training.loop")
    assert "benchmark.study.plan" in imported("benchmark.stages.run")
    assert ("mlflow", True) in IMPORTS["benchmark.tracking.mlflow.store"]


def test_the_packages_never_import_each_other():
    assert importers_of("analysis") <= below("analysis")
    assert importers_of("benchmark") - below("benchmark") <= importers_of("benchmark.contract")


def test_one_module_imports_optuna():
    assert importers_of("optuna") == {"benchmark.stages.rates"}


def test_one_place_a_package_imports_mlflow_and_only_when_it_is_needed():
    assert importers_of("mlflow") <= below("benchmark.tracking") | {"analysis.data.load"}
    for name in MODULES:
        assert not {m for m in imported(name, at_top=True) if m.partition(".")[0] == "mlflow"}, name


@pytest.mark.parametrize(
    ("what", "knows_nothing_of"),
    [
        # A trial is a stream of results; what becomes of them is the runner's.
        (
            ("benchmark.training", "benchmark.variants", "benchmark.data", "benchmark.probes"),
            (
                "benchmark.stages.axis",
                "benchmark.stages.run",
                "benchmark.execution.chains",
                "benchmark.tracking",
                "benchmark.stages.rates",
                "benchmark.execution.executors",
                "benchmark.stages.decisions",
                "benchmark.cli.display",
                "benchmark.cli.commands",
                "mlflow",
                "optuna",
            ),
        ),
        (
            ("benchmark.variants",),
            ("benchmark.data", "benchmark.training", "benchmark.probes", "benchmark.study.spec"),
        ),
        (
            ("benchmark.data",),
            ("benchmark.variants", "benchmark.training", "benchmark.probes", "benchmark.study.spec"),
        ),
        (("benchmark.probes",), ("benchmark.training", "benchmark.study.spec")),
        # Pure: studies, plans and decisions neither train nor write.
        (
            ("benchmark.study.spec", "benchmark.study.plan", "benchmark.stages.decisions"),
            (
                "benchmark.stages.axis",
                "benchmark.tracking",
                "benchmark.stages.rates",
                "benchmark.execution.executors",
            ),
        ),
        (
            (
                "benchmark.base.seeding",
                "benchmark.base.section",
                "benchmark.base.errors",
                "benchmark.base.registry",
            ),
            ("benchmark.study.spec",),
        ),
        (
            ("benchmark.stages.rates", "benchmark.tracking", "benchmark.execution.executors"),
            ("benchmark.stages.axis", "benchmark.stages.run"),
        ),
        (("benchmark",), ("matplotlib", "seaborn")),
        # Measures and statistics come from frames; only `load` knows where these come from.
        (
            ("analysis.stats", "analysis.measures"),
            ("analysis.claims", "analysis.figures", "analysis.report", "mlflow", "matplotlib", "seaborn"),
        ),
        (("analysis.stats",), ("analysis.data.load", "analysis.measures")),
        (("analysis.data",), ("analysis.claims", "analysis.figures", "analysis.report")),
        (("analysis.claims",), ("analysis.figures", "analysis.report", "matplotlib", "seaborn")),
        (("analysis.figures",), ("analysis.report",)),
        (("analysis",), ("torch",)),
    ],
)
def test_what_must_not_know_of_what(what, knows_nothing_of):
    names = below(*what)
    assert names
    assert not importers_of(*knows_nothing_of) & names


def test_there_are_no_cycles():
    graph = {name: imported(name) & set(MODULES) for name in MODULES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")
    assert order.index("benchmark.base.seeding") < order.index("benchmark.stages.axis")


def test_private_names_stay_in_their_module():
    """`from x import _y` reaches into another module; `_view.py` beside its users does not."""
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in PACKAGES:
                private = [a.name for a in node.names if a.name.startswith("_")]
                private = [p for p in private if f"{node.module}.{p}" not in MODULES]
                assert not private, f"{name} imports {private} from {node.module}"


@pytest.mark.parametrize("name", MODULES)
def test_modules_can_be_read_at_a_sitting_and_say_what_they_are(name):
    text = MODULES[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text)), f"{name} has no docstring"


def test_the_only_lazy_imports_are_of_what_is_slow():
    """An import in a function hides a dependency: it needs a reason, and these are the reasons."""
    slow = {"mlflow", "sklearn", "torchvision", "PIL", "sqlalchemy", "logging", "matplotlib"}
    for name in MODULES:
        lazy = {module.partition(".")[0] for module, inside in IMPORTS[name] if inside}
        assert lazy <= slow | set(PACKAGES), name
