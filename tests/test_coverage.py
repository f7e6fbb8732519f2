"""Intervals over images and seeds: whether they hold the truth of invented worlds, and what they are by hand."""

import runpy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mlproject import evaluation
from mlproject.errors import UserError

coverage = runpy.run_path(str(Path(__file__).parents[1] / "bench" / "interval_coverage.py"))["coverage"]


@pytest.mark.parametrize(
    ("images", "spread", "worlds", "with_one_seed"),
    [(10_000, 0.002, 600, 0.93), (10_000, 0.005, 600, 0.77), (300, 0.005, 1000, 0.97)],
)
def test_intervals_over_images_and_seeds_hold_the_truth_19_times_in_20(images, spread, worlds, with_one_seed):
    """With the images alone, as with one seed, they miss it too often wherever the seeds matter."""
    for what, (one, two, *more) in coverage(worlds, images, spread, (0.9, 0.895), (1, 2, 3, 5)).items():
        # The standard error is at most 1 point.
        assert one < with_one_seed, what
        assert 0.90 < two < 0.985 and min(more) > 0.925 and max(more) < 0.985, what


def two_way_table(seeds, images, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((seeds, images)) < np.clip(rng.normal(0.8, 0.3, images) + rng.normal(0, 0.1, (seeds, 1)), 0, 1)


def test_the_variance_of_an_accuracy_is_that_of_the_mean_squares():
    correct = two_way_table(4, 60)
    seeds, images = correct.shape
    mean, of_seed, of_image = correct.mean(), correct.mean(axis=1, keepdims=True), correct.mean(axis=0, keepdims=True)
    ms_seeds = images * np.sum((of_seed - mean) ** 2) / (seeds - 1)
    ms_images = seeds * np.sum((of_image - mean) ** 2) / (images - 1)
    ms_rest = np.sum((correct - of_seed - of_image + mean) ** 2) / (seeds - 1) / (images - 1)
    variance = (ms_seeds + ms_images - ms_rest) / (seeds * images)
    df = (seeds * images * variance) ** 2 / (ms_seeds**2 / (seeds - 1) + ms_images**2 / (images - 1))
    found = evaluation.crossed_accuracy(correct)
    assert ms_seeds > ms_rest and found.df == pytest.approx(df)
    assert found.seed_std == pytest.approx(np.sqrt((ms_seeds - ms_rest) / images))
    for end in (found.low, found.high):  # the score interval's ends are where the t statistic has its critical value
        effective = mean * (1 - mean) / variance
        assert abs(mean - end) == pytest.approx(stats.t.ppf(0.975, df) * np.sqrt(end * (1 - end) / effective))


def test_a_difference_has_the_seeds_of_both_models_in_its_interval():
    a, b = two_way_table(3, 200), two_way_table(5, 200, seed=1)
    both = evaluation.crossed_difference(a, b)
    reverse = evaluation.crossed_difference(b, a)
    assert both.difference == pytest.approx(a.mean() - b.mean()) and both.seeds_covered
    assert (both.low, both.high, both.p) == pytest.approx((-reverse.high, -reverse.low, reverse.p))
    assert (both.p < 0.05) == (not both.low < 0 < both.high)
    alone = evaluation.crossed_difference(a[:1], b)
    assert not alone.seeds_covered and alone.high - alone.low < both.high - both.low and np.isnan(alone.seed_std)


def test_one_seed_has_the_interval_of_its_images_and_equal_seeds_add_nothing():
    one = two_way_table(1, 500)
    found = evaluation.crossed_accuracy(one)
    assert (found.low, found.high) == evaluation.accuracy_interval(one[0]) and np.isnan(found.seed_std)
    again = evaluation.crossed_accuracy(np.repeat(one, 3, axis=0))
    assert again.seed_std < 1e-9 and (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-3)


@pytest.mark.parametrize("seeds", [1, 3])
def test_networks_without_mistakes_have_finite_results(seeds):
    for images in range(1, 41):  # rounding differs
        perfect = np.ones((seeds, images), bool)
        found = evaluation.crossed_accuracy(perfect)
        assert 0 < found.low < found.high == 1
        without = evaluation.crossed_accuracy(~perfect)
        assert 0 == without.low < without.high < 1
    assert evaluation.crossed_difference(perfect, perfect).p == 1


def test_models_that_agree_on_few_images_may_differ_on_others():
    (covered,) = coverage(1000, 20, 0.002, (0.98, 0.95), (3,))["difference"]
    assert covered > 0.95  # most of these pairs agree on almost all of the 20 images
    perfect = np.ones((3, 40), bool)
    alike, one_image = evaluation.crossed_difference(perfect, perfect), (np.arange(40) == 0).astype(float)
    low, high = stats.ttest_1samp(one_image, 0).confidence_interval()
    assert (alike.low, alike.high) == pytest.approx(((low - high) / 2, (high - low) / 2)) and alike.p == 1
    three = perfect[:, :3]
    assert evaluation.crossed_difference(three, ~three).p > 0.05  # in a sign test it is 1/4


def test_no_table_is_so_small_that_an_interval_is_no_number():
    for seeds, images in ((2, 3), (3, 3)):
        for bits in product((False, True), repeat=seeds * images):
            correct = np.array(bits).reshape(seeds, images)
            found, both = evaluation.crossed_accuracy(correct), evaluation.crossed_difference(correct, ~correct[::-1])
            assert 0 <= found.low <= found.mean <= found.high <= 1
            assert -1 <= both.low <= both.difference <= both.high <= 1 and 0 < both.p <= 1


@pytest.mark.parametrize("bad", [np.ones(3, bool), np.ones((2, 3)), np.ones((0, 3), bool)])
def test_bad_tables_are_refused_in_one_line(bad):
    with pytest.raises(UserError, match=r"^correct: .*accepted: \(seeds, images\), one bool for each of both$"):
        evaluation.crossed_accuracy(bad)
    with pytest.raises(UserError, match="^correct_a: 3 entries, but correct_b has 4"):
        evaluation.crossed_difference(np.ones((2, 3), bool), np.ones((2, 4), bool))


def test_the_seeds_that_are_needed_find_the_difference_four_times_in_five():
    """In worlds of normal variables with known variances, also when the seeds are few."""
    difference, seed_std, images, of_images, of_interaction = 0.01, 0.004, 10_000, 0.03, 0.08
    needed = evaluation.sample_size_to_settle(difference, seed_std, images, of_images, of_interaction).seeds
    rng, worlds = np.random.default_rng(0), 20_000
    found = []
    for seeds in (needed - 1, needed):
        of_seed = rng.normal(0, np.sqrt(seed_std**2 + of_interaction / 2 / images), (2, worlds, seeds))
        seen = difference + rng.normal(0, np.sqrt(of_images / images), worlds) + np.diff(of_seed.mean(-1), axis=0)[0]
        of_seeds = of_seed.var(axis=-1, ddof=1) / seeds
        variance = of_images / images + of_seeds.sum(axis=0)
        df = variance**2 / np.sum(of_seeds**2 / (seeds - 1), axis=0)
        found.append(np.mean(np.abs(seen) > stats.t.ppf(0.975, df) * np.sqrt(variance)))
    assert found[0] < 0.8 < found[1] + 0.02 and needed > 2


def test_images_that_are_too_few_are_told_with_the_number_needed():
    assert evaluation.sample_size_to_settle(0.002, 0.001, 1000, 0.1).seeds is None
    images = evaluation.sample_size_to_settle(0.002, 0.001, 1000, 0.1).images
    assert images == pytest.approx(0.1 * ((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / 0.002) ** 2, abs=1)
    assert evaluation.sample_size_to_settle(0.002, 0.001, images + 1, 0.1).seeds is not None
    assert evaluation.sample_size_to_settle(0.0, 0.001, 1000, 0.1) == (None, None)
    assert evaluation.sample_size_to_settle(0.1, 0.0, 1000, 0.0).seeds == 2
