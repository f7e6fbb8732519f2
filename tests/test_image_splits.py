"""Test images are set aside by their content or group: nothing falls into two splits, and later images move none."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlproject.datasets.images.splits import assign, check_groups
from mlproject.errors import UserError

COLUMNS = ["label", "group", "split", "digest"]


def split(rows):
    """The splits of images given as (label, group, split, digest)."""
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    table.index = [f"image {row}" for row in range(len(table))]
    found = assign(table.drop(columns="digest"), table["digest"])
    assert list(found.index) == list(table.index)
    return found.to_numpy()


def many(count, label="cat", group=None):
    """Distinct images; `group` makes the name of an image's group from its number."""
    return [(label, group(number) if group else "", "", f"{label} {number}") for number in range(count)]


def test_about_a_fifth_are_test_images():
    for rows in (many(5000), many(5000, group=lambda number: f"patient {number}")):
        found = split(rows)
        assert set(found) == {"train", "test"}
        assert abs(np.mean(found == "test") - 0.2) < 4 * (0.2 * 0.8 / 5000) ** 0.5


# Few different names, so that groups and copies are frequent. Each class has images of its own that keep it in training, so
# that the exception for small classes doesn't matter.
images = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from(["", "", "g1", "g2", "g3", "g4"]), st.just(""), st.integers(0, 30)
    ),
    max_size=30,
).map(lambda rows: [(label, group, given, f"{label} {group} {number}") for label, group, given, number in rows])
ANCHORS = many(40, "a") + many(40, "b")


@settings(max_examples=30, deadline=None)
@given(images, images, st.randoms(use_true_random=False))
def test_new_images_move_none_in_whatever_order_they_come(first, later, random):
    before = dict(zip(ANCHORS + first, split(ANCHORS + first), strict=True))
    rows = ANCHORS + first + later
    random.shuffle(rows)
    after = dict(zip(rows, split(rows), strict=True))
    assert {row: after[row] for row in before} == before


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from(["", "g1", "g2", "g3", "g4"]), st.just(""), st.integers(0, 9)
        ),
        min_size=1,
        max_size=40,
    )
)
def test_groups_and_copies_stay_together_and_no_class_loses_its_training_images(rows):
    """A content may be in several groups here, which joins them."""
    rows = [(*row[:3], str(row[3])) for row in rows]
    table = pd.DataFrame(rows, columns=COLUMNS).assign(found=split(rows))
    assert (table.groupby("digest")["found"].nunique() == 1).all()
    assert (table[table["group"] != ""].groupby("group")["found"].nunique() == 1).all()
    assert set(table["label"]) == set(table["label"][table["found"] == "train"])


def test_a_copy_without_a_group_goes_where_its_group_goes():
    grouped = [("cat", f"patient {number % 50}", "", str(number)) for number in range(200)]
    copies = [("cat", "", "", digest) for *_, digest in grouped]
    found = split(grouped + copies)
    np.testing.assert_array_equal(found[:200], found[200:])
    np.testing.assert_array_equal(found[:200], split(grouped))


def test_the_group_with_the_largest_number_keeps_a_class_in_training():
    """Groups that are test images in a large class are a small class of their own."""
    large = many(200, group=lambda number: f"patient {number}")
    drawn = [row for row, found in zip(large, split(large), strict=True) if found == "test"]
    small = [("dog", *row[1:]) for row in drawn]
    found = split(small)
    assert sorted(found) == ["test"] * (len(drawn) - 1) + ["train"]
    (kept,) = (row for row, one in zip(small, found, strict=True) if one == "train")
    assert split(small[::-1])[small[::-1].index(kept)] == "train"
    assert split([kept]) == ["train"]
    assert split(many(1)) == ["train"]


def test_given_splits_are_kept():
    rows = [("cat", "", given, str(number)) for number, given in enumerate(["train", "validation", "test"] * 50)]
    assert list(split(rows)) == [row[2] for row in rows]


def test_missing_test_images_are_drawn_from_the_training_images():
    rows = [("cat", "", "train", str(number)) for number in range(300)]
    rows += [("cat", "", "validation", f"other {number}") for number in range(300)]
    found = split(rows)
    assert set(found[:300]) == {"train", "test"} and set(found[300:]) == {"validation"}
    np.testing.assert_array_equal(found[:300], split([(*row[:2], "", row[3]) for row in rows[:300]]))


def test_a_group_in_two_splits_is_refused_by_its_name():
    table = pd.DataFrame([("a", "p1", "train"), ("a", "p2", "test"), ("a", "", "test")], columns=COLUMNS[:3])
    check_groups(table)
    check_groups(table.assign(split=""))
    table.loc[3] = ("b", "p1", "validation")
    with pytest.raises(UserError, match="^group=p1 is in the splits train and validation") as caught:
        check_groups(table)
    assert "\n" not in str(caught.value)
