"""The fit: plans, stages, schedule, augmentation, divergence, deadline."""

import dataclasses
import io
import math
import re
import signal
import time

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import TINY, tiny_staged_recipe
from tqdm import tqdm

from mlproject.errors import UserError
from mlproject.layers import conv_unit, max_and_mean, probabilities, raw_images, standardised
from mlproject.networks.cost import Throughput, count_multiply_adds, estimate_memory, nominal_speeds
from mlproject.recipe import Recipe, Stage
from mlproject.training import checkpoint as checkpoints
from mlproject.training import fit as fits
from mlproject.training import monitor
from mlproject.training.checkpoint import Checkpoint
from mlproject.training.fit import fit
from mlproject.training.monitor import DivergedError, FitHooks
from mlproject.training.schedule import StageSchedule, describe_schedule, plan_stages, shorten
from mlproject.training.watchdog import StalledError, Watchdog

TWO_STAGES = Recipe((Stage("first", 0.1, share=0.25, max_epochs=2), Stage("second", 0.1, share=0.75)), batch_size=10)
TWICE = (Stage("head", 0.1), Stage("head", 0.1))


def run_fit(task, schedule, **hooks):
    model, recipe = task.network(task.experiment.best)
    before = [weight.copy() for weight in model.get_weights()]
    result = fit(model, recipe, schedule, task.fit_data(task.train, task.validation), FitHooks(**hooks))
    return model, before, result


@pytest.mark.parametrize(
    ("stage", "recipe", "said"),
    [
        ({"learning_rate": -1e-3}, {}, "learning_rate=-0.001 of a stage; accepted: a number above 0"),
        ({"share": 0}, {}, "share=0 of a stage; accepted: a number above 0"),
        ({"max_epochs": 0}, {}, "max_epochs=0 of a stage; accepted: a whole number from 1"),
        ({}, {"label_smoothing": 1.5}, "label_smoothing=1.5 of a recipe; accepted: a number from 0 to below 1"),
        ({}, {"warmup": 2}, "warmup=2 of a recipe; accepted: a number from 0 to below 1"),
        ({}, {"weight_decay": -0.1}, "weight_decay=-0.1 of a recipe; accepted: a number from 0"),
        ({}, {"random_translation": -1}, "random_translation=-1 of a recipe; accepted: a whole number from 0"),
        ({}, {"optimizer": "adam"}, "optimizer='adam' of a recipe; accepted: sgd, adamw, muon"),
        ({}, {"class_weights": "equal"}, "class_weights='equal' of a recipe; accepted: none, balanced"),
        ({}, {"stages": ()}, "stages=() of a recipe; accepted: at least one Stage"),
        ({}, {"stages": TWICE}, "stages named head, head; accepted: a name of its own for each stage"),
    ],
)
def test_a_recipe_that_means_nothing_is_refused_with_what_is_accepted(stage, recipe, said):
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        one = Stage(**{"name": "training", "learning_rate": 1e-3} | stage)
        Recipe(**{"stages": (one,), "batch_size": 64} | recipe)


def test_lengths_fill_the_seconds_and_hand_on_what_a_stage_leaves_over():
    plan = plan_stages(TWO_STAGES, {"first": 100.0, "second": 50.0}, seconds=100, images=500)
    assert plan["first"] == StageSchedule(2, 50)  # 25 s would be 5 epochs; capped at 2, which take 10 s
    assert plan["second"] == StageSchedule(9, 50)  # the other 90 s at 50 images/s


def test_lengths_give_an_epoch_shorter_than_a_pass_when_seconds_are_few():
    plan = plan_stages(TWO_STAGES, {"first": 100.0, "second": 100.0}, seconds=4, images=10_000)
    assert plan["first"] == StageSchedule(1, 10)
    assert plan["second"] == StageSchedule(1, 30)


