"""The batches of a fit are shuffled, mirrored every second time, shifted and resized, wherever the fit begins."""

import itertools
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf
from conftest import TINY
from keras import layers
from tensorflow.python.framework import kernels as tf_kernels

from mlproject.errors import UserError
from mlproject.recipe import Recipe, Stage
from mlproject.training import batches
from mlproject.training.features import FeatureCache
from mlproject.training.fit import fit
from mlproject.training.fit_data import FitData
from mlproject.training.schedule import StageSchedule

RECIPE = Recipe((Stage("training", 0.1),), batch_size=50)


def first_200(data):
    """A fit on the first 200 images."""
    return FitData(data, np.arange(200), None, FeatureCache(Path("unused"), data), seed=0)


def taken(data, recipe, count, **options):
    """The first `count` batches' images and one-hot labels."""
    options = {"augment": True, "steps": 20} | options
    dataset = batches.train_dataset(data.train_images, first_200(data), recipe, **options)
    return [(images.numpy(), labels.numpy()) for images, labels in itertools.islice(dataset, count)]


def where(data, image):
    """The row of an image among the first 200, mirrored or not, and whether it was mirrored."""
    for mirrored, candidates in enumerate((data.train_images[:200], data.train_images[:200, :, ::-1])):
        found = np.flatnonzero((candidates == image).all(axis=(1, 2, 3)))
        if len(found):
            return int(found[0]), bool(mirrored)
    raise AssertionError("no training image looks like this")


def test_an_epoch_has_every_image_once_with_its_label(fashion):
    epoch = taken(fashion, RECIPE, 4)
    rows = [where(fashion, image)[0] for images, _ in epoch for image in images]
    assert sorted(rows) == list(range(200)) and rows != sorted(rows)
    labels = np.concatenate([labels for _, labels in epoch]).argmax(axis=1)
    np.testing.assert_array_equal(labels, fashion.train_labels[rows])


def test_every_image_is_mirrored_every_second_time(fashion):
    recipe = Recipe(RECIPE.stages, 50, flip=True)
    seen = [where(fashion, image) for images, _ in taken(fashion, recipe, 12) for image in images]
    epochs = [dict(seen[start : start + 200]) for start in (0, 200, 400)]
    assert 50 < sum(epochs[0].values()) < 150  # at random in the first epoch
    assert all(epochs[1][row] is not epochs[0][row] and epochs[2][row] is epochs[0][row] for row in range(200))


def test_shifted_images_keep_their_middle(fashion):
    shifted = taken(fashion, Recipe(RECIPE.stages, 50, random_translation=2), 1)[0][0]
    plain = taken(fashion, RECIPE, 1)[0][0]
    offsets = set()
    for image, original in zip(shifted, plain, strict=True):
        fits = [
            (down, right)
            for down, right in itertools.product(range(-2, 3), repeat=2)
            if np.array_equal(image[4:-4, 4:-4], original[4 + down : 24 + down, 4 + right : 24 + right])
        ]
        assert fits
        offsets.update(fits)
    assert len(offsets) > 10  # of 25


def test_shifted_images_are_reflected_at_the_border(fashion):
    shifted = taken(fashion, Recipe(RECIPE.stages, 50, flip=True, random_translation=3), 1)[0][0]
    plain = taken(fashion, RECIPE, 1)[0][0]
    for image, original in zip(shifted, plain, strict=True):
        padded = np.pad(original, ((3, 3), (3, 3), (0, 0)), mode="symmetric")
        taken_out = [padded[down : down + 28, right : right + 28] for down, right in np.ndindex(7, 7)]
        assert any(np.array_equal(image, way) for one in taken_out for way in (one, one[:, ::-1]))


def test_progressive_resizing_shrinks_the_first_steps(fashion):
    recipe = Recipe(RECIPE.stages, 50, progressive_resizing=((0.25, 14), (0.5, 20)))
    images = [images for images, _ in taken(fashion, recipe, 20, steps=20)]
    assert [batch.shape[1] for batch in images] == [14] * 5 + [20] * 5 + [28] * 10
    same = taken(fashion, RECIPE, 1)[0][0]
    halves = same.reshape(50, 14, 2, 14, 2, 1).mean(axis=(2, 4))
    assert np.abs(images[0] - halves).mean() < 10  # on the 0..255 scale
    assert recipe.mean_area(28) == 0.25 * 0.25 + 0.25 * (20 / 28) ** 2 + 0.5


