"""One image of a user's own: any accepted file becomes the right pixels, and every other content is refused with a reason."""

import io
import json
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from mlproject.datasets.images.decoding import UnreadableError, decode, header
from mlproject.datasets.images.preparation import Preparation
from mlproject.errors import UserError

ORIENTATION = 0x0112
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
WIDE = np.asarray(Image.fromarray(COLOUR).resize((40, 24), Image.Resampling.BICUBIC))
SAVED = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "WEBP": {"lossless": True},
    "GIF": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
}


def saved(image, kind="PNG", **options):
    """The bytes of an image file."""
    stream = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(stream, kind, **options)
    return stream.getvalue()


FILES = {kind: saved(WIDE, kind, **options) for kind, options in SAVED.items()}
FILES["TIFF, plain"] = saved(WIDE, "TIFF")
FILES["JPEG, EXIF"] = saved(
    WIDE, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
)
FILES["PNG, alpha"] = saved(Image.fromarray(WIDE).convert("RGBA"))
FILES["GIF, animated"] = saved(
    Image.fromarray(WIDE), "GIF", save_all=True, append_images=[Image.new("RGB", (40, 24))], transparency=0
)
FILES["WEBP, animated"] = saved(
    Image.fromarray(WIDE), "WEBP", save_all=True, append_images=[Image.new("RGB", (40, 24))]
)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_an_image_of_the_right_size_keeps_its_pixels(kind):
    content = saved(COLOUR, kind, **SAVED[kind])
    assert header(content) == (kind, "RGB", 8, 8)
    for fit in ("crop", "pad"):
        np.testing.assert_array_equal(decode(content, Preparation(8, 3, fit)), COLOUR)


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_lossy_formats_give_what_pillow_gives(kind):
    content = saved(COLOUR, kind, **SAVED[kind])
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(decode(content, Preparation(8, 3)), expected)
    grey = np.asarray(Image.fromarray(expected).convert("L"))
    np.testing.assert_array_equal(decode(content, Preparation(8, 1))[..., 0], grey)


def test_the_first_frame_of_an_animation_counts():
    for kind in ("GIF, animated", "WEBP, animated"):
        assert np.abs(decode(FILES[kind], Preparation(24, 3)) - WIDE[:, 8:32].astype(int)).mean() < 20


@pytest.mark.parametrize(
    "pixels",
    [COLOUR, COLOUR[..., 0], COLOUR[..., :1], np.dstack([COLOUR, np.full((8, 8), 255, np.uint8)]), COLOUR[::-1, ::-1]],
    ids=["colour", "grey", "grey with an axis", "RGBA", "not contiguous"],
)
def test_arrays_keep_their_pixels(pixels):
    expected = pixels if pixels.ndim == 3 else pixels[..., None]
    found = decode(pixels, Preparation(8, 3))
    assert found.shape == (8, 8, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.broadcast_to(expected[..., :3], (8, 8, 3)))
    assert header(pixels)[2:] == (8, 8)


def converted(mode):
    return Image.fromarray(COLOUR).convert(mode)


@pytest.mark.parametrize(
    "mode, kind", [("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")]
)
def test_every_kind_of_pixels_becomes_colours_or_grey(mode, kind):
    image = converted(mode)
    content = saved(image, kind, **({"quality": 100} if kind == "JPEG" else {}))
    assert header(content).mode == mode
    tolerance = 12 if kind == "JPEG" else 0
    np.testing.assert_allclose(decode(content, Preparation(8, 3)), np.asarray(image.convert("RGB")), atol=tolerance)
    grey = np.asarray(image.convert("RGB").convert("L"))[..., None]
    np.testing.assert_allclose(decode(content, Preparation(8, 1)), grey, atol=tolerance)


