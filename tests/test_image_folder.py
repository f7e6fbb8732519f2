"""Images of a user's own as a data set: what the files say becomes classes, splits, sizes and a name, and lasts."""

import os
import shutil
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from photos import picture, write_class, write_tree
from PIL import Image

from mlproject.datasets import ImageFolder
from mlproject.errors import UserError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Decoded images are kept below the working folder."""
    monkeypatch.chdir(tmp_path)


def contents(images):
    return [image.tobytes() for image in images]


def labels_of(data):
    """The name of the class of each image, by its content."""
    images = [*data.train_images, *data.test_images]
    labels = [*data.train_labels, *data.test_labels]
    return {image.tobytes(): data.class_names[label] for image, label in zip(images, labels, strict=True)}


def load(path, labels="flat", **options):
    return ImageFolder(path, **options).load(labels)


def test_folders_become_classes_and_a_fifth_of_the_images_are_for_testing():
    data = load(write_tree(Path("photos"), images=60))
    assert data.class_names == ("apple", "pear", "plum") and data.name == "photos" and data.source == "photos"
    expected = {
        np.asarray(picture(number, seed)).tobytes(): name
        for number, name in enumerate(data.class_names)
        for seed in range(60)
    }
    assert labels_of(data) == expected
    assert 18 <= len(data.test_images) <= 54 and set(data.test_labels) == set(data.train_labels) == {0, 1, 2}
    assert data.description.table.set_index("what")["value"]["images"] == "180"
    assert data.preparation["size"] == 32 and data.preparation["channels"] == 3
    train, validation = data.split(0)
    assert len(validation) == np.ceil(0.1 * len(data.train_images)) and not set(train) & set(validation)


def test_coarse_and_fine_views_share_images_and_splits():
    loader = ImageFolder(write_tree(Path("photos"), ("fruit/apple", "fruit/pear", "root/beet", "root/leek")))
    assert loader.labels == ("coarse", "fine")
    coarse, fine = loader.load("coarse"), loader.load("fine")
    assert coarse.class_names == ("fruit", "root") and fine.class_names == ("apple", "beet", "leek", "pear")
    assert fine.superclasses == ["fruit", "root", "root", "fruit"]
    np.testing.assert_array_equal(coarse.train_images, fine.train_images)
    np.testing.assert_array_equal(coarse.train_labels, fine.superclass_of[fine.train_labels])
    np.testing.assert_array_equal(coarse.test_labels, fine.superclass_of[fine.test_labels])
    assert coarse.test_digest == fine.test_digest and coarse.digest != fine.digest
    for ours, theirs in zip(coarse.split(3), fine.split(3), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("sizes", "pixels"),
    [
        ([(20, 90)], 32),
        ([(64, 70)], 64),
        ([(63, 200)], 32),
        ([(40, 40), (97, 300), (300, 98)], 96),
        ([(40, 40), (41, 300), (300, 98)], 32),
        ([(400, 300)], 128),
    ],
)
def test_auto_is_the_median_of_the_shorter_sides(sizes, pixels):
    for number in range(2):
        for size in sizes:
            write_class(Path("photos", str(number)), number, 1, first=size[0], size=size)
    with warnings.catch_warnings(action="ignore"):  # of classes with one image
        assert ImageFolder("photos").shape == (pixels, pixels, 3)


def test_a_given_size_holds_whatever_the_images_have():
    data = load(write_tree(Path("photos"), size=(45, 61)), image_size=20)
    assert data.train_images.shape[1:] == data.test_images.shape[1:] == (20, 20, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": 0}, "size=0; accepted: a whole number of pixels"),
        ({"image_size": 5000}, "size=5000"),
        ({"image_size": "big"}, "size=big"),
        ({"image_size": 32.5}, "size=32.5"),
        ({"fit": "stretch"}, "fit=stretch; accepted: crop, pad"),
        ({"background": (300, 0, 0)}, "background="),
    ],
)
def test_what_is_not_accepted_is_refused_before_any_file_is_looked_at(options, said):
    with pytest.raises(UserError, match=said):
        ImageFolder("no/such/folder", **options)


@pytest.mark.parametrize(
    ("modes", "channels"), [(["L"], 1), (["1", "LA"], 1), (["L", "L", "RGB"], 3), (["P"], 3), (["RGBA"], 3)]
)
def test_images_are_grey_only_if_all_are(modes, channels):
    for number in range(2):
        for seed in range(12):
            write_class(Path("photos", str(number)), number, 1, first=seed, mode=modes[seed % len(modes)])
    assert load("photos").train_images.shape[1:] == (32, 32, channels)


def test_crop_keeps_the_centre_and_pad_keeps_all():
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, :8], wide[:, 24:] = (255, 0, 0), (0, 0, 255)
    for number in range(2):
        write_class(Path("photos", str(number)), number, 10, size=(32, 16))
        wide[0, 0, 0] = number  # or the images of both classes would be copies
        Image.fromarray(wide).save(f"photos/{number}/wide.png")

    def has(data, test):
        return any(test(image) for image in [*data.train_images, *data.test_images])

    cropped = load("photos", image_size=16)
    assert has(cropped, lambda image: (image == 0).all())
    padded = load("photos", image_size=32, fit="pad", background=(10, 20, 30))
    assert has(padded, lambda image: (image[0] == (10, 20, 30)).all() and (image[16, 1] == (255, 0, 0)).all())
    assert has(padded, lambda image: (image[-1] == (10, 20, 30)).all() and (image[16, -1] == (0, 0, 255)).all())


def test_a_given_validation_split_is_kept():
    for number, split in enumerate(("train", "val", "test")):
        write_tree(Path("photos", split), first=100 * number)
    data = load("photos")
    rows = {
        split: {
            np.asarray(picture(number, seed)).tobytes()
            for number in range(3)
            for seed in range(100 * place, 100 * place + 20)
        }
        for place, split in enumerate(("train", "validation", "test"))
    }
    assert set(contents(data.test_images)) == rows["test"] and len(data.test_images) == 60
    for seed in (0, 1):
        train, validation = data.split(seed)
        assert set(contents(data.train_images[validation])) == rows["validation"] and len(validation) == 60
        assert set(contents(data.train_images[train])) == rows["train"]


def manifest(folder, rows, name="list.csv"):
    """Write a manifest with one row for each (file, label, group) beside the files."""
    pd.DataFrame(rows, columns=["path", "label", "group"]).to_csv(folder / name, index=False)
    return folder / name


def test_groups_stay_together_in_every_split():
    folder = write_tree(Path("photos"), ("a", "b"), images=60)
    rows = [(f"{label}/{seed:04}.png", label, f"person {seed // 3}") for label in "ab" for seed in range(60)]
    data = load(manifest(folder, rows))
    group_of = {np.asarray(picture(number, seed)).tobytes(): seed // 3 for number in range(2) for seed in range(60)}
    parts = [data.train_images[rows] for rows in data.split(0)] + [data.test_images]
    groups = [{group_of[content] for content in contents(part)} for part in parts]
    assert all(groups) and sum(map(len, groups)) == 20 and not set.intersection(*groups)


def test_images_without_a_group_are_alone():
    folder = write_tree(Path("photos"), ("a", "b"), images=30)
    rows = [(f"{label}/{seed:04}.png", label, "pair" if seed < 2 else "") for label in "ab" for seed in range(30)]
    data = load(manifest(folder, rows))
    sizes = np.unique(data.groups, return_counts=True)[1]
    assert max(sizes) <= 4 and (sizes == 1).sum() >= len(data.train_images) - 4


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("photos", "photos"),
        ("my photos, 2024!", "my-photos-2024"),
        ("Äpfel", "Apfel"),
        (unicodedata.normalize("NFD", "Äpfel"), "Apfel"),
        ("写真", "images"),
        ("写真 2", "2"),
        ("_.x", "x"),
        ("x" * 200, "x" * 60),
        ("y" * 59 + "  z", "y" * 59),
    ],
)
def test_the_name_is_the_folders_in_letters_that_names_may_have(folder, name):
    Path(folder).mkdir()
    assert ImageFolder(folder).name == ImageFolder(Path(folder, "..", folder)).name == name


def test_the_name_of_a_file_has_no_suffix_and_a_given_name_counts():
    Path("photos.2024.npz").write_bytes(b"")
    assert ImageFolder("photos.2024.npz").name == "photos.2024"
    assert ImageFolder("photos.2024.npz", name="mine").name == "mine"
    assert ImageFolder(".").name == Path.cwd().name


@pytest.mark.parametrize("path", ["no/such/folder", "~nobody-has-this-name/photos", "x" * 5000, "\0"])
def test_a_path_that_leads_nowhere_is_refused_when_it_is_read(path):
    loader = ImageFolder(path)
    assert loader == ImageFolder(path)
    with pytest.raises(UserError, match="does not exist or cannot be reached; accepted: a folder"):
        loader.load("flat")


def test_unreadable_files_are_named_and_left_out():
    folder = write_tree(Path("photos"), images=20)
    damaged = folder / "apple" / "0003.png"
    damaged.write_bytes(damaged.read_bytes()[:200])  # its header can be read
    (folder / "pear" / "0004.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="2 of 60 images cannot be read .*they are left out") as warned:
        data = load(folder)
    assert all(f"{name}: " in str(warned[0].message) for name in ("apple/0003.png", "pear/0004.png"))
    assert len(data.train_images) + len(data.test_images) == 58
    expected = {np.asarray(picture(number, seed)).tobytes() for number in range(3) for seed in range(20)}
    assert set(labels_of(data)) < expected


def test_too_many_unreadable_files_are_refused():
    folder = write_tree(Path("photos"), images=20)
    for seed in range(4):
        (folder / "plum" / f"{seed:04}.png").write_bytes(b"no image")
    with pytest.raises(
        UserError, match=r"4 of 60 images cannot be read \(plum/0000.png: .* \.\.\.\); accepted: at most 5%"
    ):
        load(folder)


@pytest.mark.parametrize("kept", [0, 200], ids=["header", "pixels"])
def test_a_class_whose_only_images_are_unreadable_is_named(kept):
    folder = write_tree(Path("photos"), ("a", "b"), images=60)
    write_class(folder / "lost", 2, 2)
    for path in (folder / "lost").iterdir():
        path.write_bytes(path.read_bytes()[:kept] + b"x")
    with pytest.raises(UserError, match="lost"), warnings.catch_warnings(action="ignore"):
        load(folder)


def test_images_too_few_for_a_test_set_are_refused():
    folder = write_tree(Path("photos"), ("a", "b"), images=1)
    with (
        pytest.raises(UserError, match="has no test images .2 images in all."),
        warnings.catch_warnings(action="ignore"),
    ):
        load(folder)


def test_images_are_decoded_once():
    folder = write_tree(Path("photos"))

    def kept():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in Path(".cache/images").iterdir()}

    first = load(folder)
    files = kept()
    again = load(folder)
    assert len([path for path in files if path.suffix == ".npy"]) == 1 and kept() == files
    assert again.digest == first.digest
    load(folder, image_size=16)
    assert len(kept()) > len(files)


def test_names_of_files_and_of_the_folder_do_not_matter():
    before = load(write_tree(Path("photos")))
    for path in sorted(Path("photos").glob("*/*.png")):
        path.rename(path.with_name(f"{9999 - int(path.stem)}.png"))
    Path("photos").rename("others")
    after = load("others")
    assert (after.digest, after.test_digest) == (before.digest, before.test_digest) and after.name == "others"
    assert len(list(Path(".cache/images").glob("*.npy"))) == 1


def test_the_order_of_a_manifest_does_not_matter_even_if_copies_differ():
    folder = write_tree(Path("photos"), ("a", "b"), images=30)
    for seed in range(30):  # each image of a is one of b, too, in another group
        shutil.copy(folder / "a" / f"{seed:04}.png", folder / "b" / f"copy-{seed:04}.png")
    rows = [(f"{label}/{seed:04}.png", label, f"g{seed % 7}") for label in "ab" for seed in range(30)]
    rows += [(f"b/copy-{seed:04}.png", "b", f"g{seed % 7}") for seed in range(30)]
    one, other = load(manifest(folder, rows)), load(manifest(folder, rows[::-1], "reversed.csv"))
    assert one.digest == other.digest
    np.testing.assert_array_equal(one.groups, other.groups)


def test_further_images_move_none_between_training_and_test():
    folder = write_tree(Path("photos"), images=40)
    before = load(folder)
    write_tree(folder, images=40, first=500)
    after = load(folder)
    for part in ("train_images", "test_images"):
        assert set(contents(getattr(before, part))) < set(contents(getattr(after, part)))


def test_loaders_are_equal_if_they_give_the_same_images():
    one = ImageFolder("photos")
    assert one == ImageFolder(Path("photos").absolute()) == ImageFolder("./photos/", cache=Path("elsewhere"))
    assert len({one, ImageFolder("photos"), ImageFolder(f"{os.curdir}/x/../photos")}) == 1
    others = [
        ImageFolder("other/photos"),
        ImageFolder("photos", image_size=32),
        ImageFolder("photos", fit="pad"),
        ImageFolder("photos", background=(0, 0, 0)),
        ImageFolder("photos", name="mine"),
    ]
    assert len({one, *others}) == 6


def test_training_images_stay_on_disk():
    data = load(write_tree(Path("photos")))
    assert isinstance(data.train_images, np.memmap) and isinstance(data.test_images, np.memmap)
    assert not data.train_images.flags.writeable
