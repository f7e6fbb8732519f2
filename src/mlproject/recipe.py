"""How a network is trained, declared: what the `recipe` function of an experiment returns."""

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mlproject.errors import UserError
from mlproject.names import NAME, NAME_RULE

OPTIMIZERS = ("sgd", "adamw", "muon")
CLASS_WEIGHTS = ("none", "balanced")


class _Range(NamedTuple):
    """What a number may be: `whole`, at least `lowest` (or above it, if `open`), and below `below`."""

    accepted: str
    lowest: float = 0
    open: bool = False
    below: float = math.inf
    whole: bool = False


_POSITIVE, _COUNT = _Range("a number above 0", open=True), _Range("a whole number from 1", lowest=1, whole=True)
_SHARE, _PIXELS = _Range("a number from 0 to below 1", below=1), _Range("a whole number from 0", whole=True)
RANGES = {
    "learning_rate": _POSITIVE,
    "share": _POSITIVE,
    "max_epochs": _COUNT,
    "batch_size": _COUNT,
    "steps_per_execution": _COUNT,
    "weight_decay": _Range("a number from 0"),
    "label_smoothing": _SHARE,
    "warmup": _SHARE,
    "random_translation": _PIXELS,
    "cutout": _PIXELS,
}


@dataclass(frozen=True)
class Stage:
    """One stage of a fit, such as feature extraction or fine-tuning.

    Attributes:
        name: names the stage in histories, metrics and plots.
        learning_rate: the peak of the learning rate schedule.
        frozen_through: name of the last frozen layer. This layer and all layers before it keep their weights, and its
            activations are computed once and cached. None trains the whole network.
        share: the stage's share of the fit's seconds, relative to the shares of the other stages.
        max_epochs: the number of epochs after which the stage ends even if seconds are left.
    """

    name: str
    learning_rate: float
    frozen_through: str | None = None
    share: float = 1.0
    max_epochs: int = 60

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and NAME.fullmatch(self.name)):
            raise UserError(f"name={self.name!r} of a stage; accepted: {NAME_RULE}")
        if self.name == "prediction":
            raise UserError(
                "name='prediction' of a stage; accepted: another name, as the speed of prediction has this one"
            )
        _check_numbers("stage", vars(self))


@dataclass(frozen=True)
class Recipe:
    """How to train a network.

    The fields from `flip` to `progressive_resizing` change the training images. They apply to stages without frozen
    layers only, because cached activations cannot be changed.

    Attributes:
        stages: the stages of the fit, in their order.
        batch_size: images in a batch.
        optimizer: "sgd" (with Nesterov momentum), "adamw" or "muon" (see `training.optimizers`).
        weight_decay: decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101).
        label_smoothing: 0 to 1, the probability that is spread over all classes.
        warmup: share of a stage's steps in which the learning rate rises linearly. It then falls linearly to 0.
        flip: mirror each image every second time it is seen (Jordan, arXiv 2404.00498).
        random_translation: shift each image by up to this many pixels in both directions; the border is reflected.
        cutout: side in pixels of a square that is painted with the mean colour, at a random place within each image
            (Cutout, DeVries & Taylor, arXiv 1708.04552). 0 paints none.
        progressive_resizing: train the first steps on smaller images, which cost less (Howard, fast.ai's DAWNBench entry,
            2018). Pairs of (share of the steps, height): ((0.5, 24),) trains the first half of the steps on images 24
            pixels high and the second half on full-size images. A height below 1 is a share of the full height.
        steps_per_execution: batches in one call of the compiled training step. More than 1 pays where a step takes less
            than a few milliseconds.
        class_weights: "none", or "balanced" to weigh the loss of an image by n / (classes * n_class), so that every class
            has the same weight however many of the n training images it has (King & Zeng, Political Analysis 9 (2001)
            137-163; scikit-learn's "balanced").

    Raises:
        UserError: for an unknown optimizer or class weights, and for two stages of the same name.
    """

    stages: tuple[Stage, ...]
    batch_size: int
    optimizer: str = "sgd"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    warmup: float = 0.2
    flip: bool = False
    random_translation: int = 0
    cutout: int = 0
    progressive_resizing: tuple[tuple[float, float], ...] = ()
    steps_per_execution: int = 1
    class_weights: str = "none"

    def __post_init__(self) -> None:
        _check_numbers("recipe", vars(self))
        if not self.stages:
            raise UserError("stages=() of a recipe; accepted: at least one Stage")
        shares = [0, *(share for share, _ in self.progressive_resizing), 1]
        rising = all(before < after for before, after in zip(shares, shares[1:], strict=False))
        sizes = [size for _, size in self.progressive_resizing]
        if not rising or not all(0 < size < 1 or (isinstance(size, int) and size > 0) for size in sizes):
            raise UserError(
                f"progressive_resizing={self.progressive_resizing!r} of a recipe; accepted: pairs of a share, rising between 0 "
                "and 1, and a height in whole pixels or as a share of the full height"
            )
        if self.optimizer not in OPTIMIZERS:
            raise UserError(f"optimizer={self.optimizer!r} of a recipe; accepted: {', '.join(OPTIMIZERS)}")
        if self.class_weights not in CLASS_WEIGHTS:
            raise UserError(f"class_weights={self.class_weights!r} of a recipe; accepted: {', '.join(CLASS_WEIGHTS)}")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise UserError(f"stages named {', '.join(names)}; accepted: a name of its own for each stage")

    @property
    def frozen_layers(self) -> list[str]:
        """The names of the layers whose activations some stage starts from, each once."""
        return list(dict.fromkeys(stage.frozen_through for stage in self.stages if stage.frozen_through))

    def heights(self, pixels: int) -> list[tuple[float, int]]:
        """`progressive_resizing` in whole pixels, for images `pixels` high, which are never enlarged."""
        return [
            (share, min(int(size), pixels) if size >= 1 else max(round(size * pixels), 1))
            for share, size in self.progressive_resizing
        ]

    def mean_area(self, pixels: int) -> float:
        """The mean area of a training image under progressive resizing, relative to images `pixels` high."""
        area, start = 0.0, 0.0
        for end, size in (*self.heights(pixels), (1.0, pixels)):
            area += (end - start) * (size / pixels) ** 2
            start = end
        return area


def _check_numbers(owner: str, fields: Mapping[str, Any]) -> None:
    """Raise UserError for the first field that is not a number in its range."""
    for name, value in fields.items():
        allowed = RANGES.get(name)
        if allowed is None:
            continue
        kind = numbers.Integral if allowed.whole else numbers.Real
        fits = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
        if not fits or value < allowed.lowest or (allowed.open and value == allowed.lowest) or value >= allowed.below:
            raise UserError(f"{name}={value!r} of a {owner}; accepted: {allowed.accepted}")
