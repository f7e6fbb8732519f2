"""What MkDocs gets besides the pages in this folder: files elsewhere in the repository, and the table of the options."""

import html
import posixpath
import re
import sys
from dataclasses import fields
from pathlib import Path

import yaml
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
from mlproject.settings import Settings  # noqa: E402, it is the checkout's own, installed or not

# What the site shows although it is elsewhere. On the site, it is in the folder `repository`.
OUTSIDE = [
    "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/README.md",
    "reports/published/**/index.html", "reports/published/**/figures/*",
]  # fmt: skip
REPOSITORY = "repository"
OPTIONS = "<!-- the table of options -->"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)")
KINDS = {
    bool: "`true`, `false`",
    float: "a number",
    int: "a whole number",
    int | None: "a whole number",
    int | str: "`auto`, or a whole number",
}


def on_files(files, config):
    """Add the files outside of `docs/`."""
    for path in (found for pattern in OUTSIDE for found in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, f"{REPOSITORY}/{name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let links lead to the same files on the site as in the repository, and insert the table of options."""
    here = posixpath.dirname(page.file.src_uri)

    def moved(link):
        if here.startswith(REPOSITORY):
            target = posixpath.normpath(posixpath.join(posixpath.relpath(here, REPOSITORY), link[1]))
        else:
            target = posixpath.normpath(posixpath.join("docs", here, link[1]))
        inside = target.removeprefix("docs/") if target.startswith("docs/") else f"{REPOSITORY}/{target}"
        return posixpath.relpath(inside, here)

    return LINK.sub(moved, markdown).replace(OPTIONS, options_table())


def options_table():
    """A row for each field of `Settings`, with the default that the file MLproject gives it."""
    project = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))
    defaults = {name: one["default"] for name, one in project["entry_points"]["tune"]["parameters"].items()}
    rows = ["| option | what it is for | default | accepted | decides the search |", "|---|---|---|---|---|"]
    for option in fields(Settings):
        argument = option.metadata["argument"]
        choices = ", ".join(f"`{choice}`" for choice in getattr(argument["type"], "choices", ()))
        default = f"`{defaults[option.name]}`" if defaults[option.name] != "" else ""
        kind = choices or KINDS.get(option.type, "text")
        help = html.escape(argument["help"]).replace("|", r"\|")
        decides = "yes" if option.metadata["decides"] else ""
        rows.append(f"| `{option.name}` | {help} | {default} | {kind} | {decides} |")
    return "\n".join(rows)