@pytest.mark.parametrize("images", [100, 300, 720])
def test_few_images_are_not_seen_more_often_than_max_epochs(images):
    """An execution of several steps is more than a pass over them."""
    recipe = Recipe((Stage("training", 0.1, max_epochs=200),), batch_size=256, steps_per_execution=10)
    (plan,) = plan_stages(recipe, {"training": 1e6}, seconds=1000, images=images).values()
    assert 180 <= plan.total_steps * min(256, images) / images <= 220
    assert plan.steps % 10 == 0


def test_a_stage_that_freezes_what_an_earlier_one_trains_is_refused(make_task):
    """Its activations are computed before the first stage."""
    stages = (Stage("all", 1e-3, max_epochs=1), Stage("head", 1e-3, frozen_through="high", max_epochs=1))
    task = make_task(dataclasses.replace(TINY, recipe=lambda hp: Recipe(stages, 64, "adamw")))
    schedule = dict.fromkeys(("all", "head"), StageSchedule(1, 1))
    with pytest.raises(
        UserError, match="frozen_through='high' of the stage 'head': an earlier stage trains layers up to"
    ):
        fit(*task.network(TINY.best), schedule, task.fit_data(task.train, None))


def test_a_stage_may_not_have_the_name_of_the_speed_of_prediction():
    with pytest.raises(UserError, match="name='prediction' of a stage; accepted: another name"):
        Stage("prediction", 1e-3)


def test_a_stage_that_freezes_all_weights_is_refused(make_task):
    def build(hp, spec):
        images = keras.Input(spec.shape, dtype="uint8")
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
        scores = keras.layers.Dense(spec.classes, name="scores")(x)
        return keras.Model(images, keras.layers.Softmax()(scores))

    recipe = Recipe((Stage("head", 1e-3, frozen_through="scores"),), 64)
    task = make_task(dataclasses.replace(TINY, build=build, recipe=lambda hp: recipe))
    with pytest.raises(UserError, match="frozen_through='scores' of the stage 'head' leaves no weights to train"):
        run_fit(task, {"head": StageSchedule(1, 1)})


def test_a_stage_that_only_some_values_declare_has_the_speed_of_the_most_similar_one(make_task):
    task = make_task(dataclasses.replace(TINY, recipe=tiny_staged_recipe))
    model, recipe = task.network(TINY.best)
    work = count_multiply_adds(model, recipe)
    known = Throughput({"feature-extraction": 100.0}, {"feature-extraction": work["feature-extraction"]}, False, 0.0)
    speeds = known.speeds_of(model, recipe)
    assert speeds["feature-extraction"] == 100 and 0 < speeds["fine-tuning"] < 100


def test_lengths_without_any_time_still_train_a_step():
    plan = plan_stages(TWO_STAGES, {"first": 1.0, "second": 1.0}, seconds=-3, images=100)
    assert plan == {"first": StageSchedule(1, 1), "second": StageSchedule(1, 1)}


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (StageSchedule(1, 20), "training 20 batches (0.5 passes over the images)"),
        (StageSchedule(1, 2), "training 2 batches (0.05 passes over the images)"),
        (StageSchedule(2, 50), "training 2 epochs of 50 batches (2.5 passes over the images)"),
        (StageSchedule(1, 40), "training 1 epoch of 40 batches"),
        (StageSchedule(8, 39), "training 8 epochs of 39 batches"),  # the rest of the images is no whole batch
    ],
)
def test_what_is_no_pass_over_the_images_is_not_called_an_epoch_alone(length, said):
    assert describe_schedule({"training": length}, batch_size=25, images=1000) == said


def test_a_shortened_plan_passes_a_share_of_the_images_in_batches_of_half_the_size():
    plan = {"first": StageSchedule(1, 50), "second": StageSchedule(10, 100)}
    recipe, small = shorten(TWO_STAGES, plan, 0.2, 2)
    assert recipe.batch_size == 5 and TWO_STAGES.batch_size == 10
    assert small == {"first": StageSchedule(1, 20), "second": StageSchedule(2, 200)}
    # Four epochs in all are two in each stage.
    assert shorten(TWO_STAGES, plan, 0.2, 4)[1]["first"] == StageSchedule(2, 10)


