"""The rules of ARCHITECTURE.md that an import or a call could break."""

import ast

import pytest

from mlproject.search.fingerprint import PACKAGE

FILES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = {"__main__.py", "program.py", *(path.name for path in (PACKAGE / "commands").glob("*.py"))}  # what users run
HEAVY = {"keras", "tensorflow", "keras_tuner", "mlflow"}


def name(path):
    return path.relative_to(PACKAGE).as_posix()


def imports(path):
    """The top-level packages that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name != "tracking"], ids=name)
def test_only_tracking_imports_mlflow(path):
    assert "mlflow" not in imports(path)


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name != "cluster"], ids=name)
def test_only_the_cluster_imports_ray(path):
    assert "ray" not in imports(path)


@pytest.mark.parametrize("path", [*(PACKAGE / "evaluation").glob("*.py"), PACKAGE / "plots.py"], ids=name)
def test_evaluation_and_plots_are_pure(path):
    assert not imports(path) & HEAVY
    called = {
        node.func.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(getattr(node, "func", 0), ast.Name)
    }
    assert "open" not in called


@pytest.mark.parametrize("path", [path for path in FILES if path.name not in COMMANDS], ids=name)
def test_library_code_does_not_print(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]


def test_no_function_or_file_is_too_long_and_no_signature_too_wide():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 350, name(path)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 50, f"{name(path)}:{node.name}"
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                assert len([one for one in given if one.arg not in ("self", "cls")]) <= 7, f"{name(path)}:{node.name}"
