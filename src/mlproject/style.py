"""How all figures look: the same whatever the user's matplotlibrc says, with fonts for the characters of all names. Pure."""

import contextlib
import functools
import logging
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Sequence, Set
from typing import Any, ParamSpec

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findSystemFonts, fontManager, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from numpy.typing import NDArray

INK, GREY = "#222222", "#8C8C8C"
# Colours that colour-blind readers can tell apart: Okabe and Ito, "Color Universal Design" (2008).
BLUE, ORANGE, VERMILION = "#0072B2", "#E69F00", "#D55E00"
TIP = "tip "  # begins the ids of marks that have a text for the pointer
FONT = "DejaVu Sans"  # comes with matplotlib
STYLE: dict[Any, Any] = {
    "figure.dpi": 120,
    "font.family": [FONT],
    "text.parse_math": False,  # a class called "$x$" is written as it is, not as a formula
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "mlproject",  # the same figure gives the same file
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "text.color": INK,
    "legend.frameon": False,
}
# Packages with fonts for Debian and Ubuntu, for Fedora, and for macOS (Homebrew).
_CJK = ("fonts-noto-cjk", "google-noto-sans-cjk-fonts", "font-noto-sans-cjk")
_SYMBOLS = ("fonts-symbola", "gdouros-symbola-fonts", "font-noto-emoji")
_EAST_ASIAN = ("CJK", "HANGUL", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA")  # first words of characters' Unicode names
_warned_packages: set[tuple[str, str, str]] = set()  # the packages that were named in this process

logger = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")


class StyledFigure(Figure):
    """A figure that is also saved in our style, whatever the user's matplotlibrc says about saved files."""

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """Save the figure, as `matplotlib.figure.Figure.savefig` does."""
        with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # `styled` has warned, once for all figures
            super().savefig(*arguments, **options)


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Make a function draw in our style, with fonts for all characters that it writes.

    The figure is drawn again if it has characters that matplotlib's own font lacks, such as Chinese ones, and an installed
    font has them. Otherwise a warning names a package that brings such a font.

    Args:
        draw: a pure function that makes a figure.

    Returns:
        The function.
    """

    @functools.wraps(draw)
    def wrapper(*arguments: Arguments.args, **options: Arguments.kwargs) -> Figure:
        with matplotlib.style.context(["default", STYLE]):
            figure = draw(*arguments, **options)
        fonts = _fonts_for(frozenset().union(*(text.get_text() for text in figure.findobj(Text))))
        if not fonts:
            return figure
        with matplotlib.style.context(["default", STYLE | {"font.family": [FONT, *fonts]}]):
            return draw(*arguments, **options)

    return wrapper


def new_figure(size: tuple[float, float], kind: str, title: str) -> Figure:
    """Make an empty figure with the heading "title: kind".

    Args:
        size: width and height in inches.
        kind: the kind of the figure.
        title: the name of the model or data set, or "" for a heading without it.
    """
    figure = StyledFigure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    heading = f"{title}: {kind}" if title else kind[0].upper() + kind[1:]
    figure.suptitle(textwrap.fill(heading, int(8.5 * size[0])), fontsize=13, fontweight="bold")
    return figure


def show_image(axes: Axes, image: NDArray[np.uint8]) -> None:
    """Draw an image with sharp pixels.

    Args:
        axes: where.
        image: uint8 (height, width, channels); 3 channels are colours, and a fourth one the opacity. Of any other number the
            first one is shown in grey.
    """
    visible = image if image.shape[-1] in (3, 4) else image[..., 0]
    axes.imshow(visible, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def set_tip(mark: Artist, text: str) -> None:
    """Give a mark of a figure a text that the report's page shows while the pointer is on the mark."""
    mark.set_gid(TIP + text)


def _fonts_for(characters: frozenset[str]) -> tuple[str, ...]:
    """The families of fonts for those characters that FONT lacks, the one that has the most of them first."""
    visible = {character for character in characters if unicodedata.category(character)[0] not in "CZ"}
    missing = visible - _characters_in(visible, _installed_fonts()[FONT])
    return _find_fonts(frozenset(missing)) if missing else ()


@functools.cache
def _find_fonts(missing: frozenset[str]) -> tuple[str, ...]:
    chosen: list[str] = []
    uncovered = set(missing)
    _add_new_fonts()
    coverage = {family: _characters_in(missing, path) for family, path in _installed_fonts().items()}
    while uncovered:
        # With equal merits, a font without serifs fits FONT.
        family = max(coverage, key=lambda name: (len(coverage[name] & uncovered), "Sans" in name))
        if not coverage[family] & uncovered:
            break
        chosen.append(family)
        uncovered -= coverage[family]
    _warn_of_missing(sorted(uncovered))
    return tuple(chosen)


def _installed_fonts() -> dict[str, str]:
    """The file of the regular font of each family that matplotlib knows, without the one that draws boxes."""
    entries = sorted(fontManager.ttflist, key=lambda entry: (entry.style != "normal", entry.weight != 400))
    return {entry.name: entry.fname for entry in reversed(entries) if "Last" not in entry.name}


def _add_new_fonts() -> None:
    """Tell matplotlib of the fonts that were installed since it listed them, which it does once and for all."""
    known_paths = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in known_paths:
            with contextlib.suppress(Exception):  # whatever is wrong with a file, the other fonts can be used
                fontManager.addfont(path)


def _characters_in(characters: Set[str], path: str) -> set[str]:
    """Those of the characters that a font has."""
    try:
        font = get_font(path)
        return {character for character in characters if font.get_char_index(ord(character))}
    except (OSError, RuntimeError):  # removed since, or broken
        return set()


def _font_packages(character: str) -> tuple[str, str, str]:
    if unicodedata.category(character)[0] == "S":
        return _SYMBOLS
    script = unicodedata.name(character, "SYMBOLS").partition(" ")[0]
    if script in _EAST_ASIAN:
        return _CJK
    return "fonts-noto-core", f"google-noto-sans-{script.lower()}-fonts", f"font-noto-sans-{script.lower()}"


def _warn_of_missing(characters: Sequence[str]) -> None:
    """Say which characters no font has, once for each kind of them."""
    missing_by_packages: dict[tuple[str, str, str], str] = {}
    for character in characters:
        missing_by_packages[_font_packages(character)] = (
            missing_by_packages.get(_font_packages(character), "") + character
        )
    for packages, missing in missing_by_packages.items():
        if packages not in _warned_packages:
            _warned_packages.add(packages)
            logger.warning(
                "no installed font has %s, so figures show boxes in their place; packages with a font that has them: "
                "%s (Debian, Ubuntu), %s (Fedora), %s (Homebrew)",
                missing if len(missing) <= 10 else f"{missing[:10]}...",
                *packages,
            )