def test_with_a_quarter_of_the_steps_the_first_stage_has_twice_the_rate():
    plan = {"first": StageSchedule(1, 48), "second": StageSchedule(10, 100)}
    eighth, small = shorten(TWO_STAGES, plan, 1 / 8, 1)
    assert small == {"first": StageSchedule(1, 12), "second": StageSchedule(1, 250)}
    assert [stage.learning_rate for stage in eighth.stages] == pytest.approx([0.2, 0.1])


def test_plans_are_of_whole_executions_and_the_rate_ends_where_the_steps_do(make_task):
    def recipe(hp):
        return Recipe((Stage("training", 2e-3),), 64, "adamw", steps_per_execution=10)

    task = make_task(dataclasses.replace(TINY, recipe=recipe))
    plan = plan_stages(task.network(TINY.best)[1], {"training": 64.0}, seconds=68, images=2000)
    assert plan == {"training": StageSchedule(2, 30)}  # Keras would make 40 steps of 34
    assert shorten(recipe(None), plan, 0.2, 2)[1] == {"training": StageSchedule(2, 10)}  # of 12 steps
    _, _, result = run_fit(task, plan)
    # The last row shows the learning rate of the step that would follow.
    assert list(result.history["learning_rate"]) == pytest.approx([2e-3 * 0.5 / 0.8, 0], abs=3e-5)


def test_fit_learns_and_reports_every_epoch(make_task):
    seen = []
    _, _, result = run_fit(
        make_task(), {"training": StageSchedule(3, 40)}, on_epoch=lambda epoch, row: seen.append(epoch)
    )
    assert seen == [1, 2, 3] == list(result.history["epoch"])
    assert result.history["val_accuracy"].iloc[-1] > 0.5  # chance is 0.1
    assert result.images_per_second["training"] > 0 and not result.truncated


def test_stages_train_only_what_lies_behind_their_cut(make_task):
    task = make_task(dataclasses.replace(TINY, recipe=tiny_staged_recipe))
    model, before, result = run_fit(
        task, {"feature-extraction": StageSchedule(2, 30), "fine-tuning": StageSchedule(2, 30)}
    )
    changed = [not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True)]
    assert changed == [False, False, True, True, True, True]  # "low" stays; "high" and the head learn
    assert list(result.history["stage"]) == ["feature-extraction"] * 2 + ["fine-tuning"] * 2
    assert list(result.history["epoch"]) == [1, 2, 3, 4]
    assert set(result.images_per_second) == {"feature-extraction", "fine-tuning"}


def with_a_model_within(hp, spec):
    images, inner = keras.Input(spec.shape, dtype="uint8"), keras.Input(spec.shape)
    base = keras.Model(inner, keras.layers.Conv2D(4, 3, strides=4)(inner), name="base")
    x = keras.layers.Flatten()(base(keras.layers.Rescaling(1 / 255)(images)))
    return keras.Model(images, keras.layers.Dense(spec.classes, activation="softmax")(x))


def layer_by_layer(hp, spec):
    """A Sequential calls all of its layers again when one is added."""
    model = keras.Sequential()
    model.add(keras.Input(spec.shape, dtype="uint8"))
    model.add(keras.layers.Rescaling(1 / 255))
    model.add(keras.layers.Conv2D(4, 3, strides=4, name="base"))
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(spec.classes, activation="softmax"))
    return model


@pytest.mark.parametrize("build", [with_a_model_within, layer_by_layer])
def test_a_layer_can_be_frozen_however_the_network_is_made(make_task, build):
    recipe = Recipe((Stage("head", 1e-2, frozen_through="base"),), 64, "adamw")
    task = make_task(dataclasses.replace(TINY, build=build, recipe=lambda hp: recipe))
    model, before, _ = run_fit(task, {"head": StageSchedule(1, 10)})
    changed = [not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True)]
    assert changed == [False, False, True, True]


