"""`mlproject predict` prepares any image as the training images were, says what it did, and passes over what is no image."""

import base64
import io
import json
import os
import sys

import mlflow
import numpy as np
import pytest
from brightness import NAME, network, register
from photos import encoded, photograph
from PIL import Image
from servers import free_port

from mlproject import tracking
from mlproject.classifier import Classifier
from mlproject.datasets import CIFAR100, FashionMNIST
from mlproject.errors import UserError
from mlproject.predict import read_images


def classifier(preparation=FashionMNIST.preparation, shape=(28, 28, 1)):
    return Classifier.from_registered(network(shape), ("dark", "grey", "light"), preparation and preparation.describe())


@pytest.mark.parametrize("size", [(28, 28), (90, 160), (1000, 300), (5, 7)])
def test_a_photograph_on_a_light_ground_is_seen_as_the_training_images_are(size):
    seen = classifier().prepare(encoded(photograph(size=size), "JPEG"))
    assert seen.inverted and seen.pixels.shape == (28, 28, 1) and seen.pixels.dtype == np.uint8
    # The thing is light, its ground and the padding are dark.
    assert seen.pixels[14, 14] > 200 and seen.pixels[0].max() < 40 and seen.pixels[:, 0].max() < 40


def test_what_shows_light_on_dark_already_or_a_cut_out_thing_is_told_apart():
    dark = encoded(photograph(ground=10, thing=230))
    assert not classifier().prepare(dark).inverted
    assert classifier().prepare(dark, "yes").inverted and not classifier().prepare(encoded(photograph()), "no").inverted
    cut_out = photograph(mode="RGBA")
    cut_out.putalpha(photograph(ground=0, thing=255, mode="L"))
    seen = classifier().prepare(encoded(cut_out))
    assert seen.inverted and seen.pixels[14, 14] > 200 and seen.pixels[0].max() < 40


def test_other_data_sets_are_not_inverted_and_a_model_without_a_record_takes_squares():
    for preparation in (CIFAR100.preparation, None):
        seen = classifier(preparation, (32, 32, 3)).prepare(encoded(photograph(mode="L")))
        assert seen.pixels.shape == (32, 32, 3) and not seen.inverted
    with pytest.raises(UserError, match=r"takes no image files; accepted: arrays of shape \(8, 6, 1\)"):
        classifier(None, (8, 6, 1)).prepare(encoded(photograph()))


def test_an_image_that_is_as_the_training_images_are_keeps_its_pixels(fashion):
    image = fashion.test_images[0] // 4  # the synthetic images have borders of any grey, the real ones dark borders
    assert np.array_equal(classifier().prepare(encoded(Image.fromarray(image[..., 0]))).pixels, image)


