"""How the report writes numbers and lists of words."""

from collections.abc import Sequence

import pandas as pd

MISSING = "–"


def percent(share: float) -> str:
    """0.93125 -> "93.13%"; a missing value -> "–"."""
    return MISSING if pd.isna(share) else f"{100 * share:.2f}%"


def brief_percent(share: float) -> str:
    """0.93125 -> "93.1%"."""
    return f"{100 * share:.1f}%"


def interval(low: float, high: float) -> str:
    """(0.926, 0.936) -> "92.60 to 93.60%"."""
    return MISSING if pd.isna(low) else f"{100 * low:.2f} to {100 * high:.2f}%"


def points(difference: float) -> str:
    """0.012 -> "+1.20": a difference of two shares in percentage points, always with a sign."""
    return MISSING if pd.isna(difference) else f"{100 * difference:+.2f}".replace("-", "−")


def points_interval(low: float, high: float, digits: int = 2) -> str:
    """(-0.001, 0.0052) -> "−0.10 to 0.52": an interval of a difference in percentage points."""
    return MISSING if pd.isna(low) else f"{100 * low:.{digits}f} to {100 * high:.{digits}f}".replace("-", "−")


def unsigned_points(difference: float) -> str:
    """0.012 -> "1.20": the size of a difference in percentage points."""
    return decimals(100 * difference, 2)


def brief_points(difference: float) -> str:
    """0.0123 -> "1.2", 0.0003 -> "0.03": the size of a difference, with one decimal unless that is zero."""
    return decimals(100 * difference, 1 if difference >= 0.0005 else 2)


def brief_interval(low: float, high: float) -> str:
    """(-0.0012, 0.0052) -> "−0.1 to 0.5": as `points_interval`, with one decimal unless that makes an end zero."""
    return points_interval(low, high, 1 if min(abs(low), abs(high)) >= 0.0005 else 2)


def signed(difference: float) -> str:
    """-0.241 -> "−0.24", -0.001 -> "0.00": a difference of two scores, with a sign unless it rounds to zero."""
    return f"{difference:+.2f}".replace("-", "−") if round(difference, 2) else "0.00"


def signed_interval(low: float, high: float) -> str:
    """(-0.31, 0.02) -> "−0.31 to +0.02"."""
    return f"{signed(low)} to {signed(high)}"


def p_value(p: float) -> str:
    """0.00003 -> "< 0.0001"; 0.03121 -> "0.031"."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def p_equals(p: float) -> str:
    """A p-value as it follows its name in a sentence: "< 0.0001", "= 0.031"."""
    return p_value(p) if p < 0.0001 else f"= {p_value(p)}"


def count(number: float) -> str:
    """3800000 -> "3,800,000"."""
    return MISSING if pd.isna(number) else f"{number:,.0f}"


def approximate_count(number: float) -> str:
    """95931 -> "96,000": a number of which only two digits count."""
    return f"{float(f'{number:.1e}'):,.0f}"


def decimals(number: float, digits: int = 3) -> str:
    """0.23456 -> "0.235"."""
    return MISSING if pd.isna(number) else f"{number:.{digits}f}"


def two_decimals(number: float) -> str:
    """0.23456 -> "0.23"."""
    return decimals(number, 2)


def minutes(seconds: float) -> str:
    """90.0 -> "1.5": seconds written as minutes."""
    return decimals(seconds / 60, 1)


def megabytes(size: float) -> str:
    """2500000 -> "2.5": bytes written as megabytes."""
    return decimals(size / 1e6, 1)


def or_dash(text: str) -> str:
    """The text itself; "" -> "–"."""
    return text or MISSING


def short_decimal(text: str) -> str:
    """A number in text form with four significant digits at most if it has decimals; any other text unchanged."""
    try:
        return f"{float(text):.4g}" if "." in text else text
    except ValueError:
        return text


def join_words(words: Sequence[str], limit: int = 6) -> str:
    """Words as a list in a sentence.

    Args:
        words: at least one word.
        limit: the largest number of entries; if there are more words, the last entry counts the rest.

    Returns:
        ["a", "b", "c"] -> "a, b and c"; with a limit of 2 "a and 2 more".
    """
    if len(words) > limit:
        words = [*words[: limit - 1], f"{len(words) - limit + 1} more"]
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
