"""Sections -> files: figures, tables, and two renderings of the same content, an HTML page and a Markdown page."""

import base64
import hashlib
import io
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from mlproject.errors import UserError
from mlproject.report.content import Chart, Comparison, Section, Table
from mlproject.report.portraits import Portrait

FOLDED_ROWS = 12  # longer tables are folded away behind their title
PICTURE_BYTES = 6_500_000  # of all pictures in the page, so that with base64 and text it stays below 10 MB
DPI = 110


@dataclass(frozen=True, eq=False)
class Content:
    """All that a report shows; `again` is the command that makes it."""

    comparisons: Sequence[Comparison]
    portraits: Sequence[Portrait]
    provenance: Sequence[Table]
    again: str

    @property
    def sections(self) -> list[Section]:
        """The sections of comparisons and portraits, in the page's order."""
        return [section for part in (*self.comparisons, *self.portraits) for section in part.sections]


def write(content: Content, folder: Path) -> Path:
    """Write figures, tables, report.md and index.html into `folder`; gives the path of index.html.

    Raises UserError when the folder cannot be written.
    """
    try:
        for part in ("figures", "tables"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        charts = [chart for section in content.sections for chart in section.charts]
        for chart in charts:
            _save(chart, folder)
        for table in [t for section in content.sections for t in section.tables] + list(content.provenance):
            table.frame.to_csv(folder / "tables" / f"{table.name}.csv", index=False)
        for name, environment in (("report.md", _markdown()), ("index.html", _html(folder, charts))):
            text = environment.get_template(f"{name}.j2").render(vars(content))
            (folder / name).write_text(text.rstrip() + "\n", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"report folder {str(folder)!r}: {reason}; accepted: a folder that can be written") from error
    return folder / "index.html"


def markdown_text(value: object) -> str:
    """Text that shows in Markdown as it is: no markup, no table border, no line break in it takes effect."""
    if isinstance(value, Markup):
        return value
    return re.sub(r"([\\`*_\[\]<>#|&~$])", r"\\\1", " ".join(str(value).split()))


def _picture(name: str, folder: Path) -> Path:
    return folder / "figures" / f"{name}.png"


def _save(chart: Chart, folder: Path) -> None:
    if isinstance(chart.figure, Path):
        shutil.copyfile(chart.figure, _picture(chart.name, folder))
    else:
        chart.figure.savefig(_picture(chart.name, folder), dpi=DPI)


def _html(folder: Path, charts: Sequence[Chart]) -> Environment:
    """Everything is escaped on its way into the page (autoescape); files become data URIs, and pictures, if there are very
    many, smaller, so that the page stays below 10 MB."""
    total = sum(_picture(chart.name, folder).stat().st_size for chart in charts)
    scale = min(1.0, (PICTURE_BYTES / max(total, 1)) ** 0.5)

    def picture_uri(name: str) -> str:
        return _data_uri("image/png", _shrunk(_picture(name, folder), scale))

    def table_uri(name: str) -> str:
        return _data_uri("text/csv", (folder / "tables" / f"{name}.csv").read_bytes())

    environment = Environment(autoescape=True, **_environment())
    script = environment.loader.get_source(environment, "page.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment.globals.update(
        picture_uri=picture_uri,
        table_uri=table_uri,
        script=Markup(script),
        script_digest=f"sha256-{digest}",
        folded_rows=FOLDED_ROWS,
    )
    return environment


def _shrunk(file: Path, scale: float) -> bytes:
    """The picture's bytes; below scale 1 in that size, and in a palette of 256 colours, more than most charts have."""
    if scale == 1:
        return file.read_bytes()
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    image = image.resize([max(1, int(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    small = io.BytesIO()
    image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(small, "PNG")
    return small.getvalue()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _markdown() -> Environment:
    """Everything is escaped on its way into the page (finalize), so nothing in a template needs to remember it; `raw` marks
    what has been through it already."""
    environment = Environment(finalize=markdown_text, **_environment())
    environment.globals.update(folded_rows=FOLDED_ROWS)
    environment.filters.update(raw=Markup, address=lambda text: re.sub(r"[()<>\s|]", "", text))
    return environment


def _environment() -> dict[str, Any]:
    return {
        "loader": PackageLoader(__package__),
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