def test_balanced_class_weights_change_the_gradient_as_their_formula_says(make_task, fashion):
    """All weights begin at 0, so all classes are equally probable, and a bias moves by the weight of its class's images."""

    def build(hp, spec):
        images = keras.Input(spec.shape, dtype="uint8")
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
        dense = keras.layers.Dense(spec.classes, activation="softmax", kernel_initializer="zeros", name="last")
        return keras.Model(images, dense(x))

    def biases(class_weights, data, rows):
        recipe = Recipe((Stage("training", 0.1),), len(rows), warmup=0.0, class_weights=class_weights)
        task = make_task(dataclasses.replace(TINY, build=build, recipe=lambda hp: recipe), data)
        model, recipe = task.network(TINY.best)
        fit(model, recipe, {"training": StageSchedule(1, 1)}, task.fit_data(rows, None))
        return model.get_layer("last").bias.numpy()

    labels = fashion.train_labels
    of_class = [np.flatnonzero(labels == label) for label in range(10)]
    equal, unequal = (np.concatenate([rows[:n] for rows, n in zip(of_class, sizes, strict=True)]) for sizes in (
        [20] * 10, [60, 2, 0, *[10] * 7]))  # fmt: skip
    shares = np.bincount(labels[unequal], minlength=10) / len(unequal)
    plain, balanced = biases("none", fashion, unequal), biases("balanced", fashion, unequal)
    np.testing.assert_allclose(plain / plain[0], (shares - 0.1) / (shares[0] - 0.1), atol=1e-4)
    # Each of the nine classes with images has a ninth of the weight.
    expected = np.where(shares > 0, 1 / 9, 0) - 0.1
    np.testing.assert_allclose(balanced / plain[0], expected / (shares[0] - 0.1), atol=1e-4)
    np.testing.assert_allclose(biases("balanced", fashion, equal), biases("none", fashion, equal), atol=1e-7)


def test_a_network_trained_on_growing_images_predicts_full_ones(make_task):
    def build(hp, spec):
        images = raw_images(spec)
        x = conv_unit(standardised(images, spec), 8, "relu", "unit", pool=True)
        return keras.Model(images, probabilities(max_and_mean(x, "head"), spec))

    recipe = Recipe((Stage("training", 0.2),), 64, flip=True, progressive_resizing=((0.3, 14), (0.6, 20)))
    task = make_task(dataclasses.replace(TINY, build=build, recipe=lambda hp: recipe))
    model, before, result = run_fit(task, {"training": StageSchedule(3, 120)})
    assert model.input.shape == (None, 28, 28, 1)
    assert all(not np.array_equal(old, new) for old, new in zip(before[3:], model.get_weights()[3:], strict=True))
    assert result.history["val_loss"].iloc[-1] < 0.95 * math.log(10)  # the loss of equal probabilities
    right = model.predict(task.data.train_images[task.validation], verbose=0).argmax(axis=1)
    accuracy = np.mean(right == task.data.train_labels[task.validation])
    assert accuracy == pytest.approx(result.history["val_accuracy"].iloc[-1], abs=0.01)


@pytest.mark.parametrize("interrupted_after", [pytest.param(1, marks=pytest.mark.slow), 2, 3])
def test_an_interrupted_fit_comes_to_the_same_weights(interrupted_after, make_task, tmp_path, monkeypatch):
    def recipe(hp):
        first, second = tiny_staged_recipe(hp).stages
        return Recipe(
            (first, dataclasses.replace(second, frozen_through=None)), 64, "muon", random_translation=1, flip=True
        )

    def interrupt(epoch, row):
        if epoch == interrupted_after + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", math.inf)  # a checkpoint after every epoch, however short
    task = make_task(dataclasses.replace(TINY, recipe=recipe))
    plan = {"feature-extraction": StageSchedule(2, 4), "fine-tuning": StageSchedule(2, 4)}
    whole, _, expected = run_fit(task, plan)
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz")
    with pytest.raises(KeyboardInterrupt):
        run_fit(task, plan, checkpoint=checkpoint, on_epoch=interrupt)
    seen = []
    resumed, _, result = run_fit(task, plan, checkpoint=checkpoint, on_epoch=lambda epoch, row: seen.append(epoch))
    assert seen == list(range(interrupted_after + 1, 5))
    pd.testing.assert_frame_equal(result.history.drop(columns="seconds"), expected.history.drop(columns="seconds"))
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True))
    assert result.images_per_second.keys() == expected.images_per_second.keys()


