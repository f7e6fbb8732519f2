"""The learning rate schedule, the optimizers of a recipe, and Muon for convolution kernels."""

from typing import Any

import keras
from keras import ops

# Momentum and number of Newton-Schulz iterations for convolutions in short fits
# (github.com/AIDDA-Institute/CIFAR-100-speedrun).
MUON_MOMENTUM, MUON_ITERATIONS = 0.6, 3
ADAM_RATIO = 0.05  # Adam's learning rate relative to Muon's, for variables that are no convolution kernels


class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly from 0 to its peak, then falls linearly to 0 (Goyal et al., arXiv 1706.02677).

    Args:
        peak: the highest rate.
        steps: the number of training steps, after which the rate is 0.
        warmup: share of the steps in which the rate rises, from 0 to 1.
    """

    def __init__(self, peak: float, steps: int, warmup: float) -> None:
        self.peak, self.steps, self.warmup = peak, steps, warmup

    def __call__(self, step: Any) -> Any:
        """The rate at `step` (an integer or a scalar tensor) as a scalar float32 tensor."""
        progress = (ops.cast(step, "float32") + 0.5) / self.steps
        rising = progress / max(self.warmup, 1e-6)
        falling = (1.0 - progress) / max(1.0 - self.warmup, 1e-6)
        return self.peak * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)


class ConvolutionMuon(keras.optimizers.Muon):
    """Muon (Jordan, kellerjordan.github.io/posts/muon) for convolution kernels, Adam for all other variables.

    Keras' own Muon leaves convolution kernels to Adam. This class treats a kernel (h, w, in, out) as a matrix (h·w·in,
    out) and makes its update orthogonal. The kernel keeps its norm, which replaces weight decay: a step turns the
    kernel by about the learning rate in radians, whatever its scale. Pretrained kernels can therefore be trained with
    the same rates. A kernel of zeros has no norm to keep: its first step gives it that of orthonormal filters.

    It overrides private methods of Keras' Muon, which tests/test_private_hooks.py checks.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) != 4

    def _muon_update_step(self, gradient: Any, variable: keras.Variable, lr: Any, momentum: keras.Variable) -> None:
        filters = variable.shape[-1]
        self.assign(momentum, self.momentum * momentum + gradient)
        nesterov_gradient = ops.reshape(gradient + self.momentum * momentum, (-1, filters))
        update = ops.reshape(self.zeropower_via_newtonschulz5(nesterov_gradient, self.ns_steps), variable.shape)
        norm = _norm(variable)
        norm = ops.where(norm > 0, norm, filters**0.5)
        updated = variable - lr * (norm / filters**0.5) * update
        self.assign(variable, updated * ops.divide_no_nan(norm, _norm(updated)))  # zeros without a gradient stay

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """Make a matrix nearly orthogonal, by the same Newton-Schulz iteration as Keras' and with fewer operations.

        An iteration multiplies X by a polynomial of XᵀX. The kernels of convolutions have many more rows than columns,
        so it is cheaper to multiply the small polynomials with each other and X only once.

        Args:
            x: the matrix X, a float32 tensor (m, n).
            steps: the number of iterations.

        Returns:
            A float32 tensor (m, n) with singular values near 1.
        """
        is_tall = x.shape[0] >= x.shape[1]
        x = x / (ops.norm(x) + 1e-7)
        gram = ops.transpose(x) @ x if is_tall else x @ ops.transpose(x)
        identity, product = ops.eye(gram.shape[0]), None
        for _ in range(steps):
            polynomial = self.muon_a * identity + (self.muon_b * identity + self.muon_c * gram) @ gram
            product = polynomial if product is None else polynomial @ product
            gram = polynomial @ gram @ polynomial
        return x @ product if is_tall else product @ x


def _norm(kernel: Any) -> Any:
    return ops.norm(ops.reshape(kernel, (-1,)))


def make_optimizer(
    kind: str, rate: float | keras.optimizers.schedules.LearningRateSchedule, weight_decay: float
) -> keras.optimizers.Optimizer:
    """Make the optimizer that a recipe names.

    Args:
        kind: "sgd", "adamw" or "muon", as in `Recipe.optimizer`.
        rate: the learning rate, a number or a schedule.
        weight_decay: decoupled weight decay; each step subtracts rate x weight_decay of a variable. Muon applies it
            only to the variables that Adam trains, because its kernels keep their norm.

    Returns:
        A new optimizer.
    """
    if kind == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=weight_decay)
    if kind == "muon":
        return ConvolutionMuon(
            rate,
            momentum=MUON_MOMENTUM,
            ns_steps=MUON_ITERATIONS,
            adam_lr_ratio=ADAM_RATIO,
            weight_decay=None,
            adam_weight_decay=weight_decay,
        )
    return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=weight_decay or None)
