"""The rules of ARCHITECTURE.md that an import or a call could break, and the lengths that CONTRIBUTING.md allows."""

import ast
import functools

from conftest import PROJECT

from mlproject.search.fingerprint import PACKAGE

FILES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = {PACKAGE / "__main__.py", PACKAGE / "program.py", *(PACKAGE / "commands").glob("*.py")}  # what users run
PURE = [*(PACKAGE / "evaluation").glob("*.py"), PACKAGE / "plots.py", PACKAGE / "class_plots.py"]
HEAVY = {"keras", "tensorflow", "keras_tuner", "mlflow"}


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(code):
    """The top-level packages that code imports, also inside functions."""
    found = set()
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def importing(package):
    """The files that import a package."""
    return [path for path in FILES if package in imports(tree(path))]


def calls(path):
    """The functions that a file calls by their name alone."""
    nodes = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def test_only_tracking_imports_mlflow():
    found = importing("mlflow")
    assert {path.parent.name for path in found} == {"tracking"}, found


def test_only_the_cluster_imports_ray_and_only_inside_functions():
    found = importing("ray")
    assert {path.parent.name for path in found} == {"cluster"}, found
    for path in found:
        outside = [node for node in tree(path).body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert "ray" not in imports(ast.Module(outside, [])), path


def test_evaluation_and_plots_are_pure():
    assert [path for path in PURE if imports(tree(path)) & HEAVY or "open" in calls(path)] == []


def test_library_code_does_not_print():
    printing = {path for path in FILES if "print" in calls(path)}
    assert printing and printing <= COMMANDS, printing - COMMANDS


def test_packages_say_what_each_of_their_modules_is_for():
    exempt = PACKAGE, PACKAGE / "commands"  # whose modules are named after commands
    for package in [path for path in PACKAGE.rglob("__init__.py") if path.parent not in exempt]:
        said = ast.get_docstring(tree(package))
        modules = {path.stem for path in package.parent.glob("*.py")} - {"__init__"}
        assert modules and not {name for name in modules if f"`{name}`" not in said}, package


def test_no_function_or_file_is_too_long_and_no_signature_too_wide():
    for path in [*FILES, *(PROJECT / "bench").glob("*.py")]:
        assert path.read_text(encoding="utf-8").count("\n") <= 350, path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 50, f"{path}:{node.name}"
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                assert len([one for one in given if one.arg not in ("self", "cls")]) <= 7, f"{path}:{node.name}"
