"""Images for tests: folders of noise around a colour of its own for each class, which a network can learn, and a photograph."""

import io

import numpy as np
from PIL import Image, ImageDraw

COLOURS = ((210, 60, 60), (60, 200, 70), (60, 70, 220), (200, 190, 50), (190, 60, 200), (60, 190, 200))


def picture(number, seed, size=(32, 32), mode="RGB"):
    """One image of class `number`, (width, height) pixels; each seed gives another one."""
    noise = np.random.default_rng((number, seed)).normal(0, 25, (size[1], size[0], 3))
    pixels = np.clip(noise + COLOURS[number % len(COLOURS)], 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write_class(folder, number, images=20, first=0, **options):
    """Write PNG images of class `number` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + images):
        picture(number, seed, **options).save(folder / f"{seed:04}.png")


def write_tree(folder, classes=("apple", "pear", "plum"), images=20, **options):
    """Write images for each class, whose name may hold its superclass; returns the folder."""
    for number, name in enumerate(classes):
        write_class(folder / name, number, images, **options)
    return folder


def photograph(ground=240, thing=15, size=(90, 160), mode="RGB"):
    """A thing in the middle, half as wide and high as the image."""
    image = Image.new("L", size, ground)
    width, height = size
    ImageDraw.Draw(image).rectangle((width // 4, height // 4, width * 3 // 4, height * 3 // 4), thing)
    return image.convert(mode)


def encoded(image, kind="PNG"):
    """The bytes of an image's file."""
    file = io.BytesIO()
    image.save(file, format=kind)
    return file.getvalue()
