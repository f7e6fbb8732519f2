"""What a report is made of, before any markup: sentences, tables, charts; and how numbers are written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mlproject.report.members import Member


@dataclass(frozen=True)
class Column:
    """One column of a printed table: its heading, the text of a row's cell, whether it is a number, and the name of the
    frame's column, if any, with an http(s) address that the text is linked to."""

    heading: str
    text: Callable[[Any], str]
    number: bool = True
    link: str = ""

    def address(self, row: Any) -> str:
        """Where the cell's text links to, "" for nowhere: other kinds of addresses could run as script."""
        address = row[self.link] if self.link else ""
        return address if address.startswith(("http://", "https://")) else ""


@dataclass(frozen=True)
class Cell:
    """A printed cell: its text, its column, and the address it links to ("" for none)."""

    text: str
    column: Column
    address: str


@dataclass(frozen=True, eq=False)
class Table:
    """A table: `frame` goes to the CSV file `name` (unrounded), `columns` say what of it is printed and how."""

    name: str
    title: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    note: str = ""

    @cached_property
    def rows(self) -> list[list[Cell]]:
        """The printed cells."""
        return [[Cell(c.text(row), c, c.address(row)) for c in self.columns] for _, row in self.frame.iterrows()]


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure, drawn or as the PNG file that a run holds, with the file name it gets, its alternative text and its caption."""

    name: str
    figure: Figure | Path
    alt: str
    caption: str


@dataclass(frozen=True, eq=False)
class Section:
    """A heading with findings in words, then charts, then tables; `conclusions` are those also told at the very top."""

    title: str
    findings: list[str] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    conclusions: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Experiments that are answered together, on one kind of data; `gaps` say what could not be compared, and why."""

    title: str
    key: str
    mark: str
    members: list[Member]
    sections: list[Section]
    gaps: list[str]

    @property
    def conclusions(self) -> list[str]:
        """What the comparison comes to, in a few sentences."""
        return [conclusion for section in self.sections for conclusion in section.conclusions]


def text_table(name: str, title: str, frame: pd.DataFrame) -> Table:
    """A table of text printed as it stands, but for long decimals: they are shortened to four significant digits."""
    numbers = frame.apply(lambda column: pd.to_numeric(column[column != ""], errors="coerce").notna().all())
    columns = tuple(Column(str(c), lambda row, c=c: _short(row[c]), bool(numbers[c])) for c in frame.columns)
    return Table(name, title, frame, columns)


def _short(cell: str) -> str:
    try:
        return f"{float(cell):.4g}" if "." in cell else cell
    except ValueError:
        return cell


def percent(share: float) -> str:
    """0.93125 -> "93.13%"; a missing value -> "–"."""
    return "–" if pd.isna(share) else f"{100 * share:.2f}%"


def interval(low: float, high: float) -> str:
    """(0.926, 0.936) -> "92.60 to 93.60%"."""
    return "–" if pd.isna(low) else f"{100 * low:.2f} to {100 * high:.2f}%"


def listed(words: Sequence[str], limit: int = 6) -> str:
    """["a", "b", "c"] -> "a, b and c"; of more than `limit` the rest is counted."""
    words = list(words)
    if len(words) > limit:
        words = [*words[: limit - 1], f"{len(words) - limit + 1} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def points(difference: float) -> str:
    """0.012 -> "+1.20": a difference of two shares in percentage points, always signed."""
    return "–" if pd.isna(difference) else f"{100 * difference:+.2f}".replace("-", "−")


def signed(difference: float) -> str:
    """-0.241 -> "−0.24", -0.001 -> "0.00": a difference of two scores, signed unless it rounds to nothing."""
    return f"{difference:+.2f}".replace("-", "−") if round(difference, 2) else "0.00"


def signed_interval(low: float, high: float) -> str:
    """(-0.31, 0.02) -> "−0.31 to +0.02"."""
    return f"{signed(low)} to {signed(high)}"


def p_value(p: float) -> str:
    """0.00003 -> "< 0.0001"; 0.03121 -> "0.031"."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def equals(p: float) -> str:
    """A p-value after a name, in a sentence: "< 0.0001", "= 0.031"."""
    return p_value(p) if p < 0.0001 else f"= {p_value(p)}"


def count(number: float) -> str:
    """3800000 -> "3,800,000"."""
    return "–" if pd.isna(number) else f"{number:,.0f}"


def decimals(number: float, digits: int = 3) -> str:
    """0.23456 -> "0.235"."""
    return "–" if pd.isna(number) else f"{number:.{digits}f}"