@pytest.mark.parametrize("mode, kind", [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF")])
def test_transparent_pixels_are_laid_over_the_background(mode, kind):
    image = converted("RGBA")
    image.putalpha(Image.fromarray(COLOUR[..., 0]))
    image = image.convert(mode)
    content = saved(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    background = (10, 200, 90)
    whole = np.asarray(image.convert("RGBA")).astype(float)
    alpha = whole[..., 3:] / 255
    expected = whole[..., :3] * alpha + np.array(background) * (1 - alpha)
    np.testing.assert_allclose(decode(content, Preparation(8, 3, background=background)), expected, atol=1)


def test_transparent_pixels_are_white_unless_a_background_is_given():
    assert decode(saved(Image.new("RGBA", (8, 8), (9, 9, 9, 0))), Preparation(8, 3)).min() >= 254


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_shows_the_background(mode):
    image = Image.new(mode, (2, 2), 0 if mode != "RGB" else (0, 0, 0))
    if mode == "P":
        image.putpalette([9, 9, 9, 50, 60, 70])
    image.putpixel((0, 0), 1 if mode != "RGB" else (1, 1, 1))
    content = saved(image, transparency=1 if mode != "RGB" else (1, 1, 1))
    found = decode(content, Preparation(2, 3, background=(7, 8, 9)))
    assert found[0, 0].tolist() == [7, 8, 9] and found[1, 1].tolist() == ([9] * 3 if mode == "P" else [0] * 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(kind):
    values = np.array([[0, 128, 129], [257, 32896, 65535], [65406, 65407, 300]], np.uint16)
    found = decode(saved(values, kind), Preparation(3, 1))[..., 0]
    assert found.tolist() == [[0, 0, 1], [1, 128, 255], [254, 255, 1]]


def test_grey_of_32_bits_is_accepted_where_its_meaning_is_clear():
    whole = np.array([[0, 257], [65535, 514]], np.int32)
    assert decode(saved(whole, "TIFF"), Preparation(2, 1))[..., 0].tolist() == [[0, 1], [255, 2]]
    fraction = np.array([[0, 1], [0.5, 0.2]], np.float32)
    assert decode(saved(fraction, "TIFF"), Preparation(2, 1))[..., 0].tolist() == [[0, 255], [128, 51]]
    for unclear in (whole + 1, -whole, fraction * 255, fraction * np.nan):
        with pytest.raises(UnreadableError, match="grey values"):
            decode(
                saved(unclear.astype(np.int32 if unclear.dtype == int else unclear.dtype), "TIFF"), Preparation(2, 1)
            )


def with_orientation(pixels, orientation, kind):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(pixels, kind, exif=exif, **SAVED[kind])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation, kind):
    stored = np.asarray(Image.open(io.BytesIO(saved(WIDE, kind, **SAVED[kind]))).convert("RGB"))
    sideways = stored.swapaxes(0, 1)
    turned = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: sideways, 6: sideways[:, ::-1], 7: sideways[::-1, ::-1], 8: sideways[::-1],
    }[orientation]  # fmt: skip
    content = with_orientation(WIDE, orientation, kind)
    assert header(content) == (kind, "RGB", *turned.shape[1::-1])
    for fit, size in (("crop", 24), ("pad", 40), ("crop", 12)):
        expected = decode(turned, Preparation(size, 3, fit)).astype(int)
        difference = np.abs(decode(content, Preparation(size, 3, fit)) - expected)
        assert difference.max() <= 1


def test_exif_data_that_follow_the_pixels_of_a_png_count():
    content = with_orientation(WIDE, 6, "PNG")
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4])
    moved = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    assert header(moved)[2:] == (24, 40)
    np.testing.assert_array_equal(decode(moved, Preparation(24, 3)), decode(content, Preparation(24, 3)))


def test_damaged_exif_data_and_colour_profiles_do_not_matter():
    plain = decode(FILES["JPEG"], Preparation(24, 3))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    # The second entry of the EXIF data is missing, of which Pillow warns.
    cut = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\1\1\0\3\0\0\0\1\0\6\0\0\0"
    damaged = [
        {"exif": b"Exif\0\0MM\0*\xff\xff\xff"},
        {"exif": cut},
        {"icc_profile": profile},
        {"icc_profile": b"none"},
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in damaged:
            content = saved(WIDE, "JPEG", **SAVED["JPEG"], **options)
            assert header(content)[2:] == (40, 24)
            np.testing.assert_array_equal(decode(content, Preparation(24, 3)), plain)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 40),
    st.sampled_from(["crop", "pad"]),
    st.sampled_from([1, 3]),
)
@example(1, 500, 32, "pad", 3)
@example(500, 1, 32, "crop", 1)
@example(1, 1, 40, "crop", 3)
def test_the_aspect_is_kept(width, height, size, fit, channels):
    """A red image with a background of blue shows how far the image reaches."""
    red = np.broadcast_to(np.array([255, 0, 0], np.uint8), (height, width, 3))
    found = decode(red, Preparation(size, channels, fit, background=(0, 0, 255)))
    assert found.shape == (size, size, channels)
    inside = found[..., 0] == (255 if channels == 3 else 76)
    covered = inside.any(axis=0).sum(), inside.any(axis=1).sum()
    longer = max(width, height)
    expected = [max(1, round(side * size / longer)) for side in (width, height)] if fit == "pad" else [size, size]
    assert list(covered) == expected
    assert inside.sum() == covered[0] * covered[1]


def test_the_centre_is_cut_out():
    np.testing.assert_array_equal(decode(WIDE, Preparation(24, 3)), WIDE[:, 8:32])
    np.testing.assert_array_equal(decode(WIDE[:, :31], Preparation(24, 3)), WIDE[:, 3:27])


def test_a_large_jpeg_is_reduced_nearly_as_if_it_were_decoded_in_full():
    large = np.asarray(Image.fromarray(COLOUR).resize((1001, 801), Image.Resampling.BICUBIC))
    content = saved(large, "JPEG", quality=95)
    whole = Image.open(io.BytesIO(content)).convert("RGB")
    for size in (32, 100):
        exact = np.asarray(whole.resize((size, size), Image.Resampling.BICUBIC, (100, 0, 901, 801))).astype(int)
        difference = np.abs(decode(content, Preparation(size, 3)) - exact)
        assert difference.mean() < 0.6 and difference.max() < 8


