"""The figures: what they draw, and whether their labels are legible."""

from io import BytesIO
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from mlproject import evaluation, plots

LONG_NAMES = ["large man-made outdoor things", "household electrical devices", "fish", "non-insect invertebrates"]


def predictions_of(
    classes: int, images: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Make labels, predictions (three in four correct), class names and superclass names (five classes for each)."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=images)
    predictions = np.where(random.random(images) < 0.75, labels, random.integers(classes, size=images))
    names = [f"{LONG_NAMES[i % 4]} {i}" if classes < 100 else f"aquarium fish {i}" for i in range(classes)]
    superclasses = [f"{LONG_NAMES[(i * 7 % (classes // 5)) % 4]} {i * 7 % (classes // 5):02}" for i in range(classes)]
    return labels, predictions, names, superclasses


def png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, dpi=40)
    return file.getvalue()


def texts(figure: Figure) -> list[str]:
    axes = figure.axes
    labels = [tick.get_text() for ax in axes for tick in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    return labels + [text.get_text() for ax in axes for text in (*ax.texts, ax.title)]


def assert_legible(figure: Figure) -> None:
    """Check that no two names on an axis overlap, and that none is cut off at the figure's edge."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        for axis, side in ((axes.xaxis, 0), (axes.yaxis, 1)):
            low, high = sorted(axis.get_view_interval())
            shown = [tick.label1 for tick in axis.get_major_ticks() if axes.axison and low <= tick.get_loc() <= high]
            boxes = [label.get_window_extent().get_points() for label in shown if label.get_text()]
            ends = sorted(tuple(box[:, side]) for box in boxes)
            assert all(one[1] <= other[0] + 1 for one, other in pairwise(ends))
            assert all((box >= 0).all() and (box[1] <= figure.bbox.size).all() for box in boxes)


def table_of(classes: int, with_superclasses: bool = False) -> pd.DataFrame:
    labels, predictions, names, superclasses = predictions_of(classes)
    return evaluation.per_class(labels, predictions, names, superclasses if with_superclasses else None)


def history(epochs: int = 6) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame({"epoch": epoch, "loss": 2 / epoch, "accuracy": 1 - 0.5 / epoch})


def lines(axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in axes.lines if not line.get_label().startswith("_")}


def test_every_title_names_the_subject_and_what_is_shown_and_pyplot_stays_clean():
    labels, predictions, names, _ = predictions_of(10)
    images = np.zeros((len(labels), 28, 28, 1), dtype=np.uint8)
    coarse = table_of(10)
    accuracies = pd.DataFrame({"name": ["a"], "accuracy": [0.8], "low": [0.7], "high": [0.9]})
    title = "toy, synthetic data"
    figures = {
        "learning curves": plots.learning_curves(history(), title=title),
        "precision, recall and F1": plots.per_class_bars(coarse, title=title),
        "confusion matrix": plots.confusion_matrix(labels, predictions, names, title=title),
        "most confident predictions": plots.examples(images, labels, np.eye(10)[predictions], names, title=title),
        "test accuracy": plots.accuracy_bars(accuracies, title=title),
    }
    for shown, figure in figures.items():
        heading = figure.get_suptitle().replace("\n", " ")
        assert heading.startswith(title)
        assert shown in heading
        assert png(figure).startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    assert plots.learning_curves(history()).get_suptitle() == "Learning curves"


def test_learning_curves_show_validation_only_if_it_is_known():
    accuracy, loss = plots.learning_curves(history()).axes
    assert list(lines(accuracy)) == ["training"]
    np.testing.assert_allclose(lines(loss)["training"], history()[["epoch", "loss"]])

    never_validated = history().assign(val_loss=np.nan, val_accuracy=np.nan)
    assert list(lines(plots.learning_curves(never_validated).axes[0])) == ["training"]

    validated = history().assign(val_loss=3.0, val_accuracy=0.25)
    accuracy, loss = plots.learning_curves(validated).axes
    assert set(lines(accuracy)["validation"][:, 1]) == {0.25}
    assert set(lines(loss)["validation"][:, 1]) == {3.0}


def test_learning_curves_mark_the_start_of_a_stage():
    figure = plots.learning_curves(history().assign(stage=["frozen"] * 4 + ["tuning"] * 2))
    assert_legible(figure)
    for axes in figure.axes:
        borders = [line.get_xdata()[0] for line in axes.lines if line.get_label().startswith("_")]
        assert borders == [4.5]
        assert [text.get_text().strip() for text in axes.texts] == ["frozen", "tuning"]


def test_one_epoch_of_one_stage_is_drawn():
    figure = plots.learning_curves(history(1).assign(stage="training"))
    assert_legible(figure)
    assert figure.axes[0].texts[:] == []


@pytest.mark.parametrize(("classes", "with_superclasses"), [(10, False), (20, False), (100, True), (100, False)])
def test_per_class_bars_name_every_class(classes, with_superclasses):
    table = table_of(classes, with_superclasses)
    figure = plots.per_class_bars(table)
    assert_legible(figure)
    shown = texts(figure)
    assert set(table["class"]) <= set(shown)
    assert {name for name in table["superclass"] if name} <= set(shown)


def test_bars_are_drawn_beside_their_names():
    table = table_of(100, True)
    found = {}
    for axes in plots.per_class_bars(table).axes:
        names = dict(zip(axes.get_yticks(), (label.get_text() for label in axes.get_yticklabels()), strict=True))
        precision, recall = axes.containers
        (f1,) = axes.lines
        scores = zip(precision, recall, f1.get_xydata(), strict=True)
        found |= {names[y]: (below.get_width(), above.get_width(), x) for below, above, (x, y) in scores}
    assert found == {row["class"]: (row["precision"], row["recall"], row["f1"]) for _, row in table.iterrows()}


def test_a_table_read_back_from_csv_draws_the_same(tmp_path):
    table = table_of(10)
    table.to_csv(tmp_path / "table.csv", index=False)
    read = pd.read_csv(tmp_path / "table.csv")
    assert texts(plots.per_class_bars(read)) == texts(plots.per_class_bars(table))


@pytest.mark.parametrize("classes", [10, 20])
def test_confusion_matrix_names_all_classes_and_writes_percentages(classes):
    labels, predictions, names, _ = predictions_of(classes)
    figure = plots.confusion_matrix(labels.astype(np.uint8), predictions.astype(np.uint8), names)
    assert_legible(figure)
    axes = figure.axes[0]
    shares = confusion_matrix(labels, predictions, normalize="true")
    np.testing.assert_allclose(axes.images[0].get_array(), shares)
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(j, i): f"{100 * shares[i, j]:.0f}" for i, j in np.ndindex(shares.shape) if shares[i, j] > 0.005}


def test_a_hundred_classes_are_ordered_by_superclass():
    labels, predictions, names, superclasses = predictions_of(100)
    figure = plots.confusion_matrix(labels, predictions, names, superclasses)
    assert_legible(figure)
    axes = figure.axes[0]
    order = sorted(range(100), key=lambda i: (superclasses[i], i))
    expected = confusion_matrix(labels, predictions, normalize="true")[np.ix_(order, order)]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == sorted(set(superclasses))
    across = sorted(line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1)
    assert across == [4.5 + 5 * i for i in range(19)]


def test_a_class_without_test_images_leaves_an_empty_row():
    figure = plots.confusion_matrix(np.array([0, 0]), np.array([0, 1]), ["a", "b"])
    shown = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    np.testing.assert_allclose(shown, [[0.5, 0.5], [np.nan, np.nan]])
    bars = plots.per_class_bars(evaluation.per_class(np.array([0, 0]), np.array([0, 1]), ["a", "b"]))
    assert [(text.get_text(), text.get_position()[1]) for text in bars.axes[0].texts] == [("no images", 1)]


def test_of_many_classes_the_bars_show_the_lowest_and_the_highest():
    table = table_of(300)
    table.loc[7, ["precision", "recall", "f1"]] = np.nan
    figure = plots.per_class_bars(table, "run")
    assert_legible(figure)
    assert figure.get_suptitle() == "run: precision, recall and F1 by class, 60 of 300 classes"
    ranked = table.dropna(subset=["f1"]).sort_values("f1", ascending=False, kind="stable")["class"].tolist()
    for axes, expected in zip(figure.axes, (ranked[:30], ranked[-30:]), strict=True):
        assert [label.get_text() for label in axes.get_yticklabels()] == expected


def test_of_many_classes_the_matrix_shows_the_most_confused_and_all_others_as_one():
    labels, predictions, names, _ = predictions_of(300)
    predictions = np.where(labels == 250, 17, labels)  # no other mistakes
    figure = plots.confusion_matrix(labels, predictions, names)
    assert_legible(figure)
    assert "the 30 of 300 classes with the most mistakes" in " ".join(figure.get_suptitle().split())
    axes = figure.axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) == 31 and shown[-1] == "all others" and {names[17], names[250]} <= set(shown)
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares[shown.index(names[250]), shown.index(names[17])] == 1 and shares[-1, -1] == 1


def test_long_names_are_shortened_in_the_middle():
    names = [f"Phylloscopus collybita abietinus, plumage {number}" for number in range(4)]
    labels = np.arange(4)
    for figure in (
        plots.confusion_matrix(labels, labels, names),
        plots.per_class_bars(evaluation.per_class(labels, labels, names)),
    ):
        shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert shown == [f"{name[:25]}…{name[-10:]}" for name in names]


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (16, 16, 2), (16, 16, 13)])
def test_examples_are_the_correct_predictions_and_mistakes_of_the_highest_confidence(shape):
    names = LONG_NAMES[:3]
    labels = np.array([0, 1, 2, 0, 1, 2])
    sureness = np.array([0.9, 0.8, 0.7, 0.95, 0.6, 0.99], dtype=np.float16)
    predictions = np.array([0, 1, 2, 1, 0, 2])
    probabilities = np.repeat((1 - sureness)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(6), predictions] = sureness
    images = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None], (6, *shape))
    figure = plots.examples(images, labels, probabilities, names)
    assert_legible(figure)
    upper, lower = figure.subfigs
    assert [int(axes.images[0].get_array().flat[0]) for axes in upper.axes if axes.images] == [5, 0, 1, 2]
    assert [int(axes.images[0].get_array().flat[0]) for axes in lower.axes if axes.images] == [3, 4]
    most_confident_mistake = lower.axes[0].get_title().replace("\n", " ")
    assert most_confident_mistake == "large man-made outdoor things → household electrical devices 95.0%"


def test_long_names_above_examples_are_shortened_and_do_not_touch():
    names = [f"{letter * 39}{letter.upper()}" for letter in "oad"]  # no spaces to wrap at
    labels = np.arange(24) % 3
    figure = plots.examples(np.zeros((24, 8, 8, 1), np.uint8), labels, np.eye(3)[(labels + 1) % 3], names)
    figure.draw_without_rendering()
    titles = [axes.title for axes in figure.subfigs[1].axes]
    assert len(titles) == 8 and {"".join(title.get_text().split()) for title in titles} == {
        f"{names[true][:25]}…{names[true][-10:]}→{names[other][:25]}…{names[other][-10:]}100.0%"
        for true, other in ((0, 1), (1, 2), (2, 0))
    }
    boxes = [title.get_window_extent() for title in titles]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_examples_say_that_a_model_made_no_mistakes():
    labels = np.array([0, 1])
    figure = plots.examples(np.zeros((2, 28, 28, 1), np.uint8), labels, np.eye(2), ["a", "b"])
    assert_legible(figure)
    assert figure.subfigs[1].get_suptitle().endswith("none")


def test_accuracies_are_written_out_and_synthetic_data_is_named():
    table = pd.DataFrame(
        {
            "name": ["fashion-mnist-mlp", "fashion-mnist-cnn"],
            "accuracy": [0.897, 0.933],
            "low": [0.891, 0.928],
            "high": [0.903, 0.938],
            "synthetic": [True, False],
        }
    )
    figure = plots.accuracy_bars(table)
    assert_legible(figure)
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["fashion-mnist-mlp\n(synthetic data)", "fashion-mnist-cnn"]
    assert [text.get_text() for text in axes.texts] == ["89.70%  [89.10%, 90.30%]", "93.30%  [92.80%, 93.80%]"]
    with_seeds = plots.accuracy_bars(table.assign(by_seed=[[0.89, 0.9, 0.901], [0.933]])).axes[0]
    assert [line.get_xdata().tolist() for line in with_seeds.lines if len(line.get_xdata()) == 3] == [
        [0.89, 0.9, 0.901]
    ]
    cross_validated = table.assign(cv_accuracy=[0.9, np.nan], cv_low=[0.8, np.nan], cv_high=[0.95, np.nan])
    lines = [line.get_xdata().tolist() for line in plots.accuracy_bars(cross_validated).axes[0].lines]
    assert len(lines) == 6 and lines[4:] == [[0.8, 0.95], [0.9]]
    unmarked = plots.accuracy_bars(table.drop(columns="synthetic")).axes[0]
    assert [label.get_text() for label in unmarked.get_yticklabels()] == table["name"].tolist()


@pytest.mark.parametrize("with_superclasses", [True, False])
def test_samples_shows_every_class_under_its_own_name(with_superclasses):
    classes = 20 if with_superclasses else 10
    labels, _, names, superclasses = predictions_of(classes)
    images = np.repeat(labels, 64).reshape(-1, 8, 8, 1).astype(np.uint8)
    figure = plots.samples(images, labels, names, superclasses if with_superclasses else None, "some data")
    shown = [axes.images[0].get_array().max() for axes in figure.axes if axes.images]
    assert sorted(shown) == sorted(np.repeat(range(classes), 1 if with_superclasses else 10))
    for name in superclasses if with_superclasses else names:
        assert " ".join(name.split()) in [" ".join(text.split()) for text in texts(figure)]
    if with_superclasses:
        above = {int(axes.images[0].get_array().max()): axes.get_title() for axes in figure.axes if axes.images}
        assert above == dict(enumerate(names))