def test_activations_are_not_changed(fashion):
    recipe = Recipe(RECIPE.stages, 50, flip=True, random_translation=2, progressive_resizing=((0.5, 14),))
    numbers = np.arange(len(fashion.train_labels), dtype="float32")  # the feature of an image is its row
    dataset = batches.train_dataset(numbers, first_200(fashion), recipe, augment=False, steps=20)
    seen = np.array([features.numpy() for features, _ in itertools.islice(dataset, 4)])
    assert sorted(seen.ravel()) == list(range(200))


def test_batches_do_not_depend_on_where_the_fit_began(fashion):
    recipe = Recipe(RECIPE.stages, 50, flip=True, random_translation=1, progressive_resizing=((0.5, 14),))
    whole, later = taken(fashion, recipe, 14), taken(fashion, recipe, 9, skip=5)
    for (images, labels), (again, same) in zip(whole[5:], later, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, same)


def test_squares_as_large_as_the_images_are_refused(fashion):
    with pytest.raises(UserError, match="cutout=28.*fewer than the 28 pixels"):
        taken(fashion, Recipe(RECIPE.stages, 50, cutout=28), 1)


def test_a_height_below_1_is_a_share_of_the_full_height(fashion):
    recipe = Recipe(RECIPE.stages, 50, progressive_resizing=((0.25, 16), (0.5, 0.75)))
    assert recipe.heights(32) == [(0.25, 16), (0.5, 24)] and recipe.heights(1) == [(0.25, 1), (0.5, 1)]
    assert recipe.mean_area(8) == 0.25 + 0.25 * 0.75**2 + 0.5  # images are not enlarged
    assert recipe.mean_area(32) == 0.25 * 0.25 + 0.25 * 0.75**2 + 0.5
    halves, pixels = (Recipe(RECIPE.stages, 50, progressive_resizing=((0.5, height),)) for height in (0.5, 14))
    for (one, _), (other, _) in zip(taken(fashion, halves, 20), taken(fashion, pixels, 20), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("resizing", [(), ((0.25, 14), (0.5, 0.8)), ((0.25, 40),)])
def test_batches_that_a_gpu_makes_are_those_that_the_host_makes(fashion, augment, resizing):
    wide = replace(fashion, train_images=np.concatenate([fashion.train_images] * 2, axis=2))
    recipe = Recipe(RECIPE.stages, 50, flip=True, random_translation=2, cutout=5, progressive_resizing=resizing)
    options = {"augment": augment, "steps": 20}
    make = tf.function(batches.input_maker(wide.train_images, first_200(wide), recipe, on_gpu=True, **options))
    drawn = batches.drawn_dataset(first_200(wide), recipe, augment=augment, skip=4)
    made = [(make(*arguments), labels) for arguments, labels in itertools.islice(drawn, 8)]
    for one, other in zip(made, taken(wide, recipe, 8, skip=4, **options), strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-3)  # on the 0..255 scale


@pytest.mark.parametrize(
    ("operation", "dtypes"),
    [("GatherV2", {"float16"}), ("ImageProjectiveTransformV3", {"float16"}), ("SelectV2", {"float16"}),
     ("Cast", {"float16", "uint8"}), ("Einsum", {"float32"})],
)  # fmt: skip
def test_tensorflow_has_the_operations_of_such_batches_for_gpus(operation, dtypes):
    """Those of `input_maker`; a build for CUDA knows them without a GPU. What it lacks, such as GatherV2 of uint8, would move
    the data to the CPU and back in each step."""
    if not tf.test.is_built_with_cuda():
        pytest.skip("TensorFlow is not built for CUDA")
    kernels = tf_kernels.get_registered_kernels_for_op(operation).kernel
    on_gpu = [one for kernel in kernels if kernel.device_type == "GPU" for one in kernel.constraint]
    assert dtypes <= {tf.as_dtype(one).name for each in on_gpu for one in each.allowed_values.list.type}


@pytest.mark.parametrize("height", [0, -0.5, 1.0, 24.0, float("nan")])
def test_a_height_that_is_neither_pixels_nor_a_share_is_refused(height):
    with pytest.raises(UserError, match="progressive_resizing=.*a height in whole pixels or as a share"):
        Recipe(RECIPE.stages, 50, progressive_resizing=((0.5, height),))


def test_a_fit_with_a_share_is_the_fit_with_as_many_pixels(make_task):
    def weights(height):
        def build(hp, spec):
            images = keras.Input(spec.shape, dtype="uint8")
            x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(images))
            x = layers.GlobalAveragePooling2D()(x)
            return keras.Model(images, layers.Dense(spec.classes, activation="softmax")(x))

        recipe = Recipe(RECIPE.stages, 50, progressive_resizing=((0.5, height),))
        task = make_task(replace(TINY, build=build, recipe=lambda hp: recipe))
        model, _ = task.network({})
        fit(model, recipe, {"training": StageSchedule(1, 4)}, task.fit_data(np.arange(200), np.arange(200, 250)))
        return model.get_weights()

    for one, same, other in zip(weights(0.75), weights(21), weights(20), strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)


