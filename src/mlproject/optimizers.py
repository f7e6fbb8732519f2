"""Keras' optimizers with the schedule that all fits share, and Muon for convolutions."""

import keras
from keras import ops

# Momentum and Newton-Schulz iterations for convolutions in short fits (github.com/AIDDA-Institute/CIFAR-100-speedrun).
MUON_MOMENTUM, MUON_ITERATIONS = 0.6, 3
ADAM_RATIO = 0.05  # Adam's rate as a share of Muon's, for what is no convolution


class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """From 0 linearly to `peak` in `warmup` of the `steps`, then linearly back to 0 (warm-up: Goyal et al., arXiv 1706.02677)."""

    def __init__(self, peak: float, steps: int, warmup: float):
        self.peak, self.steps, self.warmup = peak, steps, warmup

    def __call__(self, step):
        """The rate at `step`, a scalar float32 tensor."""
        progress = (ops.cast(step, "float32") + 0.5) / self.steps
        rising = progress / max(self.warmup, 1e-6)
        falling = (1.0 - progress) / max(1.0 - self.warmup, 1e-6)
        return self.peak * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)


class ConvolutionMuon(keras.optimizers.Muon):
    """Muon (Jordan, kellerjordan.github.io/posts/muon) for the kernels of convolutions, Adam for all else.

    Keras' own Muon leaves such kernels to Adam. Here a kernel (h, w, in, out) is the matrix (h·w·in, out); its update is made
    orthogonal. The kernel keeps its norm, in place of weight decay: a step turns it by about the rate, in radians, whatever its
    scale, so that pretrained kernels can be trained as well.
    """

    def _should_use_adamw(self, variable):
        return len(variable.shape) != 4

    def _muon_update_step(self, gradient, variable, lr, momentum):
        filters = variable.shape[-1]
        self.assign(momentum, self.momentum * momentum + gradient)
        ahead = ops.reshape(gradient + self.momentum * momentum, (-1, filters))
        update = ops.reshape(self.zeropower_via_newtonschulz5(ahead, self.ns_steps), variable.shape)
        norm = _norm(variable)
        moved = variable - lr * (norm / filters**0.5) * update
        self.assign(variable, moved * (norm / _norm(moved)))

    def zeropower_via_newtonschulz5(self, x, steps):
        """Keras' Newton-Schulz iteration of a matrix (m, n), by products of the smaller of XᵀX and XXᵀ.

        An iteration multiplies X by a polynomial of XᵀX. Where m is many times n, as in the kernels of convolutions, it is
        cheaper to multiply the small polynomials, and X only once: in half the time for the kernels of `residual_groups`.
        """
        tall = x.shape[0] >= x.shape[1]
        x = x / (ops.norm(x) + 1e-7)
        gram = ops.transpose(x) @ x if tall else x @ ops.transpose(x)
        identity, product = ops.eye(gram.shape[0]), None
        for _ in range(steps):
            polynomial = self.muon_a * identity + (self.muon_b * identity + self.muon_c * gram) @ gram
            product = polynomial if product is None else polynomial @ product
            gram = polynomial @ gram @ polynomial
        return x @ product if tall else product @ x


def _norm(kernel):
    return ops.norm(ops.reshape(kernel, (-1,)))


def make(kind: str, rate, weight_decay: float) -> keras.optimizers.Optimizer:
    """The optimizer of a Recipe: `kind` and `weight_decay` are its fields, `rate` a schedule.

    Keras' decay is rate x weight_decay in each step. Muon needs none for its kernels; Adam's part takes it.
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
