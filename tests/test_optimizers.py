"""The learning rate schedule, and Muon for convolution kernels."""

import keras
import numpy as np
import pytest

from mlproject.training.optimizers import ADAM_RATIO, WarmupLinearDecay, make_optimizer


def test_schedule_rises_to_its_peak_and_falls_to_zero():
    schedule = WarmupLinearDecay(peak=2.0, steps=100, warmup=0.2)
    rates = np.array([float(schedule(step)) for step in range(101)])
    assert rates.argmax() in (19, 20) and rates.max() == pytest.approx(2.0, rel=0.05)
    assert rates[0] < 0.1 and rates[99] < 0.05 and rates[100] == 0
    assert np.all(np.diff(rates[:20]) > 0) and np.all(np.diff(rates[20:]) < 0)


def test_muon_turns_kernels_by_nearly_orthogonal_steps_at_a_constant_norm():
    rng = np.random.default_rng(0)
    kernel = keras.Variable(rng.normal(size=(3, 3, 8, 16)).astype("float32"))
    bias = keras.Variable(np.zeros(16, "float32"))
    optimizer = make_optimizer("muon", 0.1, weight_decay=0.0)
    optimizer.build([kernel, bias])
    before = kernel.numpy().reshape(-1, 16)
    gradients = [rng.normal(size=variable.shape).astype("float32") for variable in (kernel, bias)]
    optimizer.apply(gradients, [kernel, bias])
    after = kernel.numpy().reshape(-1, 16)
    norm = np.linalg.norm(before)
    assert np.linalg.norm(after) == pytest.approx(norm)
    direction = keras.optimizers.Muon(0.1).zeropower_via_newtonschulz5(gradients[0].reshape(-1, 16), 3).numpy()
    singular = np.linalg.svd(direction, compute_uv=False)
    assert singular.min() > 0.5 and singular.max() < 1.5
    expected = before / norm - 0.1 * direction / 4  # √16
    np.testing.assert_allclose(after / norm, expected / np.linalg.norm(expected), atol=1e-5)
    # Adam's first step has the size of the learning rate in every direction.
    np.testing.assert_allclose(-bias.numpy(), 0.1 * ADAM_RATIO * np.sign(gradients[1]), rtol=1e-3)


def test_muon_trains_a_kernel_of_zeros_once_it_has_a_gradient():
    kernel = keras.Variable(np.zeros((3, 3, 8, 16), "float32"))
    optimizer = make_optimizer("muon", 0.1, weight_decay=0.0)
    optimizer.build([kernel])
    optimizer.apply([np.zeros(kernel.shape, "float32")], [kernel])
    assert not kernel.numpy().any()
    gradient = np.random.default_rng(0).normal(size=kernel.shape).astype("float32")
    for _ in range(2):
        optimizer.apply([gradient], [kernel])
        assert np.linalg.norm(kernel.numpy()) == pytest.approx(4, rel=1e-5)  # √16
        assert (kernel.numpy() * gradient).sum() < 0


@pytest.mark.parametrize("shape", [(72, 8), (8, 72), (16, 16)])
def test_the_cheaper_iteration_gives_the_result_of_keras(shape):
    update = np.random.default_rng(0).normal(size=shape).astype("float32")
    update[:, 0] = update[:, 1]  # so that the matrix does not have full rank
    own, cheaper = keras.optimizers.Muon(0.1), make_optimizer("muon", 0.1, weight_decay=0.0)
    expected = own.zeropower_via_newtonschulz5(keras.ops.convert_to_tensor(update), 3)
    found = cheaper.zeropower_via_newtonschulz5(keras.ops.convert_to_tensor(update), 3)
    np.testing.assert_allclose(found, expected, atol=1e-4)
