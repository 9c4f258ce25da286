"""What the package needs is declared where somebody installs it: pyproject.toml and Alpine's recipe."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
PINS = TOP / "tests/platforms/alpine-3.23.txt"
#: What the recipe builds with.
BUILD = {"gpep517", "installer", "setuptools", "wheel"}
#: Alpine's names that are not ``py3-`` and PyPI's, and modules that are not named as their distribution.
ALPINE = {"pyasn1-modules": "asn1-modules", "pyyaml": "yaml"}
MODULES = {"yaml": "pyyaml", "pytest_asyncio": "pytest-asyncio"}


def _names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(one).name) for one in requirements}


def _recipe(variable: str) -> set[str]:
    """Return the Python packages of a variable of APKBUILD, without ``py3-``."""
    found = re.search(rf'^{variable}="([^"]*)"', (TOP / "deploy/apk/APKBUILD").read_text(), re.MULTILINE)
    assert found is not None
    return {word.removeprefix("py3-") for word in found[1].split() if word.startswith("py3-")}


def _pinned() -> dict[str, Requirement]:
    lines = [line for line in PINS.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def _imported(folder: str) -> Iterator[str]:
    """Yield the distributions that the modules below a folder import."""
    for path in (TOP / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.append(node.module)
            tops = {name.partition(".")[0] for name in names}
            yield from (MODULES.get(top, top.replace("_", "-")) for top in tops - sys.stdlib_module_names)


def test_alpines_recipe_has_what_the_package_needs() -> None:
    """As many Python packages as ``dependencies`` has, and no other."""
    assert _recipe("depends") == _names(PROJECT["dependencies"])


def test_whatever_the_package_imports_is_declared() -> None:
    """At run time without an extra; ``ca`` for the CA and its commands alone."""
    ca = _names([*PROJECT["optional-dependencies"]["ca"], *PROJECT["optional-dependencies"]["postgresql"]])
    system = {"dmvpn-agent", "nftables"}  # nftables: Alpine's and Debian's binding, used where it is installed
    assert set(_imported("agent")) - system - ca <= _names(PROJECT["dependencies"])
    for folder in sorted(path.name for path in (TOP / "agent/dmvpn_agent").iterdir() if path.is_dir()):
        if folder not in {"ca", "enrolment", "cli"}:
            assert not set(_imported(f"agent/dmvpn_agent/{folder}")) & ca, folder


def test_the_run_on_alpine_has_the_packages_of_the_recipe_and_no_others() -> None:
    """So a package that is missing in ``depends`` or ``checkdepends`` fails a test there."""
    recipe = _recipe("depends") | _recipe("checkdepends")
    assert recipe == {ALPINE.get(name, name) for name in _pinned().keys() - BUILD}


def test_alpines_versions_meet_the_lower_bounds() -> None:
    """A pin may leave its last part open."""
    wanted = map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["ca"]])
    for one in wanted:
        pin = _pinned()[canonicalize_name(one.name)]
        for specifier in pin.specifier:
            assert one.specifier.contains(specifier.version.replace("*", "9999")), f"{one} on Alpine: {pin}"
