"""The report's own figures: where they draw the data, and whether their labels are legible."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from test_plots import LONG_NAMES, assert_legible, texts

from mlproject import evaluation
from mlproject.limits import parse_limits
from mlproject.objectives import OBJECTIVES
from mlproject.report import cost_figure, figures, networks, search_figure
from mlproject.report.cost import pareto_front
from mlproject.style import BLUE


def test_dumbbells_show_the_largest_differences_in_both_directions():
    gaps = np.r_[np.linspace(0.02, 0.4, 20), 0, np.linspace(-0.02, -0.4, 20)]
    table = pd.DataFrame({"class": [f"class {number}" for number in range(41)], "superclass": "x"})
    table = table.assign(first=0.5 + gaps, second=0.5)
    figure = figures.dumbbells(table, ("fine", "coarse"), ("easier", "harder"), "F1")
    assert_legible(figure)
    easier, harder = figure.axes
    assert [label.get_text() for label in easier.get_yticklabels()] == [
        f"class {number}  (x)" for number in range(19, 4, -1)
    ]
    assert [label.get_text() for label in harder.get_yticklabels()] == [
        f"class {number}  (x)" for number in range(40, 25, -1)
    ]
    second, first = harder.lines[::2], harder.lines[1::2]
    assert [float(mark.get_xdata()[0]) for mark in first] == pytest.approx((0.5 + gaps[:25:-1]).tolist())
    assert [float(mark.get_xdata()[0]) for mark in second] == [0.5] * 15


def test_dumbbells_say_when_no_class_is_easier():
    table = pd.DataFrame({"class": ["a"], "superclass": ["x"], "first": [0.1], "second": [0.7]})
    figure = figures.dumbbells(table, ("fine", "coarse"), ("easier", "harder"), "F1")
    assert_legible(figure)
    assert figure.axes[0].get_title().endswith("none")


def test_a_hundred_classes_have_a_panel_for_each_superclass():
    table = pd.DataFrame({"class": [f"aquarium fish {i}" for i in range(100)]})
    table["superclass"] = [f"{LONG_NAMES[i // 5 % 4]} {i // 5:02}" for i in range(100)]
    table = table.assign(f1=np.linspace(0, 1, 100), superclass_f1=0.7, f1_low=-0.1, f1_high=0.1)
    table["f1_difference"] = table["f1"] - 0.7
    figure = figures.superclass_panels(table)
    assert_legible(figure)
    assert len(figure.axes) == 20 and set(table["class"]) <= set(texts(figure))
    first = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert first == [f"aquarium fish {i}" for i in (4, 3, 2, 1, 0)]  # the superclass with the class furthest below


def test_learning_curves_run_over_minutes_and_mark_stages():
    short = pd.DataFrame({"accuracy": [0.5, 0.7], "seconds": [60.0, 60.0], "stage": "training"})
    staged = pd.DataFrame({"accuracy": [0.4, 0.6, 0.9], "seconds": [30.0, 30.0, 60.0], "stage": ["a", "a", "b"]})
    trial = pd.DataFrame({"minutes": [0.2, 0.4], "accuracy": [0.3, 0.35]})
    figure = figures.learning_curves({"one": short, "two": staged}, {"two": trial})
    assert_legible(figure)
    # The others carry texts for the pointer.
    lines = [line for line in figure.axes[0].lines if line.get_alpha() is None]
    one, no_ring, two, validation, ring = lines
    assert one.get_markevery() == 1
    assert one.get_xdata().tolist() == [1, 2] and two.get_xdata().tolist() == [0.5, 1, 2]
    assert validation.get_xydata().tolist() == [[0.2, 0.3], [0.4, 0.35]] and validation.get_linestyle() == "--"
    assert len(no_ring.get_xdata()) == 0 and ring.get_xydata().tolist() == [[1, 0.6]]


def test_learning_curves_of_a_hundred_epochs_have_few_markers():
    long = pd.DataFrame({"accuracy": np.linspace(0.5, 0.9, 128), "seconds": 4.0, "stage": "training"})
    figure = figures.learning_curves({"long": long}, {})
    assert len(figure.axes[0].lines[0].get_xdata()) / figure.axes[0].lines[0].get_markevery() <= 20


def test_reliability_has_a_panel_for_each_model(rng):
    probabilities = rng.dirichlet(np.ones(5), size=500)
    _, curve = evaluation.calibration(rng.integers(5, size=500), probabilities)
    figure = figures.reliability({f"a model with a long name {i}": curve for i in range(5)})
    assert_legible(figure)
    shown = [axes for axes in figure.axes if axes.axison]
    filled = curve[curve["images"] >= figures.FEWEST_IN_BIN]
    assert len(shown) == 5 and shown[0].lines[1].get_ydata().tolist() == filled["accuracy"].tolist()
    assert 0 < len(filled) < len(curve)


def test_twenty_models_are_told_apart_class_by_class(rng):
    table = pd.DataFrame(rng.random((10, 20)), index=list("abcdefghij"), columns=[f"model-{i}" for i in range(20)])
    figure = figures.f1_by_class(table)
    assert_legible(figure)
    looks = {(line.get_marker(), line.get_color()) for line in figure.axes[0].lines}
    assert len(looks) == 20


@pytest.mark.parametrize("across", [1, 8])
def test_a_gallery_has_its_text_below_each_image(across):
    images = [(np.zeros((28, 28, 1), np.uint8), "large_man-made_outdoor_things, taken for household")] * across
    figure = figures.gallery([("first", images), ("second", images[:1])], "images")
    figure.draw_without_rendering()
    for part in figure.subfigs:
        for axes in part.axes:
            for text in axes.texts:
                assert text.get_window_extent().y1 <= axes.get_window_extent().y0
                assert text.get_window_extent().y0 >= part.bbox.y0


def test_a_search_is_drawn_with_words_numbers_and_gaps():
    trials = pd.DataFrame({"minutes": [1.0, 2.0, 3.0], "score": [0.5, 0.4, 0.8], "refitted": [True, False, False]})
    trials = trials.assign(rate=["0.001", "0.1", "1"], activation=["relu", "silu", "relu"], width=["32", "", "64"])
    tried = dict.fromkeys(["rate", "activation", "width", "same"], ())  # the ranges are not known
    best_first = trials.assign(same="7").sort_values("score", ascending=False)  # as reports show them
    figure = search_figure.draw(best_first, tried)
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == [0.5, 0.5, 0.8]
    assert [label.get_text() for label in right.get_xticklabels()][:2] == ["rate", "activation"]
    heights = [line.get_ydata() for line in right.lines[:3]]
    assert heights[1][0] == pytest.approx(2 / 3)  # on a log scale, because its range is wide
    assert [line[1] for line in heights] == [0, 1, 0] and [line[3] for line in heights] == [0.5] * 3
    assert np.isnan(heights[1][2]) and heights[2][4] == 1
    assert np.argmax([line.get_linewidth() for line in right.lines[:3]]) == 0  # refitted, though not the most accurate
    assert {"relu", "silu", "0.001", "32", "64", "7"} <= {text.get_text() for text in right.texts}


def test_a_search_is_drawn_across_the_range_that_was_searched_and_chance_differences_are_small():
    trials = pd.DataFrame({"minutes": [1.0, 2.0], "score": [0.60, 0.61], "standard_error": 0.01, "refitted": False})
    trials = trials.assign(rate=["0.01", "0.1"], width=["32", "48"], batch=["512", "128"])
    searched = {"rate": (0.001, 1.0, "log"), "width": (16.0, 64.0, "linear"), "batch": ["128", "256", "512"]}
    axes = search_figure.draw(trials, searched).axes[1]
    one, other = (line.get_ydata() for line in axes.lines[:2])
    assert one == pytest.approx([1 / 3, 1 / 3, 1, 1 / 3]) and other == pytest.approx([2 / 3, 2 / 3, 0, 2 / 3])
    assert {"0.001", "1", "16", "64", "128", "256", "512"} <= {text.get_text() for text in axes.texts}


def test_pruned_trials_are_hollow_and_dashed_and_never_the_best():
    trials = pd.DataFrame({"minutes": [1.0, 1.5, 3.0], "score": [0.6, 0.9, 0.7], "refitted": False, "width": "8"})
    left, right = search_figure.draw(trials.assign(pruned=[False, True, False]), {"width": ()}).axes
    assert left.lines[0].get_ydata().tolist() == [0.6, 0.7]
    whole, hollow = left.lines[1:]
    assert whole.get_ydata().tolist() == [0.6, 0.7] and whole.get_markerfacecolor() != "none"
    assert hollow.get_ydata().tolist() == [0.9] and hollow.get_markerfacecolor() == "none"
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["best so far", "a trial", "pruned"]
    assert [line.get_linestyle() for line in right.lines[:3]] == ["-", "--", "-"]
    assert "dashed: pruned" in right.get_title()


def test_a_search_that_minimises_the_loss_falls_and_names_it():
    trials = pd.DataFrame({"minutes": [1.0, 2.0, 3.0], "score": [1.5, 2.0, 0.5], "refitted": False, "width": "8"})
    left, right = search_figure.draw(trials, {"width": ()}, OBJECTIVES["val_loss"]).axes
    assert left.lines[0].get_ydata().tolist() == [1.5, 1.5, 0.5] and left.get_ylabel() == "Validation loss"
    assert "%" not in left.yaxis.get_major_formatter()(0.5)
    assert right.get_xticklabels()[-1].get_text().split() == ["validation", "loss"]
    darkness = [-sum(line.get_color()[:3]) for line in right.lines[:3]]
    assert np.argmax(darkness) == 2


def test_a_choice_that_some_trials_lack_and_a_value_outside_the_range_are_drawn():
    trials = pd.DataFrame({"minutes": [1.0, 2.0], "score": [0.6, 0.7], "refitted": False})
    trials = trials.assign(batch=["128.0", ""], width=["32", "96"])
    searched = {"batch": ["128", "256"], "width": (32.0, 64.0, "linear")}
    one, other = (line.get_ydata() for line in search_figure.draw(trials, searched).axes[1].lines[:2])
    assert one.tolist() == [0, 0, 0] and np.isnan(other[0]) and other[1:].tolist() == [1, 1]


def layer_table(count, shortcuts=()):
    """A chain of `count` layers with shortcuts (from, to) in it."""
    names = [f"layer{i}" for i in range(count)]
    inputs = ["", *names[:-1]]
    for source, target in shortcuts:
        inputs[target] += f" {names[source]}"
    table = pd.DataFrame({"layer": names, "type": "Dense", "output_shape": "28 × 28 × 64", "parameters": "1024"})
    return table.assign(depends_on_colours="False", depends_on_classes="False", inputs=inputs)


def test_a_network_of_sixty_layers_is_drawn_whole_and_no_shortcut_is_cut():
    table = layer_table(60, [(start, start + 7) for start in range(2, 50, 9)])
    table.loc[0, "depends_on_colours"], table.loc[59, "depends_on_classes"] = "True", "True"
    figure = networks.draw(table)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    drawn = [text.get_text() for text in axes.texts]
    assert len(boxes) == 60 and set(drawn) >= set(table["layer"])
    assert drawn.count("Dense") == drawn.count("1,024") == drawn.count("28 × 28 × 64") == 60
    spots = {name: box.get_x() for name, box in zip(table["layer"], boxes, strict=True)}
    for row in table.itertuples():
        for source in row.inputs.split()[1:]:
            assert spots[source] == spots[row.layer]
    shades = [box.get_facecolor() for box in boxes]
    assert len(set(shades)) == 3 and shades[0] != shades[59]


def reach_of_shortcuts(figure):
    """How far to the right each shortcut runs, in the order of the layers they lead to."""
    figure.draw_without_rendering()
    arrows = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    return [arrow.get_path().get_extents().x1 for arrow in arrows if to_hex(arrow.get_edgecolor()) == BLUE.lower()]


def test_shortcuts_beside_the_same_layers_keep_apart():
    figure = networks.draw(layer_table(14, [(1, 6), (2, 4), (3, 5), (8, 12)]))
    inner, middle, outermost, alone = (round(x, 2) for x in reach_of_shortcuts(figure))
    assert inner < middle < outermost and alone == inner


def test_many_nested_shortcuts_stay_apart_and_within_the_drawing():
    figure = networks.draw(layer_table(20, [(row, 19 - row) for row in range(9)]))
    reach = reach_of_shortcuts(figure)
    assert len({round(x, 3) for x in reach}) == 9 and max(reach) < figure.axes[0].get_xlim()[1]


def test_a_network_of_hundreds_of_layers_in_residual_blocks_is_drawn():
    # As many layers in each block as in ResNet101: its shortcuts make columns end early, so the last ones get long.
    names = [f"l{row}" for row in range(347)]
    inputs = ["", *names[:-1]]
    for row in range(18, 347, 10):
        inputs[row] += f" {names[row - 10]}"
    table = layer_table(347).assign(layer=names, inputs=inputs)
    figure = networks.draw(table)
    assert sum(isinstance(patch, FancyBboxPatch) for patch in figure.axes[0].patches) == 347


def test_a_network_that_depends_on_nothing_is_described():
    assert networks.dependencies_in_words(layer_table(2)) == (
        "The network has 2 layers. Layers that depend on the number of colours: none. Layers that depend on the number of "
        "classes: none."
    )


def test_a_layer_whose_weights_are_not_trained_is_described_so():
    layers = pd.DataFrame(
        {
            "layer": ["stem", "scale", "conv", "flat", "dense"],
            "type": ["Conv2D", "LayerScale", "Conv2D", "Flatten", "Dense"],
        }
    )
    layers = layers.assign(parameters=[96, 8, 96, 0, 51], trainable=["False", "False", "True", "False", "True"])
    assert networks.with_roles(layers)["role"].tolist() == [
        "finds local patterns, fixed before training",
        "fixed before training",  # of a type whose role is not known
        "finds local patterns",
        "turns feature maps into one row of numbers",
        "gives a probability to each class",
    ]


def cost_tables(costs, accuracies, group="flat labels"):
    """Final models of these costs and accuracies, each with two trials, of which the second diverged."""
    finals = pd.DataFrame({"model": [f"{LONG_NAMES[i % 4]} {i}" for i in range(len(costs))], "group": group})
    finals = finals.assign(accuracy=accuracies, ms_per_image=costs, parameters=1e6 * np.array(costs))
    finals = finals.assign(low=finals["accuracy"] - 0.01, high=finals["accuracy"] + 0.01)
    finals["by_seed"] = [[one - 0.005, one + 0.005] for one in finals["accuracy"]]
    for cost in ("ms_per_image", "parameters"):
        finals[f"front_{cost}"] = pareto_front(finals[cost], finals["accuracy"])
    good = finals.assign(accuracy=finals["accuracy"] - 0.02)
    return finals, pd.concat([good, good, good, good.iloc[:1].assign(accuracy=0.1)], ignore_index=True)


@pytest.mark.parametrize("costs", [[1.0], [0.02, 0.9, 20.0], [1.0, 1.0, 1.1], [1e-3, 1e-2, 1.0, 1e3], [np.nan, 2.0]])
def test_accuracy_against_cost_is_legible_at_any_range(costs):
    finals, trials = cost_tables(costs, np.linspace(0.8, 0.9, len(costs)))
    figure = cost_figure.draw(finals, trials, parse_limits("ms_per_image<2,parameters<=1e6"), "toy")
    assert_legible(figure)
    left, right = figure.axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("Prediction time, ms per image", "Parameters")
    for axes, bound in ((left, 2.0), (right, 1e6)):
        assert axes.get_xscale() == "log" and [bound, bound] in [list(line.get_xdata()) for line in axes.lines]
        assert len([tick for tick in axes.get_xticks() if axes.get_xlim()[0] < tick < axes.get_xlim()[1]]) >= 2
    assert left.get_ylim()[0] > 0.5  # the diverged trial would squeeze the others
    seeds = [list(line.get_ydata()) for line in right.lines if line.get_marker() == "_"]
    assert all(pair in seeds for pair in finals.loc[finals["parameters"].notna(), "by_seed"])


def test_models_of_different_labels_have_panels_of_their_own():
    fine, fine_trials = cost_tables([1.0, 2.0], [0.7, 0.6], "fine labels")
    coarse, coarse_trials = cost_tables([1.0], [0.8], "coarse labels")
    coarse["model"] = coarse_trials["model"] = "coarse"
    figure = cost_figure.draw(pd.concat([fine, coarse]), pd.concat([fine_trials, coarse_trials]))
    assert_legible(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["fine labels", "", "coarse labels", ""]


def test_the_pareto_front_has_every_model_that_no_other_one_beats():
    costs, scores = pd.Series([1, 2, 3, 3, 4, 1, np.nan]), pd.Series([0.7, 0.8, 0.8, 0.9, 0.9, 0.7, 0.99])
    assert pareto_front(costs, scores).tolist() == [True, True, False, True, False, True, False]