def test_a_fit_that_is_interrupted_before_its_first_checkpoint_starts_from_its_beginning(make_task, tmp_path):
    def interrupt(epoch, row):  # comes before the checkpoint of its epoch
        raise KeyboardInterrupt

    task, plan, checkpoint = make_task(), {"training": StageSchedule(1, 5)}, Checkpoint(tmp_path / "checkpoint.npz")
    with pytest.raises(KeyboardInterrupt):
        run_fit(task, plan, checkpoint=checkpoint, on_epoch=interrupt)
    assert not checkpoint.path.exists()
    seen = []
    run_fit(task, plan, checkpoint=checkpoint, on_epoch=lambda epoch, row: seen.append(epoch))
    assert seen == [1] and checkpoint.path.exists()


def test_a_damaged_checkpoint_is_set_aside_and_costs_what_it_held(make_task, tmp_path, caplog):
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz")
    run_fit(make_task(), {"training": StageSchedule(2, 5)}, checkpoint=checkpoint)
    content = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(content[: len(content) // 2])
    _, _, result = run_fit(make_task(), {"training": StageSchedule(2, 5)}, checkpoint=checkpoint)
    assert list(result.history["epoch"]) == [1, 2]
    assert "is damaged" in caplog.text and len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_a_checkpoint_that_cannot_be_written_ends_no_fit(make_task, tmp_path):
    checkpoint = Checkpoint(tmp_path / "not" / "there" / "checkpoint.npz")
    with pytest.warns(UserWarning, match="checkpoint.npz cannot be written"):
        _, _, result = run_fit(make_task(), {"training": StageSchedule(2, 5)}, checkpoint=checkpoint)
    assert list(result.history["epoch"]) == [1, 2]


def test_a_nominal_machine_is_the_same_every_time_and_near_a_real_one(make_task):
    task = make_task(dataclasses.replace(TINY, recipe=tiny_staged_recipe))
    first, second = (nominal_speeds(*task.network(TINY.best)) for _ in range(2))
    assert first == second and first.keys() == {"feature-extraction", "fine-tuning", "prediction"}
    assert 10_000 < first["fine-tuning"] < first["feature-extraction"] < 100_000  # images per second


def test_a_loss_that_is_no_number_is_an_error(make_task, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(monitor, "tqdm", lambda **given: tqdm(**given | {"file": screen, "disable": False}))
    task = make_task(dataclasses.replace(TINY, best=TINY.best | {"learning_rate": 1e30}))
    with pytest.raises(DivergedError, match="the loss became"):
        run_fit(task, {"training": StageSchedule(2, 20)})
    assert "training |" in screen.getvalue()
    assert not "".join(screen.getvalue().split("\r")[-2:]).strip()  # the bar does not stay where the next line begins


def test_the_deadline_ends_the_fit_after_the_batch_under_way(make_task):
    began = time.monotonic()
    _, _, result = run_fit(make_task(), {"training": StageSchedule(1, 100_000)}, deadline=began + 3)
    assert result.truncated and len(result.history) == 1 and "val_accuracy" in result.history
    assert time.monotonic() - began < 60 and 0 < result.images_per_second["training"] < 1e6


def test_the_caller_may_end_a_fit_after_an_epoch_by_the_share_of_its_steps(make_task):
    task, asked = make_task(dataclasses.replace(TINY, recipe=tiny_staged_recipe)), []

    def stop(share, row):
        asked.append((share, row["epoch"], row["stage"]))
        return len(asked) == 3

    schedule = {"feature-extraction": StageSchedule(2, 2), "fine-tuning": StageSchedule(3, 2)}
    _, _, result = run_fit(task, schedule, stop_early=stop)
    assert result.stopped_early and not result.truncated and len(result.history) == 3
    assert asked == [(0.2, 1, "feature-extraction"), (0.4, 2, "feature-extraction"), (0.6, 3, "fine-tuning")]
    assert result.images_per_second.keys() == schedule.keys()


def test_a_speed_counts_only_the_batches_that_were_trained(make_task):
    _, _, result = run_fit(make_task(), {"training": StageSchedule(50, 500)}, deadline=time.monotonic())
    assert result.truncated and result.images_per_second["training"] == pytest.approx(
        64 / result.history["seconds"].iloc[0]
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="sleep is woken by a signal of POSIX")
def test_a_fit_in_which_nothing_moves_is_ended(make_task, monkeypatch):
    monkeypatch.setattr(fits, "STALL_SECONDS", 10)
    began = time.monotonic()
    with pytest.raises(StalledError, match="no batch was finished for 10 seconds"):
        run_fit(make_task(), {"training": StageSchedule(2, 2)}, on_epoch=lambda epoch, row: time.sleep(300))
    assert time.monotonic() - began < 60


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="sleep is woken by a signal of POSIX")
def test_a_block_in_which_nothing_moves_is_ended():
    began = time.monotonic()
    with pytest.raises(StalledError, match="no batch was finished for 2 seconds"), Watchdog(2, lambda reason: None):
        time.sleep(300)
    assert time.monotonic() - began < 60


def test_memory_needed_counts_weights_gradients_slots_and_outputs(make_task):
    model, recipe = make_task().network(TINY.best)
    weights = sum(weight.size for weight in model.get_weights())
    outputs = 8 * 13 * 13 + 16 * 6 * 6 + 10  # two convolutions and the classes
    assert estimate_memory(model, recipe) == 4 * (weights + 3 * weights + 64 * outputs)  # AdamW has two slots


def test_the_same_seed_gives_the_same_start(make_task):
    task = make_task()
    first, second = (task.network(TINY.best)[0].get_weights() for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_multiply_adds_count_models_within_the_model_and_all_kernels_of_a_layer():
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.SeparableConv2D(5, 3, padding="same")])
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(inner(images))))
    work = count_multiply_adds(model, Recipe((Stage("training", 0.1),), 8))
    assert work == {"training": 64 * (9 * 3 + 3 * 5) + 64 * 5 * 2}