@pytest.fixture
def on_disk(fashion, tmp_path):
    """The same data with its training images in a file."""
    np.save(tmp_path / "images.npy", fashion.train_images)
    return replace(fashion, train_images=np.load(tmp_path / "images.npy", mmap_mode="r"))


def test_images_in_a_file_give_the_batches_and_statistics_of_images_in_memory(fashion, on_disk):
    recipe = Recipe(RECIPE.stages, 50, flip=True, random_translation=2, cutout=5, progressive_resizing=((0.5, 0.5),))
    for (one, _), (other, _) in zip(taken(fashion, recipe, 20), taken(on_disk, recipe, 20), strict=True):
        np.testing.assert_array_equal(one, other)
    assert on_disk.spec() == fashion.spec()


def test_images_in_a_file_are_never_all_in_memory(fashion, tmp_path):
    """A file of 800 MB without content, which takes no room on a disk."""
    count, shape = 1_000_000, fashion.train_images.shape[1:]
    np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (count, *shape)).flush()
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    large = replace(fashion, train_images=images, train_labels=np.arange(count) % 10)
    fit_data = FitData(large, np.arange(count), None, FeatureCache(tmp_path, large), seed=0)
    vars(large)["_channel_moments"] = fashion._channel_moments
    process = psutil.Process()
    before = process.memory_info().rss
    dataset = batches.train_dataset(images, fit_data, RECIPE, augment=True, steps=20)
    assert sum(len(batch) for batch, _ in itertools.islice(dataset, 20)) == 1000
    assert process.memory_info().rss - before < 400e6


def test_images_that_are_not_square_keep_their_proportions(fashion):
    wide = replace(fashion, train_images=np.concatenate([fashion.train_images] * 2, axis=2))
    (images, _), *_, (full, _) = taken(wide, Recipe(RECIPE.stages, 50, progressive_resizing=((0.5, 14),)), 20)
    assert (images.shape, full.shape) == ((50, 14, 28, 1), (50, 28, 56, 1))


def test_cutout_paints_one_square_in_each_image(fashion):
    cut = taken(fashion, Recipe(RECIPE.stages, 50, cutout=9), 1)[0][0]
    plain = taken(fashion, RECIPE, 1)[0][0]
    grey = round(fashion.spec().mean[0])
    corners = set()
    for image, original in zip(cut, plain, strict=True):
        fits = [
            (down, right)
            for down, right in np.ndindex(20, 20)
            if (image[down : down + 9, right : right + 9] == grey).all()
            and (np.delete(image != original, np.s_[down : down + 9], axis=0) == 0).all()
            and (np.delete(image != original, np.s_[right : right + 9], axis=1) == 0).all()
        ]
        assert len(fits) == 1
        corners.update(fits)
    assert len(corners) > 40  # of 400
    assert min(map(min, corners)) < 3 and max(map(max, corners)) > 16  # up to the border


def test_an_evaluation_has_every_row_once_and_in_order(fashion):
    rows = np.arange(1200)[::-2]
    dataset = list(batches.eval_dataset(fashion.train_images, rows))
    assert [len(images) for images in dataset] == [500, 100]
    np.testing.assert_array_equal(np.concatenate(dataset), fashion.train_images[rows])
