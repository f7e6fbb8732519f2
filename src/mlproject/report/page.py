"""Sections -> files: figures, tables, and two renderings of the same content, an HTML page and a Markdown page."""

import base64
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlproject.errors import UserError
from mlproject.report.content import Chart, Comparison, Table
from mlproject.report.members import PLOTS
from mlproject.report.portraits import Portrait

FOLDED_ROWS = 12  # longer tables are folded away behind their title


def write(comparisons: Sequence[Comparison], portraits: Sequence[Portrait], provenance: Table, folder: Path) -> Path:
    """Write figures, tables, report.md and index.html into `folder`; gives the path of index.html.

    Raises UserError when the folder cannot be written.
    """
    try:
        for part in ("figures", "tables"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        sections = [section for comparison in comparisons for section in comparison.sections]
        for chart in (chart for section in sections for chart in section.charts):
            _save(chart, folder)
        for table in [t for part in (*sections, *portraits) for t in part.tables] + [provenance]:
            table.frame.to_csv(folder / "tables" / f"{table.name}.csv", index=False)
        for portrait in portraits:
            for plot, file in portrait.member.plots.items():
                shutil.copyfile(file, folder / "figures" / f"{plot_name(portrait, plot)}.png")
        content = {"comparisons": comparisons, "portraits": portraits, "provenance": provenance}
        for name, environment in (("report.md", _markdown()), ("index.html", _html(folder))):
            text = environment.get_template(f"{name}.j2").render(content)
            (folder / name).write_text(text.rstrip() + "\n", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"report folder {str(folder)!r}: {reason}; accepted: a folder that can be written") from error
    return folder / "index.html"


def plot_name(portrait: Portrait, plot: str) -> str:
    """The file name, without its ending, that a model's stored plot gets."""
    return f"{portrait.member.key}.{plot.replace('_', '-')}"


def markdown_text(value: object) -> str:
    """Text that shows in Markdown as it is: no markup, no table border, no line break in it takes effect."""
    return re.sub(r"([\\`*_\[\]<>#|&~$])", r"\\\1", " ".join(str(value).split()))


def _save(chart: Chart, folder: Path) -> None:
    chart.figure.savefig(folder / "figures" / f"{chart.name}.png", dpi=110, bbox_inches="tight")


def _html(folder: Path) -> Environment:
    """Everything is escaped on its way into the page (autoescape); files become data URIs."""

    def data_uri(kind: str, path: str) -> str:
        return f"data:{kind};base64,{base64.b64encode((folder / path).read_bytes()).decode('ascii')}"

    environment = Environment(autoescape=True, **_environment())
    environment.globals.update(_SHARED, data_uri=data_uri)
    return environment


def _markdown() -> Environment:
    """Everything is escaped on its way into the page (finalize), so nothing in a template needs to remember it."""
    environment = Environment(finalize=markdown_text, **_environment())
    environment.globals.update(_SHARED)
    return environment


def _environment() -> dict[str, Any]:
    return {
        "loader": PackageLoader(__package__),
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }


_SHARED = {"captions": PLOTS, "plot_name": plot_name, "folded_rows": FOLDED_ROWS}
