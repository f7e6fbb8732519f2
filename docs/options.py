"""The table of the options of `tune`, from `mlproject.settings` and the file MLproject.

`make tables` writes it into docs/reference/options.md, with cog, and tests/test_docs.py compares it.
"""

import html
import sys
from dataclasses import fields
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
from mlproject.settings import Settings  # noqa: E402, it is the checkout's own, installed or not

KINDS = {
    bool: "`true`, `false`",
    float: "a number",
    int: "a whole number",
    int | None: "a whole number",
    int | str: "`auto`, or a whole number",
}


def table():
    """A row for each field of `Settings`, with the default that the file MLproject gives it."""
    project = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))
    defaults = {name: one["default"] for name, one in project["entry_points"]["tune"]["parameters"].items()}
    rows = ["| option | what it is for | default | accepted | decides the search |", "|---|---|---|---|---|"]
    for option in fields(Settings):
        argument = option.metadata["argument"]
        choices = ", ".join(f"`{choice}`" for choice in getattr(argument["type"], "choices", ()))
        default = f"`{defaults[option.name]}`" if defaults[option.name] != "" else ""
        kind = choices or KINDS.get(option.type, "text")
        help = html.escape(argument["help"], quote=False).replace("|", r"\|")
        decides = "yes" if option.metadata["decides"] else ""
        rows.append(f"| `{option.name}` | {help} | {default} | {kind} | {decides} |")
    return "\n".join(rows)
