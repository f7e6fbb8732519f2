"""The documentation says what is: commands parse, cheap ones run, code compiles, links lead somewhere, messages exist."""

import ast
import html.parser
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys

import brightness
import click
import mlflow.cli
import numpy as np
import pytest
import yaml
from conftest import PROJECT, copy_experiments, parsed
from photos import encoded, photograph, write_tree
from registered import FLAT, FLAT_LABELS, guesses, put_into_store, register

from mlproject import program, tracking
from mlproject.commands import mlproject
from mlproject.datasets import FashionMNIST
from mlproject.discovery import find, select
from mlproject.settings import Settings

ROOT_PAGES = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "bench/README.md"]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
LINKING = [*(PROJECT / name for name in ROOT_PAGES), *PAGES[1:]]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:)([^)\s]+)\)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
ENTRIES = yaml.safe_load((PROJECT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
TARGETS = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
SOURCE = {path: path.read_text(encoding="utf-8") for path in (PROJECT / "src").rglob("*.py")}
OWN_IMAGES = "photos"  # the folder of the documentation's user
# Commands of seconds that need no data sets from the internet. An export starts a process that loads the file, so one must do.
CHEAP = re.compile("mlproject (list|prune|report|predict|explain|export photos|data check|data fetch --data synthetic)")
# The models that these commands name, and the aliases of their versions.
WITH_VERSIONS = {
    "fashion-mnist-cnn": ["champion", "challenger"],
    "cifar100-fine-cnn": ["champion", "challenger"],
    "photos-fine-tuned": ["champion"],
}
MADE_BY_EXAMPLES = ("fashion-mnist-resnet",)  # of the page about adding a model
# What commands make, and what users have.
NOT_SHIPPED = (
    ".cache/",
    ".mlproject",
    ".venv",
    "exports/",
    "mlflow.db",
    "mlruns/",
    "new.jpg",
    "photo.jpg",
    "photos/",
    "reports/data/",
)
NOT_SHIPPED += (
    "reports/index.html",
    "scans/",
    "site/",
    "train/",
    "val/",
    "test/",
    "leaves.npz",
    "~/.keras",
    "~/.cache",
)
NOT_SHIPPED += ("auth.ini", "cifar-100-binary.tar.gz", "deploy/.env", "experiments/fashion_mnist_resnet.py")
OTHER_PROGRAMS = {".", "cp", "docker", "export", "kubectl", "printf", "pip", "mkdocs", "pytest", "pre-commit"}


def name(path):
    return path.relative_to(PROJECT).as_posix()


def blocks(page, language):
    return [code for kind, code in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def prose(page):
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


SHELL = sorted({line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines() if line})


def known_models():
    """The names that models have on the documentation's pages."""
    shipped = [one.name for one in find("*", PROJECT / "experiments")]
    waiting = ["cnn", "cnn-coarse", "features", "fine-tuned"]
    return [*shipped, *MADE_BY_EXAMPLES, *waiting, *(f"{OWN_IMAGES}-{one}" for one in [*waiting, *shipped])]


def check_command(words):
    """Parse a command of ours, and look up the experiments and models that it names."""
    command, given = parsed(*words)
    known = dict.fromkeys(known_models())
    named = given.get("names") or ()
    if command.name in ("tune", "explain", "notebook"):
        select(",".join(named) or given["experiment"], {one: one for one in known})
    models = [*given.get("models", ()), *filter(None, [given.get("model")])]
    if command.name == "export":
        models += filter(None, [given["name"]])
    assert {re.split("[@/]", model)[0] for model in models} <= set(known)
    comparisons = {one.comparison for one in find("*", PROJECT / "experiments")} | {OWN_IMAGES}
    assert set(given.get("comparison", ())) <= comparisons


def check_project_run(words):
    """Put the parameters of `mlflow run` into the command of its entry point, as MLflow does."""
    assert words[0] == "."
    entry, given = "main", {}
    for flag, value in zip(words[1::2], words[2::2], strict=True):
        if flag == "-e":
            entry = value
        elif flag == "-P":
            key, _, text = value.partition("=")
            given[key] = text
        else:
            assert flag == "--env-manager" and value in ("local", "uv")
    parameters = ENTRIES[entry]["parameters"]
    assert given.keys() <= parameters.keys(), f"{entry} has no {given.keys() - parameters.keys()}"
    values = {key: shlex.quote(str(given.get(key, one["default"] if isinstance(one, dict) else "")))
              for key, one in parameters.items()}  # fmt: skip
    words = shlex.split(ENTRIES[entry]["command"].format(**values))
    assert words[:3] == ["python", "-m", "mlproject"]
    check_command(words[3:])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_short_and_its_blocks_have_languages(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("\n") <= 220
    assert {language for language, _ in BLOCK.findall(text)} <= {"sh", "python", "text", "csv"}


@pytest.mark.parametrize("line", SHELL)
def test_a_documented_command_is_accepted(line):
    words = shlex.split(line, comments=True)
    if "--help" in words:
        words.remove("--help")
    if words[:3] == ["python", "-m", "mlproject"]:
        words = ["mlproject", *words[3:]]
    match words:
        case ["make", *targets]:
            assert {one for one in targets if "=" not in one} <= TARGETS
        case ["mlproject", *rest]:
            check_command(rest)
        case ["mlflow", "run", *rest]:
            check_project_run(rest)
        case ["mlflow", "server", *rest]:
            mlflow.cli.server.make_context("server", rest)
        case ["python", path, *rest] if path.startswith("experiments/"):
            assert (PROJECT / path).exists() or path in NOT_SHIPPED
            program._command(8).make_context(path, rest)
        case _:
            assert words[0] in OTHER_PROGRAMS


@pytest.fixture(scope="module")
def folder(tmp_path_factory, new_store):
    """The folder of the documentation's user: experiments, images, and a store with the models that pages name."""
    folder = tmp_path_factory.mktemp("user")
    copy_experiments(folder)
    write_tree(folder / OWN_IMAGES, images=10)
    for file in ("new.jpg", "photo.jpg"):
        (folder / file).write_bytes(encoded(photograph(), "JPEG"))
    new_store(folder)
    comparisons = {one.name: one.comparison for one in find("*", PROJECT / "experiments")}
    comparisons[f"{OWN_IMAGES}-fine-tuned"] = OWN_IMAGES
    before, example = mlflow.get_tracking_uri(), np.zeros((1, 28, 28, 1), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
            patch.delenv(variable, raising=False)
        project = tracking.connect()
        for model_name, aliases in WITH_VERSIONS.items():
            tags = {"comparison": comparisons[model_name], "labels": "flat", "test.digest": model_name}
            predicted = guesses(FLAT_LABELS, 3, 2.0)
            model = register(tmp_path_factory.mktemp("runs"), model_name, tags, FLAT_LABELS, predicted, FLAT)
            tracking.use_comparison(project, tags["comparison"])
            described = FashionMNIST.preparation.describe()
            given = [put_into_store(model, brightness.network(), example, described) for _ in aliases]
            assert given == aliases
    mlflow.set_tracking_uri(before)
    return folder


@pytest.mark.parametrize("line", [line for line in SHELL if CHEAP.match(line)])
def test_a_cheap_documented_command_works(line, folder, run_here, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = run_here(*shlex.split(line, comments=True)[1:], cwd=folder)
    assert done.returncode == 0 and done.stdout, done.stderr


COMMANDS = ["tune", "report", "list", "predict", "serve", "export", "explain", "notebook", "ui", "prune"]
COMMANDS += ["data fetch", "data show", "data check"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_row_with_its_options_and_examples_in_its_help(command):
    needed = {"data check": ["photos"], "predict": ["fashion-mnist-cnn", "photo.jpg"], "serve": ["fashion-mnist-cnn"]}
    found, _ = parsed(*command.split(), *needed.get(command, ()))
    page = (PROJECT / "docs/reference/commands.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in page if line.startswith("|") and f"`mlproject {command}" in line]
    if command not in ("tune", "data check"):  # whose options are in a table of their own; which has none
        options = [one for one in found.params if isinstance(one, click.Option) and one.name != "verbose"]
        accepted = {max(one.opts, key=len) for one in options}
        documented = SPAN.findall(row.split(" | ")[-1])
        assert {f"--{one.removeprefix('--').replace('_', '-')}" for one in documented} == accepted
    examples = [line.strip() for line in found.epilog.splitlines() if line.startswith("  mlproject ")]
    assert examples
    for example in examples:
        check_command(shlex.split(re.split(r"\s{2,}", example)[0])[1:])


@pytest.mark.parametrize("entry", sorted(ENTRIES.keys() - {"main", "check"}))
def test_every_entry_point_is_a_command(entry):
    assert entry in mlproject.commands


@pytest.mark.parametrize(
    "code", [pytest.param(code, id=f"{name(page)}-{n}") for page in PAGES for n, code in enumerate(blocks(page, "python"))]
)  # fmt: skip
def test_documented_code_compiles_and_its_imports_exist(code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}"), (
                    alias.name
                )


def is_path(span):
    """Whether an inline code names a file or folder, and no placeholder, pattern or module."""
    if not re.fullmatch(r"[\w.~/-]+", span) or re.search(r"[A-Z]{3,}/|/[A-Z]{3,}|NAME", span):
        return False
    suffixes = ("py", "md", "toml", "lock", "yaml", "yml", "csv", "npz", "png", "json", "html", "db", "gz", "jpg")
    return span.endswith("/") or ("/" in span and "://" not in span) or span.rpartition(".")[2] in suffixes


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_documented_paths_exist_or_are_made_by_the_code(page):
    code = "\n".join(SOURCE.values())
    paths = {span for span in SPAN.findall(prose(page)) if is_path(span) and not span.startswith(NOT_SHIPPED)}
    assert not {path for path in paths if not (PROJECT / path).exists() and f'"{path}"' not in code}


def test_the_architecture_names_every_package_and_no_file_that_is_gone():
    page, package = (PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8"), PROJECT / "src" / "mlproject"
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert folders and modules and not {name for name in folders | modules if f"`{name}`" not in page}
    paths = re.findall(r"[\w/]+/\w+\.py", page)
    assert paths and not [path for path in paths if not ((PROJECT / path).exists() or (package / path).exists())]


def slugs(path):
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", one).lower()).strip().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in LINK.findall(prose(page)):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in slugs(target), link


def texts(tree):
    """Every text in the code; what an f-string inserts becomes an ellipsis, which `!r` puts between quotes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [getattr(part, "value", "") if isinstance(part, ast.Constant) else
                     "'...'" if part.conversion == ord("r") else "..." for part in node.values]  # fmt: skip
            yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def in_order(parts, text):
    """Whether a text has all parts, one after the other."""
    end = 0
    for part in parts:
        start = text.find(part, end)
        if start < 0:
            return False
        end = start + len(part)
    return True


def test_documented_messages_are_those_of_the_code():
    in_code = [text for source in SOURCE.values() for text in texts(ast.parse(source))]
    documented = blocks(PROJECT / "docs" / "troubleshooting.md", "text")
    assert len(documented) >= 20
    for message in documented:
        assert any(in_order(message.strip().split("..."), text) for text in in_code), message


def test_the_documented_sections_are_those_of_the_report():
    page = (PROJECT / "docs" / "how-to" / "read-the-report.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| section ")]
    calls = [node for source in SOURCE.values() for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    titles = {one.args[0].value for one in calls if isinstance(one.func, ast.Name) and one.func.id == "Section"}
    assert {row.removeprefix("| ").partition(" |")[0] for row in rows} == titles


def test_generated_tables_are_those_of_the_published_results_and_of_the_settings():
    pages = [path for path in PAGES if "[[[cog" in path.read_text(encoding="utf-8")]
    assert {"README.md", "docs/explanation/results.md", "docs/reference/options.md"} <= set(map(name, pages))
    command = [sys.executable, "-m", "cogapp", "--check", "-P", "-I", "docs", *pages]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}; run `make tables`"


def test_the_table_of_options_has_every_setting_and_is_complete_without_the_site():
    page = (PROJECT / "docs" / "reference" / "options.md").read_text(encoding="utf-8")
    rows = {SPAN.findall(line)[0]: line.split(" | ") for line in page.splitlines() if line.startswith("| `")}
    assert rows.keys() == Settings.__dataclass_fields__.keys()
    for option, (_, _, default, accepted, decides) in rows.items():
        given = ENTRIES["tune"]["parameters"][option]["default"]
        assert default == (f"`{given}`" if given != "" else "") and accepted
        assert ("yes" in decides) == Settings.__dataclass_fields__[option].metadata["decides"]
    assert "`hyperband`" in rows["tuner"][3] and "`bfloat16`" in rows["precision"][3]


class Page(html.parser.HTMLParser):
    """What a built page loads from elsewhere, and its text."""

    def __init__(self):
        super().__init__()
        self.loaded, self.words = [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        address = given.get("src") or (given.get("href") if tag == "link" else None)
        if address:
            self.loaded.append(address)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("no mkdocs: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=PROJECT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return folder


def read(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(site):
    pages = [path for path in site.rglob("*.html") if "published" not in path.parts]
    assert len(pages) > len(PAGES)
    for path in pages:
        assert not [address for address in read(path).loaded if "//" in address], path


def test_the_sites_table_of_options_has_every_setting(site):
    words = [word.strip() for word in read(site / "reference" / "options.html").words]
    for shown in (*Settings.__dataclass_fields__, "hyperband", "bfloat16"):
        assert shown in words


def test_the_reference_describes_the_api(site):
    words = "".join(
        "".join(read(site / "reference" / f"{page}.html").words) for page in ("experiments", "data", "layers")
    )
    for public in ("Experiment", "Recipe", "Stage", "Spec", "Loader", "Arrays", "ImageFolder", "residual_groups"):
        assert public in words
    assert "progressive_resizing" in words and "Raises:" in words
