"""Baselines by name, and the blur against its definition (docs/methods.md, Baselines)."""

import numpy as np
import pytest
import tensorflow as tf

from tfxai.baselines import baseline, blur
from tfxai.core.axes import Order

IMAGES = tf.constant(np.random.default_rng(0).random((2, 12, 10, 3)))


def test_blur_is_a_truncated_gaussian_with_mirrored_borders():
    size, sigma = 5, 1.7
    taps = np.exp(-((np.arange(size) - 2) ** 2) / (2 * sigma**2))
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    padded = np.pad(IMAGES, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    expected = np.einsum("bhwcij,ij->bhwc", windows, kernel)
    np.testing.assert_allclose(blur(IMAGES, size=size, sigma=sigma), expected, rtol=1e-12)


def test_the_kernel_of_51_taps_has_the_published_weights():
    impulse = np.zeros((1, 101, 101, 1))
    impulse[0, 50, 50] = 1
    row = blur(tf.constant(impulse), size=51, sigma=50.0)[0, :, :, 0].numpy().sum(0)
    assert row[50] == pytest.approx(0.02046, abs=1e-5)
    assert row[25] == pytest.approx(0.01806, abs=1e-5)


def test_blur_by_name_scales_with_the_image():
    reference = baseline("blur")(IMAGES)
    assert reference.shape == (1, 2, 12, 10, 3)
    np.testing.assert_allclose(reference[0], blur(IMAGES, size=3, sigma=2.0))
    large = tf.ones([1, 224, 224, 3])
    np.testing.assert_allclose(baseline("blur")(large)[0], large, rtol=1e-5)


def test_a_single_row_is_blurred_along_itself():
    row = IMAGES[:, :1]
    at = np.arange(-1, 11)
    padded = row.numpy()[:, 0, np.where(at < 10, np.abs(at), 8)]
    taps = np.exp([-1 / 8, 0, -1 / 8])
    expected = sum(t * padded[:, i : i + 10] for i, t in enumerate(taps / taps.sum()))
    np.testing.assert_allclose(baseline("blur")(row)[0, :, 0], expected, rtol=1e-12)


def test_black_and_white_are_the_bounds():
    assert (baseline("black", (0, 1))(IMAGES).numpy() == 0).all()
    white = baseline("white", ([0, 0, 0], [1, 2, 3]))(IMAGES)
    np.testing.assert_array_equal(np.broadcast_to(white, (1, 2, 12, 10, 3))[0, 1, 5, 5], [1, 2, 3])


def test_mean_and_noise_have_each_channel_s_own():
    mean = baseline("mean")(IMAGES)
    np.testing.assert_allclose(mean[0, :, 0, 0], IMAGES.numpy().mean((1, 2)))
    large = tf.constant(np.random.default_rng(0).normal(3, [1, 2, 4], (2, 90, 80, 3)))
    noise = baseline("noise")(large)
    assert noise.shape == (1, 2, 90, 80, 3)
    spread = large.numpy().std((1, 2))
    np.testing.assert_allclose(noise[0].numpy().mean((1, 2)), large.numpy().mean((1, 2)), atol=0.2)
    np.testing.assert_allclose(noise[0].numpy().std((1, 2)), spread, rtol=0.05)
    np.testing.assert_array_equal(baseline("noise")(large), noise)
    np.testing.assert_allclose(baseline("noise")(large[1:])[0, 0], noise[0, 1])


@pytest.mark.parametrize("name", ["blur", "mean", "noise"])
def test_what_is_made_of_an_image_needs_one(name):
    with pytest.raises(ValueError, match=f"baseline='{name}' needs images"):
        baseline(name)(tf.ones([2, 5]))


@pytest.mark.parametrize(
    ("value", "count"),
    [(0.5, 1), (np.ones((12, 10, 3)), 1), (np.ones(3), 1), (np.ones((4, 12, 10, 3)), 4)],
)
def test_shapes(value, count):
    references = baseline(value)(IMAGES)
    assert references.shape[0] == count
    assert references.dtype == IMAGES.dtype
    assert np.broadcast_shapes(references.shape[1:], IMAGES.shape) == IMAGES.shape


def test_several_inputs_may_have_a_baseline_each():
    inputs = {"image": IMAGES, "row": tf.ones([2, 4])}
    references = baseline({"image": 0.0, "row": np.arange(4.0)})(inputs)
    np.testing.assert_array_equal(references["row"][0, 0], np.arange(4.0))
    with pytest.raises(TypeError, match=r"expected one array.*a dict with the keys 'a', 'b'"):
        baseline({"a": 0, "b": 1})(IMAGES)
    with pytest.raises(ValueError, match="2 arrays for a model of 1 inputs"):
        baseline([np.array(0), np.array(1)])(IMAGES)


KINDS = {"sequence": (20, 3), "volume": (9, 6, 14, 2)}


def of_kind(kind):
    shape = KINDS[kind]
    values = np.random.default_rng(2).normal(size=(3, *shape)) * [[1.0, 5.0, 0.2][: shape[-1]]]
    return values + np.arange(3.0).reshape(-1, *[1] * len(shape))


@pytest.mark.parametrize("kind", KINDS)
def test_the_blur_of_sequences_and_volumes_is_a_gaussian_along_each_axis(kind):
    x = of_kind(kind)
    expected = x
    size = 2 * max(1, int(min(x.shape[1:-1]) * 51 / 224 / 2)) + 1
    offsets = np.arange(size) - size // 2
    taps = np.exp(-(offsets**2) / (2 * (size - 1.0) ** 2))
    for axis in range(1, x.ndim - 1):
        half = [(size // 2,) * 2 if a == axis else (0, 0) for a in range(x.ndim)]
        padded = np.pad(expected, half, "reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis)
        expected = windows @ (taps / taps.sum())
    found = baseline("blur")(tf.constant(x))
    np.testing.assert_allclose(found[0], expected, rtol=1e-9)
    alone = baseline("blur")(tf.constant(x[1:2]))
    np.testing.assert_allclose(alone[0], expected[1:2], rtol=1e-9)


def test_the_blur_of_a_sequence_is_that_of_an_image_of_one_row():
    x = tf.constant(of_kind("sequence"))
    row = blur(x[:, None], size=3, sigma=4.0)
    np.testing.assert_allclose(blur(x, size=3, sigma=4.0), row[:, 0], rtol=1e-9)
    short = tf.ones([2, 1, 3])
    np.testing.assert_allclose(baseline("blur")(short)[0], short, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_noise_of_sequences_and_volumes(kind):
    x = of_kind(kind)
    positions = tuple(range(1, x.ndim - 1))
    mean, spread = x.mean(positions), x.std(positions)
    found = baseline("mean")(tf.constant(x))
    np.testing.assert_allclose(np.broadcast_to(found[0], x.shape).mean(positions), mean)
    assert found.shape[2:-1] == [1] * len(positions)
    noise = baseline("noise")(tf.constant(x)).numpy()[0]
    np.testing.assert_allclose(noise.mean(positions), mean, atol=0.4 * spread.max())
    draw = (noise - found[0]) / spread.reshape(3, *[1] * len(positions), -1)
    np.testing.assert_allclose(draw[0], draw[2], rtol=1e-6)


def test_named_baselines_of_channels_first_sequences():
    last = lambda _: Order((-1,))  # noqa: E731
    first = lambda _: Order((-2,))  # noqa: E731
    x = tf.constant(of_kind("sequence"))
    for name in ("blur", "mean", "noise"):
        moved = baseline(name, order=first)(tf.transpose(x, [0, 2, 1]))
        expected = baseline(name, order=last)(x)
        np.testing.assert_allclose(moved, tf.transpose(expected, [0, 1, 3, 2]), rtol=1e-9)
