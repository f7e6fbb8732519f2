"""The content of a report before any markup: sections with sentences, charts and tables, and the comparisons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mlproject.location import LOCAL_UI
from mlproject.report.context import ReportContext
from mlproject.report.formats import short_decimal
from mlproject.report.models import ReportedModel

F1 = (
    "F1 is the harmonic mean of precision (how many of the images predicted as a class are of it) and recall (how many of its "
    "images are found)."
)
TERMS = (
    "A point is one percent of the test images. If such a study were repeated many times, about 95 of 100 of its 95% intervals "
    "would contain the true value. p is the probability of a difference at least this large if there were none, adjusted by "
    "Holm's method for the number of pairs. A difference may be chance unless p is below 0.05 and the interval excludes zero. "
    "The seed of a network decides its initial weights, and the order and the augmentation of its images."
)

LOCALLY = "(first run mlproject ui on the computer that made this report)"


@dataclass(frozen=True)
class Column:
    """One column of a printed table.

    Attributes:
        heading: the text above it.
        fields: the name of the frame's column, or several names if one cell shows them together.
        format: gives the text of a cell from the values of `fields`, in their order.
        number: whether the column is aligned and sorted as numbers.
        link: the name of the frame's column that holds the http(s) address the text links to, "" for none.
    """

    heading: str
    fields: str | tuple[str, ...]
    format: Callable[..., str] = str
    number: bool = True
    link: str = ""

    def text(self, row: pd.Series) -> str:
        """The text of the cell in this row."""
        fields = (self.fields,) if isinstance(self.fields, str) else self.fields
        return self.format(*(row[name] for name in fields))

    def address(self, row: pd.Series) -> str:
        """The http(s) address that the cell's text links to; "" for none."""
        return web_address(row[self.link]) if self.link else ""


def web_address(text: str) -> str:
    """The text if it is an http(s) address; "" for any other, which could run as a script."""
    return text if text.startswith(("http://", "https://")) else ""


def text_column(heading: str, name: str = "") -> Column:
    """A column of words: the frame's column `name`, or the column named like the heading if no name is given."""
    return Column(heading, name or heading, number=False)


@dataclass(frozen=True)
class Cell:
    """A printed cell: its text, its column, and the address it links to ("" for none)."""

    text: str
    column: Column
    address: str


@dataclass(frozen=True, eq=False)
class Table:
    """A table of the report.

    Attributes:
        name: the name of its CSV file, without suffix; the file holds the whole frame, unrounded.
        title: the text above it; the page adds the data label.
        frame: a row for each row of the table.
        columns: the columns that are printed, and their formats.
        note: what a reader must know to read the numbers.
        main: whether the table is shown at once; others are folded under their title.
    """

    name: str
    title: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    note: str = ""
    main: bool = False

    @cached_property
    def rows(self) -> list[list[Cell]]:
        """The printed cells."""
        return [
            [Cell(column.text(row), column, column.address(row)) for column in self.columns]
            for _, row in self.frame.iterrows()
        ]


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure of the report.

    Attributes:
        name: the name of its file, without suffix.
        figure: a figure, or the PNG file that a run holds.
        alt: the text for readers who cannot see the figure; the page adds the data label.
        caption: the text below it; the page adds the data label.
    """

    name: str
    figure: Figure | Path
    alt: str
    caption: str

    @property
    def drawing(self) -> Figure | None:
        """The figure if it is a drawing without images, so that SVG suits it."""
        if isinstance(self.figure, Path) or self.figure.subfigs or any(axes.images for axes in self.figure.axes):
            return None
        return self.figure

    @property
    def file(self) -> str:
        """The name of its file: SVG for a drawing, PNG for images."""
        return f"{self.name}.{'svg' if self.drawing else 'png'}"


@dataclass(frozen=True)
class Link:
    """A sentence that begins with a link: the text that is linked, the http(s) address, and what follows the text, perhaps ""."""

    text: str
    address: str
    suffix: str


def ui_link(text: str, address: str) -> Link | None:
    """A link to a page of MLflow's UI, which a reader may have to start first.

    Args:
        text: what the reader can do there.
        address: the page's address, "" when it is not known.

    Returns:
        The link; None without an http(s) address.
    """
    suffix = LOCALLY if is_local(address) else ""
    return Link(f"{text} in MLflow's UI", address, suffix) if web_address(address) else None


def is_local(address: str) -> bool:
    """Whether the address is that of the UI of a store without a server."""
    return address.startswith(f"{LOCAL_UI}/")


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the report under a heading of its own.

    Attributes:
        title: the heading; the page adds the data label.
        findings: sentences below the heading.
        charts: figures after the findings.
        tables: tables after the figures.
        answers: sentences for the head of the comparison, which stand there only.
        picture: a figure for the head of the comparison.
        link: a link after the sentences.
        folded: whether the section is folded under its title. On a page of several models, all sections about single ones are.
    """

    title: str
    findings: list[str] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    picture: Chart | None = None
    link: Link | None = None
    folded: bool = False

    @property
    def has_details(self) -> bool:
        """Whether anything is left to show below the head of the comparison."""
        return bool(self.findings or self.charts or self.tables)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Experiments that are compared with each other on one kind of data.

    Attributes:
        context: name, key and data label.
        title: the heading.
        question: what the comparison answers.
        models: the models of these experiments.
        sections: the results.
        omissions: sentences that say what could not be compared, and why.
    """

    context: ReportContext
    title: str
    question: str
    models: Sequence[ReportedModel]
    sections: Sequence[Section]
    omissions: Sequence[str]

    @property
    def answers(self) -> list[str]:
        """The main results in a few sentences; the page explains their words (`TERMS`) below the first ones."""
        return [answer for section in self.sections for answer in section.answers]

    @property
    def picture(self) -> Chart | None:
        """The figure that shows the main result."""
        return next((section.picture for section in self.sections if section.picture), None)

    @property
    def details(self) -> list[Section]:
        """The sections below the head."""
        return [section for section in self.sections if section.has_details]


@dataclass(frozen=True, eq=False)
class ModelSection:
    """The sections about one model alone."""

    model: ReportedModel
    sections: Sequence[Section]

    @property
    def context(self) -> ReportContext:
        """Title, key and data label of the model."""
        return self.model.context


def text_table(name: str, title: str, frame: pd.DataFrame, note: str = "") -> Table:
    """A table of text, printed as it is except that long decimals are shortened to four significant digits.

    Args:
        name: the name of the CSV file, without suffix.
        title: the text above the table.
        frame: texts only; its column names are the headings.
        note: what a reader must know about the columns.

    Returns:
        The table; columns in which every text is a number are aligned as numbers.
    """
    numbers = frame.apply(lambda column: pd.to_numeric(column[column != ""], errors="coerce").notna().all())
    columns = (Column(heading, heading, short_decimal, bool(numbers[heading])) for heading in frame.columns)
    return Table(name, title, frame, tuple(columns), note)
