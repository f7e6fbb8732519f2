"""What the project declares about itself agrees: imports, version ranges, locked versions, and versions of Python."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from conftest import PROJECT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = DECLARED["optional-dependencies"]
LOCKED = [
    Requirement(line)
    for line in (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if not line.lstrip().startswith("#")
]
IN_THE_LOCK_FILE = [
    requirement
    for group in (DECLARED["dependencies"], *(EXTRAS[extra] for extra in ("dev", "docs", "onnx", "server")))
    for requirement in map(Requirement, group)
    if requirement.name != DECLARED["name"]
]
ACCEPTED = SpecifierSet(DECLARED["requires-python"])
PYTHONS = [version for version in (f"3.{minor}" for minor in range(100)) if version in ACCEPTED]


def imports(path):
    """The top-level packages that a file imports, its own package's modules left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"mlproject"}


def test_every_package_that_the_code_imports_is_declared():
    declared = {canonicalize_name(Requirement(line).name) for line in [*DECLARED["dependencies"], *EXTRAS["cluster"]]}
    makers = packages_distributions()
    imported = set().union(*map(imports, (PROJECT / "src").rglob("*.py")))
    assert {"PIL", "keras", "ray"} <= imported
    assert not {name for name in imported if declared.isdisjoint(map(canonicalize_name, makers.get(name, [name])))}, (
        "a package that another one brings may go with it"
    )


@pytest.mark.parametrize("requirement", IN_THE_LOCK_FILE, ids=str)
def test_the_locked_versions_are_in_the_declared_range(requirement):
    """`make lock` was run after the last change of a range."""
    name = canonicalize_name(requirement.name)
    versions = [pin.version for one in LOCKED if canonicalize_name(one.name) == name for pin in one.specifier]
    assert versions and all(version in requirement.specifier for version in versions), versions


def test_one_list_of_pythons_is_declared_tested_and_used():
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS
    classifier = "Programming Language :: Python :: "
    assert [line.removeprefix(classifier) for line in DECLARED["classifiers"] if line.startswith(classifier)] == PYTHONS
    conda = yaml.safe_load((PROJECT / "conda.yaml").read_text(encoding="utf-8"))["dependencies"]
    (image,) = re.findall(r"^FROM python:([\d.]+)", (PROJECT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert {image, *(one.removeprefix("python=") for one in conda if str(one).startswith("python="))} <= set(PYTHONS)
