"""Scores and statistical tests, compared with hand calculations, scikit-learn and SciPy."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import log_loss, precision_recall_fscore_support

from mlproject import evaluation
from mlproject.errors import UserError


def softmax_of_noise(images: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=images)
    scores = random.normal(size=(images, classes))
    scores[np.arange(images), labels] += 1.5
    shares = np.exp(scores)
    return labels, shares / shares.sum(axis=1, keepdims=True)


def correctness(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    correct_a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    correct_b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return correct_a, correct_b


def test_a_summary_is_what_one_works_out_by_hand():
    metrics = evaluation.summary(np.array([0, 1, 1]), np.array([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25], [0.0, 0.0, 1.0]]))
    assert metrics["test_accuracy"] == pytest.approx(2 / 3)
    assert metrics["test_loss"] == pytest.approx((math.log(2) + math.log(2) + math.log(1e7)) / 3)
    assert "test_top5_accuracy" not in metrics


def test_summary_agrees_with_scikit_learn_and_with_sorting():
    labels, probabilities = softmax_of_noise(300, 20)
    metrics = evaluation.summary(labels, probabilities)
    five_likeliest = np.argsort(-probabilities, axis=1)[:, :5]
    assert metrics["test_loss"] == pytest.approx(log_loss(labels, probabilities, labels=range(20)))
    assert metrics["test_top5_accuracy"] == pytest.approx((five_likeliest == labels[:, None]).any(axis=1).mean())


def test_half_precision_hardly_changes_the_loss():
    labels, probabilities = softmax_of_noise(2000, 100)
    exact = evaluation.summary(labels, probabilities)
    stored = evaluation.summary(labels, probabilities.astype(np.float16))
    assert stored["test_loss"] == pytest.approx(exact["test_loss"], rel=1e-4)
    # A common factor of a row, here one that float16 rounds, is divided out.
    scaled = evaluation.summary(labels, (0.9 * probabilities).astype(np.float16))
    assert scaled["test_loss"] == pytest.approx(exact["test_loss"], rel=1e-4)


@pytest.mark.parametrize(("hits", "images"), [(750, 1000), (0, 40), (40, 40), (1, 1)])
def test_accuracy_interval_agrees_with_wilsons_formula(hits, images):
    z, share = 1.959964, hits / images
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    low, high = evaluation.accuracy_interval(np.arange(images) < hits)
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert 0 <= low <= share <= high <= 1


def test_scores_of_classes_are_what_one_works_out_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predictions = np.array([0, 0, 1, 1, 0, 1])
    table = evaluation.per_class(labels, predictions, ["cup", "bowl", "ray"], ["dishes", "dishes", "fish"])
    expected = pd.DataFrame(
        {
            "class": ["cup", "bowl", "ray"],
            "superclass": ["dishes", "dishes", "fish"],
            "precision": [2 / 3, 1 / 3, 0.0],
            "recall": [2 / 3, 1 / 2, 0.0],
            "f1": [2 / 3, 2 / 5, 0.0],
            "support": [3, 2, 1],
        }
    )
    pd.testing.assert_frame_equal(table.drop(columns=["recall_low", "recall_high"]), expected)


def test_by_sum_many_improbable_classes_can_outweigh_the_most_probable_one():
    probabilities = np.array([[0.4, 0.3, 0.3], [0.2, 0.7, 0.1]], dtype=np.float16)
    superclass_of = np.array([0, 1, 1])
    assert evaluation.aggregate_by_argmax(probabilities, superclass_of).tolist() == [0, 1]
    sums = evaluation.aggregate_by_sum(probabilities, superclass_of)
    assert sums.argmax(axis=1).tolist() == [1, 1]
    np.testing.assert_allclose(sums, [[0.4, 0.6], [0.2, 0.8]], atol=1e-3)


def test_a_hundred_classes_are_aggregated_into_twenty_superclasses():
    _, probabilities = softmax_of_noise(50, 100)
    superclass_of = np.random.default_rng(1).permutation(np.repeat(np.arange(20), 5))
    sums = evaluation.aggregate_by_sum(probabilities, superclass_of)
    by_pandas = pd.DataFrame(probabilities.T).groupby(superclass_of).sum().to_numpy().T
    np.testing.assert_allclose(sums, by_pandas)
    predicted = evaluation.aggregate_by_argmax(probabilities, superclass_of)
    assert predicted.tolist() == [superclass_of[row.argmax()] for row in probabilities]
    assert predicted.dtype == np.int64


def test_mcnemars_p_is_the_sum_of_both_tails():
    result = evaluation.paired_difference(*correctness(both=20, only_a=7, only_b=2, neither=5))
    tail = sum(math.comb(9, k) for k in (0, 1, 2)) / 2**9
    assert result["p"] == pytest.approx(2 * tail)
    assert result["difference"] == pytest.approx(5 / 34)


def test_swapping_the_models_flips_the_signs():
    correct_a, correct_b = correctness(both=60, only_a=15, only_b=6, neither=19)
    result = evaluation.paired_difference(correct_a, correct_b)
    swapped = evaluation.paired_difference(correct_b, correct_a)
    assert result["p"] == pytest.approx(swapped["p"])
    flipped = (-swapped["difference"], -swapped["high"], -swapped["low"])
    assert (result["difference"], result["low"], result["high"]) == pytest.approx(flipped)


def test_models_that_never_differ_have_a_difference_of_zero_with_an_interval():
    result = evaluation.paired_difference(*correctness(both=80, only_a=0, only_b=0, neither=20))
    assert result["difference"] == 0
    assert result["p"] == 1
    # Half an observation is added to each of the four cells, so the standard error is 1 / 102.
    assert (result["low"], result["high"]) == pytest.approx((-1.959964 / 102, 1.959964 / 102))


def test_the_paired_interval_covers_the_true_difference_19_times_in_20():
    random, shares = np.random.default_rng(0), (0.6, 0.12, 0.06, 0.22)
    tables = random.multinomial(60, shares, size=500)
    results = [evaluation.paired_difference(*correctness(*table)) for table in tables]
    covered = np.mean([result["low"] <= shares[1] - shares[2] <= result["high"] for result in results])
    assert 0.925 <= covered <= 0.98


GOOD = np.array([[0.5, 0.5], [0.1, 0.9]])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: evaluation.summary(np.array([0, 2]), GOOD), "labels: 2"),
        (lambda: evaluation.summary(np.array([0, -1]), GOOD), "labels: -1"),
        (lambda: evaluation.summary(np.array([0.0, 1.0]), GOOD), "labels: float64"),
        (lambda: evaluation.summary(np.array([0]), GOOD), "labels: 1 entries, but probabilities has 2"),
        (lambda: evaluation.summary(np.array([0, 1]), GOOD * [[1], [np.nan]]), "row 1 holds a negative value, NaN"),
        (lambda: evaluation.summary(np.array([0, 1]), GOOD - 0.2), "row 1 holds a negative value"),
        (lambda: evaluation.summary(np.array([0, 1]), GOOD * [[0], [1]]), "row 0 .* is all zero"),
        (lambda: evaluation.summary(np.array([], dtype=int), np.empty((0, 2))), r"shape \(0, 2\)"),
        (lambda: evaluation.accuracy_interval(np.array([], dtype=bool)), "correct"),
        (lambda: evaluation.accuracy_interval(np.array([0.5])), "correct: float64"),
        (lambda: evaluation.per_class(np.array([0]), np.array([3]), ["a", "b"]), "predictions: 3"),
        (
            lambda: evaluation.per_class(np.array([0]), np.array([1]), ["a", "b"], ["s"]),
            "superclasses: 1 entries, but class_names has 2",
        ),
        (lambda: evaluation.aggregate_by_argmax(GOOD, np.array([0, 0, 1])), "superclass_of"),
        (lambda: evaluation.aggregate_by_sum(GOOD, np.array([0])), "superclass_of"),
        (lambda: evaluation.aggregate_by_sum(GOOD, np.array([0, -1])), r"superclass_of: \[0, -1\]"),
        (
            lambda: evaluation.class_differences(*np.zeros((3, 2), int), np.array([1, -1])),
            r"superclass_of: \[1, -1\]; accepted: one index from 0 for each of 2 classes",
        ),
        (lambda: evaluation.paired_difference(np.array([True]), np.array([True, False])), "correct_a: 1"),
        (lambda: evaluation.holm_adjusted_mcnemar(np.array([0.5]), []), "correct_reference: float64"),
        (lambda: evaluation.holm_adjusted_mcnemar(np.array([True]), [np.array([0])]), r"correct_others\[0\]: int64"),
        (lambda: evaluation.holm_adjusted_mcnemar(np.array([True]), [np.array([True] * 2)]), r"correct_others\[0\]"),
    ],
)
def test_bad_input_is_named_in_one_line(call, named):
    with pytest.raises(UserError, match=named) as error:
        call()
    assert "accepted" in str(error.value)
    assert "\n" not in str(error.value)


def test_centroids_are_what_one_works_out_by_hand():
    features = np.array([[[0.0, 0.0]], [[2.0, 0.0]], [[5.0, 5.0]]])
    means = evaluation.centroids(features, np.array([0, 0, 2]), classes=3)
    np.testing.assert_array_equal(means, [[1, 0], [np.nan, np.nan], [5, 5]])
    with pytest.raises(UserError, match="accepted: class indices 0 to 1"):
        evaluation.centroids(features, np.array([0, 0, 2]), classes=2)


def test_averages_over_the_classes_are_what_one_works_out_by_hand():
    labels, predictions = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    averages = evaluation.averages(labels, predictions, 2)
    f1 = 2 * 2 / 5, 2 * 1 / 3
    assert averages["macro_precision"] == pytest.approx((1 + 1 / 2) / 2)
    assert averages["macro_recall"] == pytest.approx((2 / 3 + 1) / 2)
    assert averages["macro_f1"] == pytest.approx(sum(f1) / 2)
    assert averages["weighted_f1"] == pytest.approx((3 * f1[0] + f1[1]) / 4)
    assert averages["weighted_recall"] == pytest.approx(np.mean(labels == predictions))


def test_calibration_is_what_one_works_out_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.65, 0.35]])
    labels = np.array([0, 1, 1, 1])
    scores, curve = evaluation.calibration(labels, probabilities)
    # Bins of 1/15: .9 twice in (13/15, 14/15], .6 in (8/15, 9/15], .65 in (9/15, 10/15].
    assert curve["images"].tolist() == [1, 1, 2]
    assert curve["confidence"].tolist() == pytest.approx([0.6, 0.65, 0.9])
    assert curve["accuracy"].tolist() == pytest.approx([1, 0, 0.5])
    assert scores["ece"] == pytest.approx((0.4 + 0.65 + 2 * 0.4) / 4)
    assert scores["brier"] == pytest.approx(2 * (0.1**2 + 0.9**2 + 0.4**2 + 0.65**2) / 4)
    assert scores["nll"] == pytest.approx(log_loss(labels, probabilities))


def test_a_calibrated_model_has_almost_no_calibration_error():
    _, probabilities = softmax_of_noise(20_000, 5)
    random = np.random.default_rng(2).random((20_000, 1))
    labels = (random > probabilities.cumsum(axis=1)).sum(axis=1)
    scores, _ = evaluation.calibration(labels, probabilities)
    assert scores["ece"] < 0.015
    one_hot = np.eye(5)[labels]
    assert scores["brier"] == pytest.approx(np.mean(np.sum((probabilities - one_hot) ** 2, axis=1)))


def test_confused_pairs_are_counted_by_direction():
    labels, predictions = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 1, 0])
    pairs = evaluation.confused_pairs(labels, predictions, ["a", "b", "c"])
    assert pairs[["class", "taken_for", "images"]].to_numpy().tolist() == [["a", "b", 2], ["b", "a", 1], ["c", "a", 1]]
    assert pairs["share"].tolist() == pytest.approx([2 / 3, 1 / 2, 1])
    assert evaluation.confused_pairs(labels, labels, ["a", "b", "c"]).empty


def test_the_interval_of_a_paired_difference_agrees_with_scipys_bootstrap():
    correct_a, correct_b = correctness(both=1300, only_a=260, only_b=180, neither=260)
    result = evaluation.paired_difference(correct_a, correct_b)

    def difference(a, b, axis=-1):
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    theirs = stats.bootstrap(
        (correct_a.astype(float), correct_b.astype(float)),
        difference,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=3000,
        batch=200,
        rng=0,
    ).confidence_interval
    assert (result["low"], result["high"]) == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_mcnemar_against_no_other_models_gives_no_p_values():
    p = evaluation.holm_adjusted_mcnemar(np.array([True, False]), [])
    assert p.shape == (0,) and p.dtype == np.float64


def test_mcnemars_p_values_are_adjusted_over_all_others():
    reference = np.repeat([True, False], 20)
    others = [np.arange(40) < 20 + ahead for ahead in (6, 9, 0, 7)]  # 6, 9, 0 and 7 images more, none fewer
    # With n discordant images, all in favour of one model, the p-value is 2 / 2^n. Holm multiplies the smallest by 4.
    smallest, second, third = 4 * 2 / 2**9, 3 * 2 / 2**7, 2 * 2 / 2**6
    expected = [max(second, third), smallest, 1, second]
    assert evaluation.holm_adjusted_mcnemar(reference, others).tolist() == pytest.approx(expected)
    alone = evaluation.paired_difference(others[1], reference)["p"]
    assert evaluation.holm_adjusted_mcnemar(reference, others[1:2]).tolist() == [alone]


def test_adjusted_p_values_are_what_one_works_out_by_hand():
    p = [0.04, 0.01, 0.03]
    assert evaluation.holm(p).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert evaluation.benjamini_hochberg(p).tolist() == pytest.approx([0.04, 0.03, 0.04])
    assert evaluation.holm([0.6, 0.9]).tolist() == [1, 1]


def fine_and_coarse_predictions(images_per_class: int = 50):
    """Make predictions of 6 fine classes in 2 superclasses; half of class 0 is predicted as its sibling, class 1."""
    random = np.random.default_rng(0)
    superclass_of = np.repeat([0, 1], 3)
    labels = np.repeat(np.arange(6), images_per_class)
    fine = np.where(random.random(len(labels)) < 0.9, labels, random.integers(6, size=len(labels)))
    fine[: images_per_class // 2] = 1
    coarse = np.where(random.random(len(labels)) < 0.9, superclass_of[labels], 1 - superclass_of[labels])
    return labels, fine, coarse, superclass_of


def test_differences_of_scores_agree_with_scikit_learn():
    labels, fine, coarse, superclass_of = fine_and_coarse_predictions()
    table = evaluation.class_differences(labels, fine, coarse, superclass_of)
    ours = evaluation.per_class(labels, fine, list("abcdef"))
    theirs = evaluation.per_class(superclass_of[labels], coarse, ["x", "y"]).iloc[superclass_of].reset_index()
    for score in ("precision", "recall", "f1"):
        assert table[f"{score}_difference"].to_numpy() == pytest.approx((ours[score] - theirs[score]).to_numpy())
        assert (table[f"{score}_low"] < table[f"{score}_difference"]).all()
        assert (table[f"{score}_difference"] < table[f"{score}_high"]).all()
    assert table["p_adjusted"].idxmin() == 0 and table["p_adjusted"][0] < 0.001 and table["f1_high"][0] < 0


def test_the_interval_of_a_difference_in_f1_agrees_with_scipys_bootstrap():
    labels, fine, coarse, superclass_of = fine_and_coarse_predictions()
    truth = superclass_of[labels]

    def f1_difference(rows):
        fine_hits, coarse_hits = (labels[rows] == 2) & (fine[rows] == 2), (truth[rows] == 0) & (coarse[rows] == 0)
        of_class = 2 * fine_hits.sum() / ((labels[rows] == 2).sum() + (fine[rows] == 2).sum())
        return of_class - 2 * coarse_hits.sum() / ((truth[rows] == 0).sum() + (coarse[rows] == 0).sum())

    theirs = stats.bootstrap(
        (np.arange(len(labels)),), f1_difference, vectorized=False, method="percentile", n_resamples=2000, rng=1
    )
    ours = evaluation.class_differences(labels, fine, coarse, superclass_of).loc[2]
    interval = theirs.confidence_interval
    assert (ours["f1_low"], ours["f1_high"]) == pytest.approx((interval.low, interval.high), abs=0.012)
    p = 2 * stats.norm.sf(abs(ours["f1_difference"]) / theirs.standard_error)
    assert ours["p"] == pytest.approx(p, abs=0.05)


def test_scores_that_never_differ_are_not_significantly_different():
    labels, superclass_of = np.repeat(np.arange(4), 5), np.array([0, 0, 1, 1])
    table = evaluation.class_differences(labels, labels, superclass_of[labels], superclass_of)
    assert (table["f1_difference"] == 0).all() and (table["p_adjusted"] == 1).all()


@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_scores_with_equal_weights_agree_with_scikit_learn(images, classes, seed):
    rng = np.random.default_rng(seed)
    labels, probabilities = rng.integers(classes, size=images), rng.dirichlet(np.ones(classes), images)
    predictions, present = probabilities.argmax(axis=1), np.unique(labels)
    scores = evaluation.validation_scores(labels, probabilities)
    recall, f1 = precision_recall_fscore_support(labels, predictions, labels=present, average="macro", zero_division=0)[
        1:3
    ]
    assert scores["val_accuracy"] == pytest.approx(np.mean(labels == predictions), abs=1e-7)
    assert (scores["val_balanced_accuracy"], scores["val_macro_f1"]) == pytest.approx((recall, f1))
    assert scores["val_loss"] == pytest.approx(log_loss(labels, probabilities, labels=range(classes)))
    summary = evaluation.summary(labels, probabilities)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss"):
        assert summary[f"test_{name}"] == pytest.approx(scores[f"val_{name}"], abs=1e-7)
    averages = evaluation.averages(labels, predictions, classes)
    assert (averages["macro_recall"], averages["macro_f1"]) == pytest.approx((recall, f1))
    table = evaluation.per_class(labels, predictions, [str(label) for label in range(classes)])
    assert table[["recall", "f1"]].mean().tolist() == pytest.approx([recall, f1])


SCORE = {
    "val_balanced_accuracy": evaluation.balanced_accuracy,
    "val_macro_f1": evaluation.macro_f1,
    "val_loss": lambda labels, losses: float(np.mean(losses)),
}


@pytest.mark.parametrize("objective", SCORE)
def test_a_permutation_test_agrees_with_all_exchanges(objective, rng):
    labels = rng.integers(3, size=9)
    a, b = (rng.random((2, 9)) if objective == "val_loss" else rng.integers(3, size=(2, 9))).tolist()
    a, b = np.array(a), np.array(b)
    score = SCORE[objective]

    def difference(exchanged):
        return score(labels, np.where(exchanged, b, a)) - score(labels, np.where(exchanged, a, b))

    observed = abs(difference(np.zeros(9, bool)))
    exact = np.mean([abs(difference(np.array(one))) >= observed - 1e-12 for one in product((False, True), repeat=9)])
    p = evaluation.permutation_test(objective, labels, a, b)
    assert p == pytest.approx(exact, abs=0.02) and p == evaluation.permutation_test(objective, labels, a, b)
    assert evaluation.permutation_test(objective, labels, b, a) == pytest.approx(p, abs=1e-9)
    assert evaluation.permutation_test(objective, labels, a, a) == 1


@pytest.mark.parametrize("objective", SCORE)
def test_a_permutation_test_is_valid_where_models_are_equally_good_and_finds_a_better_one(objective):
    p_values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels = rng.choice(3, 120, p=(0.7, 0.2, 0.1))
        noise = rng.dirichlet(np.ones(3), (2, 120)) + 0.5 * np.eye(3)[labels]
        losses = [evaluation.image_losses(labels, one) for one in noise]
        outputs = losses if objective == "val_loss" else noise.argmax(axis=2)
        p_values.append(evaluation.permutation_test(objective, labels, *outputs))
    assert 0 < np.mean(np.array(p_values) < 0.2) < 0.4
    better = np.zeros(120) if objective == "val_loss" else labels
    assert evaluation.permutation_test(objective, labels, better, outputs[0]) == pytest.approx(1e-4, abs=1e-5)


def test_the_standard_error_of_a_score_is_that_of_its_formula(rng):
    labels, losses = np.repeat([0, 1], (80, 20)), rng.random(100)
    predictions = np.where(np.arange(100) % 4, labels, 1 - labels)
    errors = {
        name: evaluation.score_standard_error(name, labels, predictions, losses)
        for name in ("val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_loss")
    }
    assert errors["val_accuracy"] == pytest.approx((0.75 * 0.25 / 100) ** 0.5)
    assert errors["val_balanced_accuracy"] == pytest.approx((0.75 * 0.25 / 80 + 0.75 * 0.25 / 20) ** 0.5 / 2)
    assert errors["val_loss"] == pytest.approx(losses.std() / 10) and np.isnan(errors["val_macro_f1"])


def test_a_class_without_images_has_no_scores_and_few_images_give_a_wide_interval():
    labels, predictions = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 2, 1])
    table = evaluation.per_class(labels, predictions, ["a", "b", "c"]).set_index("class")
    assert table.loc["c", ["precision", "recall", "f1", "recall_low", "recall_high"]].isna().all()
    assert table.loc["c", "support"] == 0 and table.loc["b", "recall"] == 1
    assert table["superclass"].tolist() == [""] * 3
    expected = stats.binomtest(3, 4).proportion_ci(method="wilson")
    assert table.loc["a", ["recall_low", "recall_high"]].tolist() == pytest.approx(list(expected))
    assert table.loc["b", "recall_low"] < 0.25
    averages = evaluation.averages(labels, predictions, 3)
    assert averages["macro_recall"] == pytest.approx((0.75 + 1) / 2)
