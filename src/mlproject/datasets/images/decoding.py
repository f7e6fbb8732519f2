"""Decodes one image of a user's own, whatever its format, into pixels of one shape.

Only Pillow's readers of `FORMATS` are run on a file. Whatever a file contains, its content is decoded or refused with an
`UnreadableError`: no other exception leaves this module, and no warning. Only libtiff, which Pillow runs on compressed TIFF
files, writes a line to the standard error stream when one is damaged.
"""

import contextlib
import io
import logging
import math
import threading
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

# Relative, because registered models take this module along and import it without the package (`tracking/pyfunc.py`).
from ...errors import truncate
from .preparation import Preparation

# One image as it is stored: the bytes of a file, or pixels, uint8 (height, width) or (height, width, channels).
Content = bytes | NDArray[np.uint8]

# The imports register these readers. Otherwise Pillow would import all of its readers when it meets an unknown name.
FORMATS = tuple(
    str(reader.format)
    for reader in (JpegImageFile, PngImageFile, WebPImageFile, GifImageFile, BmpImageFile, TiffImageFile)
)
# A large image is first reduced by a whole factor, to at least this multiple of its final size; a JPEG file is decoded at the
# reduced size. Two photographs of 4000 x 2668 pixels took a third of the time. The mean difference to the exact result was 0.4.
REDUCING_GAP = 2.0
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")
GREY_16_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
# The EXIF orientation, and what turns the stored image upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION_TAG = 0x0112
ON_ITS_SIDE = (5, 6, 7, 8)  # the orientations with width and height exchanged


class UnreadableError(ValueError):
    """The content is no image that can be decoded. The message is a short reason, such as "it is empty"."""


class Header(NamedTuple):
    """What an image says of itself.

    Attributes:
        format: one of `FORMATS`, or "array".
        mode: Pillow's name of the kind of pixels, such as "RGB" or "L".
        width: pixels, after the EXIF orientation was applied.
        height: pixels, likewise.
    """

    format: str
    mode: str
    width: int
    height: int


def header(content: Content) -> Header:
    """Read the header of an image, and decode its pixels only if it is a PNG file whose EXIF data follow them.

    Args:
        content: the bytes of a file; or pixels, uint8 (height, width), or (height, width, 1, 3 or 4), where 4 is RGBA.

    Returns:
        The header. That it can be read doesn't mean that the pixels can.

    Raises:
        UnreadableError: the content is no image that is accepted.
    """
    with _open_image(content) as image:
        if image.format == "PNG" and isinstance(content, bytes) and "exif" not in image.info and b"eXIf" in content:
            image.load()
        width, height = image.size
        if _orientation(image) in ON_ITS_SIDE:
            width, height = height, width
        format_name = "array" if image.format is None else "JPEG" if image.format == "MPO" else image.format
        return Header(format_name, image.mode, width, height)


def decode(content: Content, preparation: Preparation) -> NDArray[np.uint8]:
    """Decode an image and bring it into one shape.

    The first frame of an animation counts. The EXIF orientation is applied. ICC profiles are ignored, because few programs
    that prepare images for networks apply them. Grey of 16 bits is divided by 257. Grey of floating-point numbers is accepted if
    all of them are from 0 to 1, and multiplied by 255. An image that has the final size already keeps its pixels.

    Args:
        content: as for `header`.
        preparation: the shape, and how the image is brought into it.

    Returns:
        The pixels, uint8 (size, size, channels).

    Raises:
        UnreadableError: the content is no image that is accepted, or it is damaged.
    """
    with _open_image(content) as image:
        reduced_size = _reduce_early(image, preparation)
        image.load()
        width, height = reduced_size or image.size
        final_size, box = target_size(width, height, preparation), _crop_box(width, height, preparation)
        flat = _flatten(image, preparation).resize(final_size, Image.Resampling.BICUBIC, box, REDUCING_GAP)
        transposition = UPRIGHT.get(_orientation(image))  # the small image is turned rather than the large one
        flat = flat if transposition is None else flat.transpose(transposition)
        return _pad(flat.convert("L" if preparation.channels == 1 else "RGB"), preparation)


