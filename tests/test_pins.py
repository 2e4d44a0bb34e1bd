"""pyproject, the locks and environment.yml say the same."""

import os
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from test_architecture import IMPORTS, PACKAGES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = ("requirements.lock", "requirements-test.lock")


def normal(name):
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock):
    """Each locked distribution's line, by normalized name."""
    lines = (ROOT / lock).read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {normal(requirement.name): requirement for requirement in requirements}
    assert len(found) == len(requirements), "a distribution is pinned twice"
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_is_one_version(lock):
    for requirement in pins(lock).values():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        Version(specifier.version)


@pytest.mark.parametrize(
    ("lock", "declared"),
    [
        ("requirements.lock", PROJECT["dependencies"]),
        (
            "requirements-test.lock",
            PROJECT["dependencies"] + [text for extra in EXTRAS.values() for text in extra],
        ),
    ],
)
def test_the_lock_satisfies_what_is_declared(lock, declared):
    locked = pins(lock)
    for text in declared:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            assert requirement.extras <= set(EXTRAS)
            continue
        pin = locked[normal(requirement.name)]
        (specifier,) = pin.specifier
        assert requirement.specifier.contains(specifier.version), f"{pin} does not satisfy {requirement}"
        assert pin.marker is None, f"{pin}: declared for all machines"


def test_the_locks_agree():
    """The tests run with the very versions that the product runs with."""
    product, tests = pins("requirements.lock"), pins("requirements-test.lock")
    assert len(product) > 50
    for name, requirement in product.items():
        assert str(tests[name]) == str(requirement)


@pytest.mark.parametrize("name", [*LOCKS, "environment.yml", "pyproject.toml"])
def test_no_file_names_a_registry(name):
    """Where packages come from is the user's choice."""
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host", text)


def test_the_conda_environment_takes_its_versions_from_the_lock():
    lines = [line.strip().removeprefix("- ") for line in (ROOT / "environment.yml").read_text().splitlines()]
    assert "-r requirements.lock" in lines
    (python,) = (line for line in lines if re.match(r"python\b", line))
    conda, project = SpecifierSet(python.removeprefix("python")), SpecifierSet(PROJECT["requires-python"])
    pythons = [Version(f"3.{minor}") for minor in range(30)]
    served, allowed = ([v for v in pythons if v in specifiers] for specifiers in (conda, project))
    assert served[0] == allowed[0]
    assert set(served) <= set(allowed)
    # No other versions there: they would be a second place for them.
    assert not [line for line in lines if re.match(r"[\w-]+[=<>]", line) and not line.startswith("python")]


OPTIONAL = {
    "keras": {"benchmark.throughput.with_keras"},
    "ray": {"benchmark.execution.on_ray", "benchmark.execution.ray_cluster"},
}
"""What is imported where it is there, and who may."""


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_imported_is_declared(package):
    distributions = packages_distributions()
    declared = {normal(Requirement(text).name) for text in PROJECT["dependencies"]}
    third_party = {
        module.partition(".")[0]
        for name, imports in IMPORTS.items()
        if name.partition(".")[0] == package
        for module, _ in imports
        if name not in OPTIONAL.get(module.partition(".")[0], ())
    } & set(distributions)
    assert {"numpy", "mlflow"} <= third_party
    for module in third_party - set(PACKAGES):
        assert {normal(d) for d in distributions[module]} & declared, f"{module} is imported, not declared"


def test_everything_declared_is_used():
    """By an import; pyarrow by pandas, which writes Parquet with it."""
    distributions = packages_distributions()
    roots = {module.partition(".")[0] for imports in IMPORTS.values() for module, _ in imports}
    used = {normal(name) for root in roots for name in distributions.get(root, [])}
    declared = {normal(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert declared - used <= {"pyarrow"}


def test_the_least_torch_and_its_torchvision_belong_together():
    """torchvision 0.26 goes with torch 2.11, and so on: a minor version of one with one of the other."""
    least = {Requirement(t).name: Requirement(t).specifier for t in PROJECT["dependencies"]}
    assert str(least["torch"]) == ">=2.11"
    assert str(least["torchvision"]) == ">=0.26"
    locked = pins("requirements.lock")
    torch, torchvision = (Version(next(iter(locked[n].specifier)).version) for n in ("torch", "torchvision"))
    assert torch.minor - 11 == torchvision.minor - 26


@pytest.fixture
def table():
    """By its name a costly one."""


def test_tests_that_share_a_costly_fixture_are_kept_together(request, table):
    """Under pytest 9.2 pytest-xdist 3.8 says nothing and makes each such fixture in every process."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@table")