def test_multiply_adds_count_a_layer_that_also_puts_out_its_states():
    rows = keras.Input((8, 3))
    last, *_ = keras.layers.LSTM(5, return_state=True)(rows)
    model, recipe = keras.Model(rows, keras.layers.Dense(2)(last)), Recipe((Stage("training", 0.1),), 8)
    assert count_multiply_adds(model, recipe) == {"training": 3 * 20 + 5 * 20 + 5 * 2}
    assert estimate_memory(model, recipe) > 0


def test_multiply_adds_count_the_kernels_behind_each_cut(make_task):
    task = make_task(dataclasses.replace(TINY, recipe=tiny_staged_recipe))
    work = count_multiply_adds(*task.network(TINY.best))
    high, dense = 9 * 8 * 16 * 6 * 6, 16 * 6 * 6 * 10  # 28 -> 13 -> 6 pixels
    assert work == {"feature-extraction": dense, "fine-tuning": high + dense}


def test_a_bar_has_room_behind_a_long_title_on_a_terminal_of_100_columns(make_task, monkeypatch):
    screen = io.StringIO()
    terminal = {"file": screen, "ncols": 100, "disable": False}
    monkeypatch.setattr(monitor, "tqdm", lambda **given: tqdm(**given | terminal))
    title = "[2/5] trial-03/~6, best 0.612, 9.1 min left, 81 in all"
    task = make_task(dataclasses.replace(TINY, recipe=tiny_staged_recipe))
    run_fit(task, {name: StageSchedule(1, 2) for name in ("feature-extraction", "fine-tuning")}, title=title)
    shown = [line.rstrip() for line in screen.getvalue().split("\r")]
    assert max(map(len, shown)) <= 100
    for number in (1, 2):
        whole = rf"{re.escape(title)}, stage {number}/2 \|.{{5}}\| \d\d:\d\d<\d\d:\d\d, val acc 0\.\d{{3}}"
        assert any(re.fullmatch(whole, line) for line in shown), shown
