"""Writes the report: figures, tables, and the same content as an HTML page and as a Markdown page."""

import base64
import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from mlproject.errors import UserError
from mlproject.report import svg
from mlproject.report.content import TERMS, Chart, Comparison, ModelSection, Table
from mlproject.report.context import after_data_label, with_data_label

PICTURE_BYTES = 6_500_000  # limit for all pictures of the page; with base64 and text, the page then stays below 10 MB
DPI = 110


@dataclass(frozen=True, eq=False)
class Content:
    """The whole content of a report.

    Attributes:
        comparisons: the comparisons, in the page's order.
        models: the sections about each model alone.
        provenance: the tables of the last section.
        results: what results.json holds, in types that JSON has.
        command: the command that creates this report.
        origin: when, and how the models were trained.
    """

    comparisons: Sequence[Comparison]
    models: Sequence[ModelSection]
    provenance: Sequence[Table]
    results: Mapping[str, Any]
    command: str
    origin: str

    @property
    def charts(self) -> list[Chart]:
        """The figures of all comparisons and models."""
        pictures = [comparison.picture for comparison in self.comparisons]
        return [
            *filter(None, pictures),
            *(chart for part in self._parts for section in part.sections for chart in section.charts),
        ]

    @property
    def tables(self) -> list[Table]:
        """The tables of all comparisons and models, and of the last section."""
        return [
            *(table for part in self._parts for section in part.sections for table in section.tables),
            *self.provenance,
        ]

    @property
    def _parts(self) -> list[Comparison | ModelSection]:
        return [*self.comparisons, *self.models]


def write(content: Content, folder: Path) -> Path:
    """Write figures, tables, results.json, report.md and index.html.

    Args:
        content: what the report shows.
        folder: the folder to write to; it is created if it is missing.

    Returns:
        The path of index.html.

    Raises:
        UserError: if the folder cannot be written.
    """
    try:
        for subfolder in ("figures", "tables"):
            (folder / subfolder).mkdir(parents=True, exist_ok=True)
        for chart in content.charts:
            _save(chart, folder)
        for table in content.tables:
            table.frame.to_csv(folder / "tables" / f"{table.name}.csv", index=False)
        results = json.dumps(content.results, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "results.json").write_text(results + "\n", encoding="utf-8")
        for name, environment in (
            ("report.md", _markdown_environment()),
            ("index.html", _html_environment(folder, content.charts)),
        ):
            text = environment.get_template(f"{name}.j2").render(vars(content))
            (folder / name).write_text(text.rstrip() + "\n", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"report folder {str(folder)!r}: {reason}; accepted: a folder that can be written") from error
    return folder / "index.html"


def markdown_text(value: object) -> str:
    """Escape a text for Markdown.

    Args:
        value: any value; a `Markup` is taken to be escaped already.

    Returns:
        Its text, in which nothing acts as markup, as the border of a table, or as a line break.
    """
    if isinstance(value, Markup):
        return value
    return re.sub(r"([\\`*_\[\]<>#|&~$])", r"\\\1", " ".join(str(value).split()))


def _save(chart: Chart, folder: Path) -> None:
    file = folder / "figures" / chart.file
    if chart.drawing:
        svg.write(chart.drawing, file)
    elif isinstance(chart.figure, Path):
        shutil.copyfile(chart.figure, file)
    else:
        chart.figure.savefig(file, dpi=DPI)


def _html_environment(folder: Path, charts: Sequence[Chart]) -> Environment:
    """The templates' environment for HTML: everything is escaped (autoescape), and files become data URIs.

    If the pictures are too large together, they are shrunk, so that the page stays below 10 MB.
    """
    figures = folder / "figures"
    total = sum((figures / chart.file).stat().st_size for chart in charts if not chart.drawing)
    scale = min(1.0, (PICTURE_BYTES / max(total, 1)) ** 0.5)

    def picture(chart: Chart, alt: str) -> Markup:
        if chart.drawing:
            return svg.inline((figures / chart.file).read_text(encoding="utf-8"), chart.name, alt)
        uri = _data_uri("image/png", _shrink(figures / chart.file, scale))
        return Markup('<img src="{}" alt="{}">').format(uri, alt)

    def table_uri(name: str) -> str:
        return _data_uri("text/csv", (folder / "tables" / f"{name}.csv").read_bytes())

    script = (Path(__file__).parent / "templates" / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment = _environment(autoescape=True)
    environment.globals.update(
        picture=picture,
        table_uri=table_uri,
        script=Markup(script),
        script_digest=f"sha256-{digest}",
    )
    return environment


def _shrink(file: Path, scale: float) -> bytes:
    """The bytes of the picture; at a scale below 1, it is smaller and has a palette of 256 colours."""
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


def _markdown_environment() -> Environment:
    """The templates' environment for Markdown: everything is escaped (finalize); `raw` marks text already escaped."""
    environment = _environment(finalize=markdown_text)
    environment.filters.update(raw=Markup, address=lambda text: re.sub(r"[()<>\s|]", "", text))
    return environment


def _environment(**options: Any) -> Environment:
    """The templates, which add the data label to headings and titles (`labelled`) and to captions (`after_label`)."""
    environment = Environment(
        loader=PackageLoader(__package__),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters.update(labelled=with_data_label, after_label=after_data_label)
    environment.globals.update(terms=TERMS)
    return environment
