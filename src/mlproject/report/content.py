"""What a report is made of, before any markup: sentences, tables, charts; and how numbers are written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mlproject.report.members import Member


@dataclass(frozen=True)
class Column:
    """One column of a printed table: its heading, the text of a row's cell, and whether it is a number."""

    heading: str
    text: Callable[[Any], str]
    number: bool = True


@dataclass(frozen=True, eq=False)
class Table:
    """A table: `frame` goes to the CSV file `name` (unrounded), `columns` say what of it is printed and how."""

    name: str
    title: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    note: str = ""

    @property
    def rows(self) -> list[list[str]]:
        """The printed cells."""
        return [[column.text(row) for column in self.columns] for _, row in self.frame.iterrows()]


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure with the file name it gets, its alternative text and its caption."""

    name: str
    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True, eq=False)
class Section:
    """A heading with findings in words, then charts, then tables."""

    title: str
    findings: list[str] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Experiments that are answered together, on one kind of data; `gaps` say what could not be compared, and why."""

    title: str
    key: str
    mark: str
    members: list[Member]
    sections: list[Section]
    gaps: list[str]


def text_table(name: str, title: str, frame: pd.DataFrame) -> Table:
    """A table of text printed as it stands, but for long decimals: they are shortened to four significant digits."""
    numbers = frame.apply(lambda column: pd.to_numeric(column, errors="coerce").notna().all())
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


def points(difference: float) -> str:
    """0.012 -> "+1.20": a difference of two shares in percentage points, always signed."""
    return "–" if pd.isna(difference) else f"{100 * difference:+.2f}".replace("-", "−")


def signed(difference: float) -> str:
    """-0.241 -> "−0.24": a difference of two F1 values, always signed."""
    return f"{difference:+.2f}".replace("-", "−")


def p_value(p: float) -> str:
    """0.00003 -> "< 0.0001"; 0.03121 -> "0.031"."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def count(number: float) -> str:
    """3800000 -> "3,800,000"."""
    return "–" if pd.isna(number) else f"{number:,.0f}"


def decimals(number: float, digits: int = 3) -> str:
    """0.23456 -> "0.235"."""
    return "–" if pd.isna(number) else f"{number:.{digits}f}"