def test_reducing_averages_the_pixels():
    """Every second pixel is white: without antialiasing, the result would be black or white."""
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    assert np.abs(decode(board.astype(np.uint8), Preparation(50, 1)).astype(int) - 127).max() <= 3


def png_of_size(width, height):
    """A PNG file that claims a size, and has no pixels."""

    def chunk(name, data):
        return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)

    described = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", described) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"This is no image, whatever its name says.\n" * 9, "no JPEG"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "no JPEG"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "no JPEG"),
    "PSD": (b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\1\0\0\0\1\0\x08\0\3" + bytes(20), "no JPEG"),
    "PPM": (b"P6 1 1 255 abc", "no JPEG"),
    "truncated JPEG": (FILES["JPEG"][:-200], "truncated"),
    "truncated PNG": (FILES["PNG"][:-200], "damaged"),
    "truncated WebP": (FILES["WEBP"][:-200], "damaged"),
    "bomb": (png_of_size(10_000, 10_000), "10000 x 10000 pixels; accepted"),
    "larger bomb": (png_of_size(2**31 - 1, 2**31 - 1), "too many pixels"),
    "no pixels": (png_of_size(0, 5), "0 x 5 pixels|damaged"),
    "LAB": (saved(Image.new("LAB", (4, 4)), "TIFF"), "of the kind LAB"),
    "floats": (np.zeros((4, 4)), "float64"),
    "two channels": (np.zeros((4, 4, 2), np.uint8), "accepted"),
    "four axes": (np.zeros((1, 4, 4, 3), np.uint8), "accepted"),
    "no rows": (np.zeros((0, 4, 3), np.uint8), "accepted"),
    "nothing": (None, "NoneType"),
}


@pytest.mark.parametrize("content, reason", REFUSED.values(), ids=REFUSED)
def test_what_is_no_image_is_refused_with_a_reason(content, reason):
    with pytest.raises(UnreadableError, match=reason) as caught:
        decode(content, Preparation(16, 3))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 260


def test_a_header_is_read_without_the_pixels():
    assert header(FILES["PNG"][:-200]) == ("PNG", "RGB", 40, 24)
    with pytest.raises(UnreadableError):
        header(REFUSED["bomb"][0])


@st.composite
def damaged_files(draw):
    content = bytearray(FILES[draw(st.sampled_from(sorted(FILES)))])
    if draw(st.booleans()):
        del content[draw(st.integers(0, len(content))) :]
    for _ in range(draw(st.integers(0, 8)) if content else 0):
        # The headers are at the start.
        end = draw(st.sampled_from([min(64, len(content)), min(256, len(content)), len(content)]))
        content[draw(st.integers(0, end - 1))] ^= draw(st.integers(1, 255))
    return bytes(content)


STARTS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0\x08\0\0\0", b"RIFF\x20\0\0\0WEBPVP8 "]


@settings(max_examples=120, deadline=None)
@given(damaged_files() | st.builds(bytes.__add__, st.sampled_from(STARTS), st.binary(max_size=200)))
def test_any_content_is_decoded_or_refused_in_silence(content):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for read in (header, lambda content: decode(content, Preparation(16, 3))):
            try:
                found = read(content)
            except UnreadableError as error:
                assert str(error)
            else:
                assert len(found) == 4 or found.shape == (16, 16, 3)
    assert not warned


SAMPLES = b"\x15\1\3\0\1\0\0\0"  # the start of the TIFF tag with the samples of a pixel
STRANGE = {
    "Pillow warns of its size": REFUSED["bomb"][0],
    "Pillow logs an error": FILES["TIFF, plain"].replace(SAMPLES + b"\3", SAMPLES + b"\x09"),
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_strange_files_are_refused_in_silence(content, capfd, caplog):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(UnreadableError):
            decode(content, Preparation(16, 3))
    assert not warned and not caplog.records
    assert capfd.readouterr() == ("", "")


def test_a_preparation_describes_itself_and_refuses_nonsense():
    preparation = Preparation(32, 1, "pad", (0, 0, 0))
    described = json.loads(json.dumps(preparation.describe()))
    assert (described["size"], described["channels"], described["fit"], described["background"]) == (
        32,
        1,
        "pad",
        [0] * 3,
    )
    assert "32 x 32 pixels in grey" in str(preparation)
    accepted = {"size": 8, "channels": 3, "fit": "crop", "background": (0, 0, 0)}
    wrong = [
        ("size", 0),
        ("size", 4097),
        ("size", True),
        ("size", 8.5),
        ("channels", 2),
        ("channels", 4),
        ("fit", "stretch"),
    ]
    for name, value in [*wrong, ("background", (0, 0)), ("background", (0, 0, 256)), ("background", "white")]:
        with pytest.raises(UserError, match=f"{name}=.*accepted") as caught:
            Preparation(**accepted | {name: value})
        assert "\n" not in str(caught.value)
