"""How images of any size and mode become pixels of one shape, for `decoding` and for those who use a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Relative, because registered models take this module along and import it without the package (`tracking/pyfunc.py`).
from ...errors import UserError, truncate

DECODER_VERSION = 1  # to be raised with each change that leads to other pixels
FITS = ("crop", "pad")
LARGEST_SIZE = 4096


@dataclass(frozen=True)
class Preparation:
    """How images become pixels of one shape.

    Attributes:
        size: pixels a side, 1 to 4096.
        channels: 3 for colour or 1 for grey.
        fit: "crop": the shorter side becomes `size`, then the centre is cut out. "pad": the longer side becomes `size`, and the
            rest is filled with `background`. Neither changes the aspect.
        background: red, green and blue, 0 to 255, of the padding and behind transparent pixels.
        light_on_dark: whether the images show light things on a dark background. Other images, such as photographs on a light
            wall, can be inverted for a model (`classifier`); decoding inverts nothing.

    Raises:
        UserError: a value is not accepted.
    """

    size: int
    channels: int
    fit: str = "crop"
    background: tuple[int, int, int] = (255, 255, 255)
    light_on_dark: bool = False

    def __post_init__(self) -> None:
        if not _is_whole(self.size, 1, LARGEST_SIZE):
            raise UserError(f"size={truncate(self.size)}; accepted: a whole number of pixels from 1 to {LARGEST_SIZE}")
        if not _is_whole(self.channels, 1, 3) or self.channels == 2:
            raise UserError(f"channels={truncate(self.channels)}; accepted: 1 (grey) or 3 (colour)")
        if self.fit not in FITS:
            raise UserError(f"fit={truncate(self.fit)}; accepted: {', '.join(FITS)}")
        values = self.background if isinstance(self.background, tuple) else ()
        if len(values) != 3 or not all(_is_whole(value, 0, 255) for value in values):
            raise UserError(
                f"background={truncate(self.background)}; accepted: three whole numbers from 0 to 255, red, green and blue"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that come of it."""
        return self.size, self.size, self.channels

    def describe(self) -> dict[str, object]:
        """Everything that others need to prepare images in the same way, in types that JSON has."""
        # Images that were decoded earlier are found by what is said here, so nothing is said of what holds for few sets.
        polarity = {"light_on_dark": True} if self.light_on_dark else {}
        return polarity | {
            "size": self.size,
            "channels": self.channels,
            "fit": self.fit,
            "background": list(self.background),
            "steps": self._steps(),
            "decoder_version": DECODER_VERSION,
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "Preparation":
        """What `describe` described, for instance in the metadata of a registered model or beside an exported one."""
        values = {name: description[name] for name in ("size", "channels", "fit")}
        light_on_dark = bool(description.get("light_on_dark", False))
        return cls(**values, background=tuple(description["background"]), light_on_dark=light_on_dark)

    def __str__(self) -> str:
        shape = f"{self.size} x {self.size} pixels in {'colour' if self.channels == 3 else 'grey'}"
        return f"The images have {shape}: " + "; ".join(self._steps()) + "."

    def _steps(self) -> list[str]:
        """What is done to an image, in its order."""
        if self.fit == "crop":
            fit = f"the shorter side becomes {self.size} pixels and the centre is cut out"
        else:
            fit = f"the longer side becomes {self.size} pixels and the rest is filled with RGB {self.background}"
        inversion = ["images on a light background are inverted"] if self.light_on_dark else []
        return [
            "the EXIF orientation is applied and the ICC profile ignored",
            "16 bit grey is divided by 257",
            f"transparent pixels are laid over RGB {self.background}",
            "colour becomes (299 R + 587 G + 114 B) / 1000" if self.channels == 1 else "grey becomes R = G = B",
            f"{fit} (bicubic, antialiased)",
            *inversion,
        ]


def _is_whole(value: object, low: int, high: int) -> bool:
    """Whether a value is a whole number in this range."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
