"""How a network is trained, declared: what an experiment's `recipe` gives back, and the plan that minutes make of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mlproject.errors import UserError

OPTIMIZERS = ("sgd", "adamw", "muon")
SHORT_BATCH = 1 / 2  # of the recipe's; see `shortened`


@dataclass(frozen=True)
class Stage:
    """One stretch of a fit.

    `learning_rate` is the peak of the schedule. `frozen_through` names the last frozen layer: it and all layers before it
    keep their weights, and its activations are computed once and cached. `share` is the part of the fit's seconds,
    `max_epochs` the number past which more epochs no longer pay.
    """

    name: str
    learning_rate: float
    frozen_through: str | None = None
    share: float = 1.0
    max_epochs: int = 60


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, whatever the network.

    `optimizer` is "sgd" (with Nesterov's momentum), "adamw" or "muon" (see `optimizers`); `weight_decay` is decoupled
    (Loshchilov & Hutter, arXiv 1711.05101); `warmup` is the share of a stage's steps in which the rate rises, after which it
    falls linearly to 0; `steps_per_execution` batches go through one call of the compiled step, which pays where a step takes
    under a few milliseconds.

    Four fields concern the images of stages with nothing frozen: `flip` mirrors each image every other time it is seen (Jordan,
    arXiv 2404.00498), `crop` moves it by up to so many pixels, reflected at the border, `erase` paints over a square of so many
    pixels a side, somewhere within it, with the mean colour (Cutout, DeVries & Taylor, arXiv 1708.04552), and `sizes` shrinks
    the images of the first steps, which are then cheaper (progressive resizing, Howard, fast.ai's DAWNBench entry of 2018):
    pairs (share, pixels), so that ((0.5, 24),) means 24 pixels of height for the first half of the steps, the full size after it.

    Raises UserError for an unknown optimizer, and for two stages of one name.
    """

    stages: tuple[Stage, ...]
    batch_size: int
    optimizer: str = "sgd"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    warmup: float = 0.2
    flip: bool = False
    crop: int = 0
    erase: int = 0
    sizes: tuple[tuple[float, int], ...] = ()
    steps_per_execution: int = 1

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise UserError(f"optimizer={self.optimizer!r} of a recipe is not accepted; {', '.join(OPTIMIZERS)} are")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise UserError(f"stages named {', '.join(names)} are not accepted; each needs a name of its own")

    @property
    def cuts(self) -> list[str]:
        """The layers after which some stage is cut, each once."""
        return list(dict.fromkeys(stage.frozen_through for stage in self.stages if stage.frozen_through))

    def mean_area(self, pixels: int) -> float:
        """The mean area of a training image, as a share of the full area at a height of `pixels`."""
        area, before = 0.0, 0.0
        for until, size in (*self.sizes, (1.0, pixels)):
            area += (until - before) * (size / pixels) ** 2
            before = until
        return area


@dataclass(frozen=True)
class Length:
    """How long a stage lasts: `epochs` of `steps` batches. An epoch is a pass over the images, or near it.

    `steps` is a multiple of the recipe's `steps_per_execution`: Keras runs whole executions, and would run more steps than
    the schedule of the rate knows of.
    """

    epochs: int
    steps: int

    @property
    def total(self) -> int:
        """The steps of all epochs."""
        return self.epochs * self.steps


def lengths(recipe: Recipe, speeds: Mapping[str, float], seconds: float, images: int) -> dict[str, Length]:
    """Plan how long each stage lasts so that all together take `seconds`, at `speeds` (images per second).

    What a stage leaves over, because its `max_epochs` is reached, goes to the stages after it.
    """
    plan = {}
    shares = [stage.share for stage in recipe.stages]
    for index, stage in enumerate(recipe.stages):
        mine = max(seconds, 0.0) * stage.share / sum(shares[index:])
        seen = min(mine * speeds[stage.name], stage.max_epochs * images)
        steps = max(round(seen / recipe.batch_size), 1)
        epochs = max(round(seen / images), 1)
        plan[stage.name] = Length(epochs, _whole_executions(steps // epochs, recipe))
        seconds -= plan[stage.name].total * recipe.batch_size / speeds[stage.name]
    return plan


def shortened(
    recipe: Recipe, plan: Mapping[str, Length], share: float, min_epochs: int
) -> tuple[Recipe, dict[str, Length]]:
    """`share` of the images that a recipe's plan passes, in smaller batches, `min_epochs` or more in all; and the recipe for it.

    The plan in miniature would have as small a share of each batch, too, at the same rate. Larger batches are faster, and want a
    rate higher by the square root of the number of times that their steps are fewer (Krizhevsky, arXiv 1404.5997; for Adam:
    Malladi et al., arXiv 2205.10287); but whole ones put values first that have many steps. With CIFAR-100's fine labels batches
    of 128 came out .2 points ahead of 256 so, two points behind after whole fits, and 1.6 behind with batches of half the size,
    which take 1.06 times as long. The higher rate is the first stage's alone: later ones begin with trained weights, which a high
    rate destroys before it improves them (VGG16's lose 1.1 points in 32 batches at 1e-4, and nothing in an epoch).
    """
    smaller = replace(recipe, batch_size=max(1, round(SHORT_BATCH * recipe.batch_size)))
    steps = share * recipe.batch_size / smaller.batch_size
    small = {}
    for stage, whole in plan.items():
        epochs = max(math.ceil(min_epochs / len(plan)), round(share * whole.epochs))
        small[stage] = Length(epochs, _whole_executions(steps * whole.total / epochs, recipe))
    first, *later = recipe.stages
    fewer = plan[first.name].total / small[first.name].total
    first = replace(first, learning_rate=first.learning_rate * fewer**0.5)
    return replace(smaller, stages=(first, *later)), small


def _whole_executions(steps: float, recipe: Recipe) -> int:
    return max(1, round(steps / recipe.steps_per_execution)) * recipe.steps_per_execution