@pytest.fixture
def photos(tmp_path):
    """A folder with a photograph, one in a folder, and files that are none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    (folder / "a shirt.jpg").write_bytes(encoded(photograph(), "JPEG"))
    (folder / "more" / "night.png").write_bytes(encoded(photograph(10, 10)))
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_the_command_answers_for_a_folder_and_names_what_it_passes_over(store, photos, run_here, tmp_path):
    register()
    done = run_here("predict", NAME, photos, photos / "nothing.png", "--show", "seen", "--top", 2, cwd=tmp_path)
    assert done.returncode == 1
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[-2] for row in rows] == ["dark", "grey", "dark", "grey"] and rows[0][-3] == "(inverted)"
    assert "broken.jpg is passed over: it is no JPEG" in done.stderr and "nothing.png is passed over" in done.stderr
    assert "--invert no" in done.stderr and "notes.txt" not in done.stderr
    seen = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "seen").iterdir()}
    assert sorted(seen) == ["0001-a-shirt.jpg.png", "0003-night.png.png"]
    assert seen["0001-a-shirt.jpg.png"].shape == (28, 28) and seen["0001-a-shirt.jpg.png"][14, 14] > 200


def test_lines_of_json_and_the_option_json_are_answered_in_lines_of_json(
    store, photos, run_here, tmp_path, monkeypatch
):
    register()
    content = base64.b64encode(encoded(photograph(250, 250, size=(90, 90)))).decode()
    lines = [
        json.dumps(str(photos / "a shirt.jpg")),
        json.dumps({"image": content}),
        "",
        "{}",
        "nonsense",
        "[" * 100_000,
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    done = run_here("predict", f"{NAME}/1", "-", "--invert", "no", cwd=tmp_path)
    assert done.returncode == 1
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one.get("predictions", [{}])[0].get("label") for one in answers] == ["grey", "light", None, None, None]
    assert [one["image"] for one in answers[1:]] == ["line 2", "line 4", "line 5", "line 6"]
    assert sum(guess["probability"] for guess in answers[0]["predictions"]) == pytest.approx(1, abs=1e-5)
    assert len(answers[0]["predictions"]) == 3 and answers[0]["inverted"] is False
    told = run_here(
        "predict", f"{NAME}@champion", photos / "a shirt.jpg", photos / "broken.jpg", "--json", cwd=tmp_path
    )
    shirt, broken = map(json.loads, told.stdout.splitlines())
    assert (shirt["image"], shirt["inverted"]) == (str(photos / "a shirt.jpg"), True)
    assert shirt["predictions"][0]["label"] == "dark" and "no JPEG" in broken["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_whose_name_is_not_utf_8_is_answered_in_json(store, photos, run_here, tmp_path):
    register()
    name = os.fsdecode(b"caf\xe9.png")
    (photos / "a shirt.jpg").rename(photos / name)
    done = run_here("predict", NAME, photos / name, "--json", cwd=tmp_path)
    assert done.returncode == 0 and "caf\\udce9.png" in done.stdout
    assert json.loads(done.stdout)["image"] == str(photos / name)


@pytest.mark.parametrize(
    ("kind", "errors"), [("JPEG", "strict"), ("GIF", "surrogateescape")], ids=["UTF-8", "C locale"]
)
def test_an_image_in_place_of_lines_of_json_is_refused_once(kind, errors, store, run_here, tmp_path, monkeypatch):
    register()
    content = io.BytesIO(encoded(photograph(), kind))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(content, encoding="utf-8", errors=errors))
    done = run_here("predict", NAME, "-", cwd=tmp_path)
    assert done.returncode == 2 and "the standard input) is no text in UTF-8; accepted: lines of JSON" in done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1


@pytest.mark.parametrize("line", ["photo\0.jpg", "caf\udce9.jpg"])
def test_a_line_with_what_no_text_holds_is_refused_and_those_before_it_are_read(line):
    images = read_images(["-"], ['{"image": ""}', line])
    assert next(images).content == b""
    with pytest.raises(UserError, match="is no text in UTF-8"):
        next(images)


def test_an_unknown_model_and_a_folder_without_images_are_refused_in_one_line(store, run_here, tmp_path):
    register()
    (tmp_path / "empty").mkdir()
    for model, path, said in (
        ("nobody", "empty", "model='nobody': no such model; accepted: brightness"),
        (NAME, "empty", "empty has no image files; accepted: a folder with"),
        (NAME, "x" * 5000, "... does not exist or cannot be reached; accepted: image files, folders"),
    ):
        done = run_here("predict", model, path, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_version_of_an_earlier_release_is_predicted_but_not_served(store, photos, run_here, tmp_path):
    with tracking.run("final", {"role": "final", "experiment": NAME}):
        info = mlflow.keras.log_model(
            network(),
            name="model",
            registered_model_name=NAME,
            pip_requirements=["keras"],
            metadata={"class_names": '["dark", "grey", "light"]'},
        )
    tracking.set_version_tags(NAME, 1, {"dataset.digest": "d", "experiment": NAME})
    assert info.registered_model_version == 1
    done = run_here("predict", f"{NAME}/1", photos / "a shirt.jpg", "--top", 1, cwd=tmp_path)
    assert done.returncode == 0 and "does not say how its images were prepared" in done.stderr
    assert "(inverted)" not in done.stdout
    done = run_here("serve", f"{NAME}/1", "--port", free_port(), cwd=tmp_path)
    assert done.returncode == 2 and "registered by an earlier release" in done.stderr
