"""Who imports whom, read off the sources: the rules that keep any part replaceable."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmark", "analysis")
MAX_LINES = 340


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


def room_of(name):
    """The package or module that lies directly in one of the two packages."""
    return ".".join(name.split(".")[:2])


# Downwards: a room imports from rooms below it alone, those beside it excluded. `contract` is everyone's.
LAYERS = {
    "benchmark": [
        {"benchmark.__main__"},
        {"benchmark.cli", "benchmark.throughput"},
        {"benchmark.stages"},
        {"benchmark.tracking"},
        {"benchmark.execution", "benchmark.study"},
        {"benchmark.training"},
        {"benchmark.probes"},
        {"benchmark.variants", "benchmark.data"},
        {"benchmark.base"},
        {"benchmark.contract"},
    ],
    "analysis": [
        {"analysis.__main__"},
        {"analysis.commands"},
        {"analysis.report", "analysis.printing", "analysis.calibration", "analysis.findings"},
        {"analysis.matrix", "analysis.replications"},
        {"analysis.claims", "analysis.figures"},
        {"analysis.measures"},
        {"analysis.stats", "analysis.data"},
        {"analysis.family"},
        {"analysis.results"},
        {"analysis.errors", "analysis.interruption", "analysis.text"},
    ],
}
CONTRACT = "benchmark.contract"

# Library -> the only places that import it. Each of them does: a name that is wrong fails.
KNOWS = {
    "mlflow": {
        "benchmark.tracking.mlflow.changes",
        "benchmark.tracking.mlflow.client",
        "benchmark.tracking.mlflow.store",
        "analysis.data.store",
    },
    "optuna": {"benchmark.stages.rates", "benchmark.stages.storage"},
    "rich": {
        "benchmark.cli.commands",
        "benchmark.cli.deliver",
        "benchmark.cli.display",
        "benchmark.cli.printing",
        "benchmark.cli.status",
        "benchmark.throughput.command",
        "benchmark.throughput.table",
        "analysis.commands",
        "analysis.printing",
    },
    "jinja2": {"analysis.text"},
    "torchvision": {
        "benchmark.data.archives",
        "benchmark.data.image_folder",
        "benchmark.data.sources",
        "benchmark.throughput.conventional",
    },
    "keras": {"benchmark.throughput.with_keras"},
    "ray": {"benchmark.execution.on_ray", "benchmark.execution.ray_cluster"},
    "sklearn": {"benchmark.data.sources"},
}

# Why an import stands in a function, where it hides a dependency: it is slow; Keras is optional, too.
SLOW = {"mlflow", "pyarrow", "sklearn", "torchvision", "PIL", "sqlalchemy", "logging", "keras"}
# Modules of ours that are imported late, for what they import in turn.
LATE = {
    "benchmark.execution.choice": {"benchmark.execution.on_ray"},  # Ray is optional
    "benchmark.__main__": {
        "benchmark.cli.commands",
        "benchmark.cli.deliver",
        "benchmark.cli.status",
        "benchmark.throughput.command",
    },
    "analysis.__main__": {"analysis.commands"},
    "analysis.commands": {"analysis.report", "analysis.calibration", "analysis.figures", "analysis.findings"},
}


def test_the_sources_are_read():
    """Lest the tests below pass for want of anything to look at."""
    assert {"benchmark.training.loop", "benchmark.variants.norms", "analysis.data.load"} <= set(MODULES)
    assert "torch" in imported("benchmark.training.loop")
    assert "benchmark.study.plan" in imported("benchmark.stages.sweep")
    assert ("mlflow", True) in IMPORTS["benchmark.tracking.mlflow.store"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_its_place_and_every_place_its_room(package):
    assert not imported(package) & set(MODULES)  # what stands above all rooms imports none of them
    rooms = [room for layer in LAYERS[package] for room in layer]
    assert sorted(rooms) == sorted({room_of(name) for name in MODULES} & below_package(package) - {package})


def below_package(package):
    return {room_of(name) for name in MODULES if name.startswith(f"{package}.")}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_arrow_runs_upwards(package):
    """Nor sideways. Of the other package, the contract alone."""
    for height, layer in enumerate(LAYERS[package]):
        lower = {room for rooms in LAYERS[package][height + 1 :] for room in rooms}
        for room in layer:
            arrows = {room_of(module) for name in below(room) for module in imported(name) & set(MODULES)}
            assert arrows <= lower | {room, CONTRACT}, room


def test_the_contract_imports_nothing_but_the_standard_library():
    found = {module for name in below(CONTRACT) for module in imported(name)} - {*below(CONTRACT)}
    assert {module.partition(".")[0] for module in found} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("library", KNOWS)
def test_who_knows_a_library(library):
    assert importers_of(library) == {n for n in KNOWS[library] if library in tops(n)} == KNOWS[library]


def tops(name):
    return {module.partition(".")[0] for module in imported(name)}


@pytest.mark.parametrize(
    ("what", "library"),
    [
        (("benchmark",), "matplotlib"),
        (("benchmark",), "seaborn"),
        (("analysis",), "torch"),
        (("analysis.stats", "analysis.measures", "analysis.claims", "analysis.data"), "matplotlib"),
        (("analysis.stats", "analysis.measures", "analysis.claims", "analysis.data"), "seaborn"),
    ],
)
def test_who_does_not_know_a_library(what, library):
    assert all(below(room) for room in what)
    assert importers_of(library), library  # someone does
    assert not importers_of(library) & below(*what)


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


@pytest.mark.parametrize("name", MODULES)
def test_the_only_late_imports_are_of_what_is_slow(name):
    late = {module for module, inside in IMPORTS[name] if inside}
    allowed = LATE.get(name, set())
    assert {module for module in late if module.partition(".")[0] in PACKAGES} <= below(*allowed)
    assert {module.partition(".")[0] for module in late} - set(PACKAGES) <= SLOW


def test_what_is_said_to_be_imported_late_is():
    for name, modules in LATE.items():
        for module in modules:
            assert below(module) & imported(name), (name, module)
            assert not below(module) & imported(name, at_top=True), (name, module)
    lazily = {module.partition(".")[0] for name in MODULES for module, inside in IMPORTS[name] if inside}
    assert lazily >= SLOW, SLOW - lazily
    for name in MODULES:
        assert "mlflow" not in {module.partition(".")[0] for module in imported(name, at_top=True)}, name


@pytest.mark.parametrize(
    ("module", "also"),
    [
        ("benchmark.__main__", {"torch", "numpy", "pydantic", "rich"}),  # --help waits for nothing
        ("benchmark.execution.workers", {"optuna", "rich"}),  # a worker's start
        ("benchmark.cli.commands", set()),  # `plan`
        ("benchmark.cli.status", {"optuna", "sqlalchemy", "pyarrow"}),
        ("analysis.__main__", {"torch", "seaborn", "numpy", "pyarrow", "rich"}),  # --help
        ("analysis.commands", {"torch", "seaborn"}),
    ],
)
def test_what_starts_often_imports_nothing_slow(module, also):
    """In a process of its own: what counts is all that an import brings along."""
    slow = {"mlflow", "ray", "sklearn", "torchvision", "scipy", "pandas", "matplotlib"} | also
    if module == "analysis.commands":
        slow -= {"scipy", "pandas"}  # which all of it stands on
    code = f"import {module}, sys; print(*[name for name in {sorted(slow)} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
