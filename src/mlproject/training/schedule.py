"""How long each stage of a fit lasts: from seconds and speeds to epochs and steps, and a final fit shortened to a trial."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mlproject.errors import counted
from mlproject.recipe import Recipe

SHORT_BATCH = 1 / 2  # a trial's batch size, relative to the recipe's; see `shorten`
SAME_PASS = 0.05  # an epoch that differs from a pass over the images by a smaller share is called an epoch


@dataclass(frozen=True)
class StageSchedule:
    """How long a stage lasts: `epochs` of `steps` batches.

    An epoch is about one pass over the images, or one execution of the training step if that is more.

    `steps` is a multiple of the recipe's `steps_per_execution`. Keras only runs whole executions, so it would otherwise run
    more steps than the learning rate schedule has.
    """

    epochs: int
    steps: int

    @property
    def total_steps(self) -> int:
        """The steps of all epochs."""
        return self.epochs * self.steps

    def __str__(self) -> str:
        return f"{counted(self.epochs, 'epoch')} of {counted(self.steps, 'batch')}"


Schedule = Mapping[str, StageSchedule]  # by the stage's name


def plan_stages(
    recipe: Recipe, images_per_second: Mapping[str, float], seconds: float, images: int
) -> dict[str, StageSchedule]:
    """Plan how long each stage lasts so that all stages together take `seconds`.

    Seconds that a stage leaves because it reaches its `max_epochs` go to the stages after it. Every stage gets at least one
    step, even when no seconds are left.

    Args:
        recipe: the recipe whose stages are planned.
        images_per_second: the training speed of each stage, by the stage's name.
        seconds: the time for all stages.
        images: the number of training images.

    Returns:
        A schedule for each stage, by the stage's name.
    """
    schedule = {}
    batch_size = min(recipe.batch_size, images)  # as `batches` makes them
    shares = [stage.share for stage in recipe.stages]
    for index, stage in enumerate(recipe.stages):
        speed = images_per_second[stage.name]
        stage_seconds = max(seconds, 0.0) * stage.share / sum(shares[index:])
        images_seen = min(stage_seconds * speed, stage.max_epochs * images)
        steps = max(round(images_seen / batch_size), 1)
        # An epoch has a whole execution at least. Where that is more than a pass over the images, there are fewer epochs.
        epochs = min(max(round(images_seen / images), 1), max(steps // recipe.steps_per_execution, 1))
        schedule[stage.name] = StageSchedule(epochs, _whole_executions(steps // epochs, recipe))
        seconds -= schedule[stage.name].total_steps * batch_size / speed
    return schedule


def shorten(
    recipe: Recipe, schedule: Schedule, share: float, min_epochs: int
) -> tuple[Recipe, dict[str, StageSchedule]]:
    """Shorten a final fit to a trial: `share` of its images, in smaller batches.

    A scaled-down copy of the final fit would need batches that are smaller by the same share, at the same learning rate.
    Larger batches are faster and need a rate that is higher by the square root of the factor by which their steps are fewer
    (Krizhevsky, arXiv 1404.5997; for Adam: Malladi et al., arXiv 2205.10287). Batches of full size, however, favour
    hyperparameter values that take many steps; batches of half the size rank values as long fits do. Only the first stage
    gets the higher rate: later stages start from trained weights, which a high rate destroys before it improves them.
    (Measured in bench/README.md, "The batches of a short trial" and "The learning rate of a short trial".)

    Args:
        recipe: the final fit's recipe.
        schedule: the final fit's schedule.
        share: the share of the final fit's images that the trial sees, 0 to 1.
        min_epochs: the least number of epochs of all stages together, so that a trial has a learning curve.

    Returns:
        The trial's recipe and schedule.
    """
    short_recipe = replace(recipe, batch_size=max(1, round(SHORT_BATCH * recipe.batch_size)))
    steps = share * recipe.batch_size / short_recipe.batch_size
    short_schedule = {}
    for stage, full_length in schedule.items():
        epochs = max(math.ceil(min_epochs / len(schedule)), round(share * full_length.epochs))
        short_schedule[stage] = StageSchedule(
            epochs, _whole_executions(steps * full_length.total_steps / epochs, recipe)
        )
    first_stage, *later_stages = recipe.stages
    steps_ratio = schedule[first_stage.name].total_steps / short_schedule[first_stage.name].total_steps
    first_stage = replace(first_stage, learning_rate=first_stage.learning_rate * steps_ratio**0.5)
    return replace(short_recipe, stages=(first_stage, *later_stages)), short_schedule


def share_done(schedule: Schedule, stage: str, steps: int) -> float:
    """The share of the steps of all stages that are done, 0 to 1.

    Args:
        schedule: the length of each stage, in the order in which they are trained.
        stage: the stage under way.
        steps: how many of its steps are done.

    Returns:
        The share.
    """
    names = list(schedule)
    steps_before = sum(schedule[name].total_steps for name in names[: names.index(stage)])
    return (steps_before + steps) / sum(length.total_steps for length in schedule.values())


def schedule_params(schedule: Schedule) -> dict[str, int]:
    """The epochs and steps of each stage as parameters to log: the same numbers give the same fit again."""
    params: dict[str, int] = {}
    for stage, length in schedule.items():
        params |= {f"{stage}_epochs": length.epochs, f"{stage}_steps": length.steps}
    return params


def passes(schedule: Schedule, batch_size: int, images: int) -> float:
    """How many passes over the images all stages together make.

    Args:
        schedule: the length of each stage.
        batch_size: that of the recipe.
        images: the number of training images.

    Returns:
        A number above 0, below 1 where some images are never seen.
    """
    return sum(length.total_steps for length in schedule.values()) * min(batch_size, images) / images


def describe_passes(count: float) -> str:
    """The number of passes in words, such as "0.5 passes over"; more digits below a tenth of a pass."""
    return f"{count:.1f} passes over" if count >= 0.1 else f"{count:.2g} passes over"


def describe_schedule(schedule: Schedule, batch_size: int, images: int) -> str:
    """The schedule in words, which count the passes over the images wherever an epoch is not one.

    Args:
        schedule: the length of each stage.
        batch_size: that of the recipe.
        images: the number of training images.

    Returns:
        Such as "head 8 epochs of 211 batches, fine-tuning 121 batches (0.5 passes over the images)".
    """
    descriptions = []
    for stage, length in schedule.items():
        stage_passes = passes({stage: length}, batch_size, images)
        if abs(stage_passes / length.epochs - 1) < SAME_PASS:
            descriptions.append(f"{stage} {length}")
        else:
            batches = counted(length.steps, "batch") if length.epochs == 1 else str(length)
            descriptions.append(f"{stage} {batches} ({describe_passes(stage_passes)} the images)")
    return ", ".join(descriptions)


def _whole_executions(steps: float, recipe: Recipe) -> int:
    return max(1, round(steps / recipe.steps_per_execution)) * recipe.steps_per_execution