class _Silence:
    """A context in which Pillow neither warns nor logs, for several threads at once.

    `warnings.catch_warnings` alone would leave wrong filters when threads enter and leave it in another order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active_count = 0
        self._filters = warnings.catch_warnings()
        self._logger = logging.getLogger("PIL.TiffImagePlugin")  # the only reader that logs more than debug messages

    def __enter__(self) -> None:
        with self._lock:
            if not self._active_count:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
                self._logger.disabled = True
            self._active_count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._active_count -= 1
            if not self._active_count:
                self._filters.__exit__(None, None, None)
                self._logger.disabled = False


_silence = _Silence()


@contextlib.contextmanager
def _open_image(content: Content) -> Iterator[Image.Image]:
    """The image, of which only the header was read. All that goes wrong in the block becomes an UnreadableError."""
    try:
        with _silence:
            yield _open_file(content) if isinstance(content, bytes) else _from_array(content)
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        accepted = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise UnreadableError(f"it is no {accepted} image, or its header is damaged") from None
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"it has too many pixels ({truncate(error)})") from error
    except Exception as error:  # Pillow raises exceptions of many types for damaged files
        raise UnreadableError(f"it is damaged ({truncate(error) or type(error).__name__})") from error


def _open_file(content: bytes) -> Image.Image:
    """Read the header of a file, and refuse sizes that can't be decoded."""
    if not content:
        raise UnreadableError("it is empty")
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    width, height = image.size
    if min(width, height) < 1:
        raise UnreadableError(f"it has {width} x {height} pixels")
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise UnreadableError(f"it has {width} x {height} pixels; accepted: at most {limit:,} in all, Pillow's limit")
    return image


def _from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    """Turn pixels into an image of mode L, RGB or RGBA."""
    if not isinstance(pixels, np.ndarray):
        raise UnreadableError(f"it is neither bytes nor an array but {type(pixels).__name__}")
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or not pixels.size:
        raise UnreadableError(
            f"it is {pixels.dtype} {pixels.shape}; accepted: uint8 (height, width), with 1, 3 or 4 channels at the end or none"
        )
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and channels == 1 else pixels)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8: 1 if there is none, or if Pillow applies it (TIFF)."""
    if image.format == "TIFF":
        return 1
    try:
        # Pillow's method for PNG decodes the pixels first, in case the EXIF data follow them.
        orientation = Image.Image.getexif(image).get(ORIENTATION_TAG)
    except Exception:  # damaged EXIF data don't make the pixels unreadable
        return 1
    return orientation if orientation in UPRIGHT else 1


def _reduce_early(image: Image.Image, preparation: Preparation) -> tuple[float, float] | None:
    """Let a large JPEG file be decoded at a half, a quarter or an eighth of its size.

    Returns:
        The width and height in pixels of the reduced image, whose last row and column may count in part; None for others.
    """
    if not isinstance(image, JpegImageFile):
        return None
    width, height = target_size(*image.size, preparation)
    draft = image.draft(None, (math.ceil(width * REDUCING_GAP), math.ceil(height * REDUCING_GAP)))
    return draft[1][2:] if draft else None


def target_size(width: float, height: float, preparation: Preparation) -> tuple[int, int]:
    """The final width and height of what is kept of an image, before it is padded."""
    if preparation.fit == "crop":
        return preparation.size, preparation.size
    scale = preparation.size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _crop_box(width: float, height: float, preparation: Preparation) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the part of an image that is kept."""
    if preparation.fit == "pad":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    if side == preparation.size:  # half a pixel of an offset would blur an image that needs no scaling
        left, top = left // 1, top // 1
    return left, top, left + side, top + side


def _flatten(image: Image.Image, preparation: Preparation) -> Image.Image:
    """Bring pixels into mode L or RGB, without transparency."""
    if image.mode in GREY_16_BIT or image.mode == "F":
        return _to_8_bit_grey(image)
    if image.mode not in MODES:
        raise UnreadableError(f"its pixels are of the kind {image.mode}; accepted: {', '.join(MODES)}")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*preparation.background, 255)), image)
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return image.convert("L") if preparation.channels == 1 or image.mode == "1" else image


def _to_8_bit_grey(image: Image.Image) -> Image.Image:
    """Scale grey of 16 bits, or of floating-point numbers from 0 to 1, to 8 bits."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):
            raise UnreadableError(
                f"its grey values are {low:g} to {high:g}; accepted for floating-point numbers: 0 to 1"
            )
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if low < 0 or high > 65535:
        raise UnreadableError(f"its grey values are {low} to {high}; accepted: 0 to 65535")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _pad(image: Image.Image, preparation: Preparation) -> NDArray[np.uint8]:
    """Lay an image that is at most `size` x `size` onto the middle of the background."""
    size = preparation.size
    canvas = Image.new("RGB", (size, size), preparation.background).convert(image.mode)
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(canvas).reshape(preparation.shape)
