"""Figures as SVG inside the page: in the page's colours, light or dark, with the values of marks shown under the pointer."""

import re
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from mlproject.style import TIP

MOST_PIXELS = 1.5  # pixels that a point may have; text has ten points
# Colours of `mlproject.style`, and of the boxes of `networks`, that the page's style sheet replaces in dark mode. Black is
# matplotlib's for axes.
COLOURS = {
    "#222222": "ink",
    "#000000": "ink",
    "#555555": "soft",
    "#8c8c8c": "soft",
    "#c8c8c8": "line",
    "#e3e3e3": "line",
    "#ffffff": "paper",
    "#0072b2": "blue",
    "#eef1f3": "box",
    "#fbe3b0": "sand",
    "#bfddf0": "sky",
    "#d9c7e3": "lilac",
}


def write(figure: Figure, file: Path) -> None:
    """Write a drawing as a file whose texts are texts, which the reader's program draws."""
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})


def inline(text: str, name: str, alt: str) -> Markup:
    """Make an element of a page out of an SVG file.

    Args:
        text: the file's text, as `write` wrote it; matplotlib has escaped all names in it.
        name: tells the ids of this element from those of others on the page (a-z, 0-9, hyphens and full stops).
        alt: the text for readers who cannot see it.

    Returns:
        The element, in the colours of the page.
    """
    (box,) = re.findall(r'<svg[^>]*viewBox="([^"]+)"', text)
    body = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text[text.index("<g ") :], flags=re.DOTALL
    )
    body = re.sub(rf'<g id="{TIP}([^"]*)">', r"<g><title>\1</title>", body)
    body = re.sub("<[^>]+>", lambda tag: _adapt_tag(tag.group(), name), body)
    width = float(box.split()[2]) * MOST_PIXELS / 16
    return Markup(
        f'<svg viewBox="{box}" style="--width: {width:.1f}rem" role="img" aria-label="{escape(alt)}">\n{body.strip()}'
    )


def _adapt_tag(tag: str, name: str) -> str:
    """A tag with ids of its own and the page's colours. What stands between tags is for readers and stays as it is."""
    tag = re.sub(r'<(g|text|use) id="[^"]*"', r"<\1", tag)
    tag = re.sub(r'(?<=id=")|(?<=url\(#)|(?<=xlink:href="#)', f"{name}-", tag)
    tag = re.sub(r"(?<=: )#[0-9a-f]{6}", lambda colour: _colour_variable(colour.group()), tag)
    return re.sub(r"(?<=\d\.\d\d)\d+", "", tag)  # hundredths of a point are enough


def _colour_variable(colour: str) -> str:
    return f"var(--{COLOURS[colour]})" if colour in COLOURS else colour
