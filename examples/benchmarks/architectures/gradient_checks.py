"""Gradients, paths, noise and second order, by the twin's tape and loops over points.

What methods draw from a seed is drawn again by the package's samplers.
"""

import numpy as np
import tensorflow as tf
from builders import EPSILON, NOISE_LEVEL, SAMPLES, STEPS
from explained import each, mean
from float64_twin import relative_error

from tfxai import kernels
from tfxai.estimation import samplers
from tfxai.methods.smoothing.weight_noise import noisy_weights, select_weights

FIRST_SEED = (0, 0)
BEYOND_STATED = 4
"""How much larger than the stated error what a check finds may be."""


def gradient(cell):
    return cell.against(cell.gradient())


def gradient_times_input(cell):
    return cell.against(each(np.multiply, cell.gradient(), cell.reference.wide(cell.examples)))


def completeness(cell):
    """Whether the stated completeness gap is the true one."""
    x = cell.reference.wide(cell.examples)
    zeros = each(np.zeros_like, x)
    change = cell.reference.score(x, cell.targets) - cell.reference.score(zeros, cell.targets)
    change = np.asarray(change)
    total = sum(np.sum(m, tuple(range(1, m.ndim))) for m in tf.nest.flatten(cell.maps))
    gap = np.abs(total - change) / np.abs(change)
    stated = np.asarray(cell.record.diagnostics["completeness_gap"], "float64")
    return float(np.max(np.abs(gap - stated) / (1 + gap)))


def midpoint(cell):
    x = cell.reference.wide(cell.examples)
    points = [(k + 0.5) / STEPS for k in range(STEPS)]
    slopes = [cell.gradient(each(lambda v, a=a: a * v, x)) for a in points]
    return cell.against(each(lambda v, *g: v * np.mean(g, 0), x, *slopes))


def seeds(seed, count):
    """Give the seeds of each sample, and of what is explained of it, as `estimate` draws them."""
    return [samplers.split_seed(tf.random.fold_in(seed, k)) for k in range(count)]


def first_seed():
    return tf.constant(FIRST_SEED)


def expected_gradients(cell):
    references = cell.setup.references
    sampler = samplers.random_line(lambda inputs: each(tf.constant, references))
    x = each(tf.constant, cell.examples)
    draws = [sampler(x, tf.constant(0), s) for s, _ in seeds(first_seed(), SAMPLES)]
    terms = [
        each(
            lambda g, d: g * np.asarray(d, "float64"),
            cell.gradient(each(np.asarray, d.point)),
            d.scale,
        )
        for d in draws
    ]
    return cell.against(each(lambda *t: np.mean(t, 0), *terms))


def unit_noise(examples, seed, count=SAMPLES):
    """Give standard normal noise of the samples, in the structure of the examples."""
    sampler = samplers.noise(kernels.gaussian, samplers.absolute(1.0))
    zeros = each(lambda x: tf.zeros_like(tf.constant(x)), examples)
    points = [sampler(zeros, tf.constant(0), s).point for s, _ in seeds(seed, count)]
    return [each(lambda p: np.asarray(p, "float64"), point) for point in points]


def spread(x):
    axes = tuple(range(1, x.ndim))
    return NOISE_LEVEL * (x.max(axes, keepdims=True) - x.min(axes, keepdims=True))


def noisy_gradients(cell, scale=spread, seed=None):
    x = cell.reference.wide(cell.examples)
    noise = unit_noise(cell.examples, first_seed() if seed is None else seed)
    return [cell.gradient(each(lambda v, t: v + scale(v) * t, x, ts)) for ts in noise]


def smoothgrad(cell):
    return cell.against(mean(noisy_gradients(cell)))


def smoothgrad_squared(cell):
    return cell.against(mean([each(np.square, g) for g in noisy_gradients(cell)]))


def vargrad(cell):
    return cell.against(each(lambda *g: np.var(g, 0), *noisy_gradients(cell)))


def adaptgrad(cell):
    low, high = cell.setup.bounds
    divisor = kernels.half_width(kernels.gaussian, 0.95)

    def scale(x):
        return np.minimum(np.abs(x - low), np.abs(x - high)) / divisor

    return cell.against(mean(noisy_gradients(cell, scale)))


def over_noisy_twins(cell, explain):
    """Give the mean of maps over twins with the weights that NoiseGrad draws."""
    model, twin = cell.setup.model, cell.reference.model
    chosen = {"biases": True, "statistics": False, "exclude": ()}
    perturb = noisy_weights(
        lambda: select_weights(model, **chosen), kernels.gaussian, EPSILON, multiply=True
    )
    before, maps = twin.get_weights(), []
    for drawn, inner in seeds(first_seed(), SAMPLES):
        values = {id(v): t.numpy() for v, t in perturb(drawn)}
        twin.set_weights([values.get(id(w), w.numpy()) for w in model.weights])
        maps.append(explain(inner))
    twin.set_weights(before)
    return mean(maps)


def noisegrad(cell):
    if not cell.network.exact:
        return None
    return cell.against(over_noisy_twins(cell, lambda seed: cell.gradient()))


def fusiongrad(cell):
    if not cell.network.exact:
        return None
    found = over_noisy_twins(cell, lambda seed: mean(noisy_gradients(cell, seed=seed)))
    return cell.against(found)


def cafo(cell):
    threshold = cell.setup.lambda1

    def closed_form(g):
        return np.sign(g) * np.maximum(np.abs(g) - threshold, 0) / 20

    return cell.against(each(closed_form, cell.gradient(kind="loss")))


def caso(cell):
    """Compare D with a step of the solver, D' = soft(g + H D, lambda1) / (2 lambda2).

    H is taken by differences. An error e of D moves the step by (2 lambda2 - H) e / (2 lambda2); so
    much larger may D' - D be than the stated error.
    """
    x, threshold = cell.reference.wide(cell.examples), cell.setup.lambda1
    delta = each(lambda m: np.asarray(m, "float64"), cell.maps)
    twice = 2 * np.asarray(cell.record.diagnostics["lambda2"], "float64")

    def curved(vectors):
        """Give H v by central differences of the gradient."""
        step = 1e-5 / max(1e-30, *(np.abs(v).max() for v in tf.nest.flatten(vectors)))
        points = [each(lambda a, v, s=s: a + s * step * v, x, vectors) for s in (1, -1)]
        high, low = (cell.gradient(p, "loss") for p in points)
        return each(lambda up, down: (up - down) / (2 * step), high, low)

    def moved(g, h):
        weight = twice.reshape(-1, *[1] * (g.ndim - 1))
        return np.sign(g + h) * np.maximum(np.abs(g + h) - threshold, 0) / weight

    after = each(moved, cell.gradient(kind="loss"), curved(delta))
    step = each(np.subtract, after, delta)
    stretched = each(
        lambda v, h: v - h / twice.reshape(-1, *[1] * (v.ndim - 1)), step, curved(step)
    )
    ratio = max(1.0, relative_error(stretched, each(np.zeros_like, step)) / size_of(step))
    stated = float(np.max(cell.record.diagnostics["residual"]))
    found = cell.against(after)
    return found if found > BEYOND_STATED * ratio * stated else 0.0


def size_of(maps):
    """Give the largest L2 norm of an example's maps."""
    return max(relative_error(maps, each(np.zeros_like, maps)), 1e-30)


def random_attribution(cell):
    """Whether all examples have the same noise, of about the size 1."""
    noise = np.concatenate([np.reshape(m, (len(m), -1)) for m in tf.nest.flatten(cell.maps)], 1)
    differences = float(np.abs(noise - noise[:1]).max())
    return differences if abs(noise[0].std() - 1) < 4 / np.sqrt(noise.shape[1]) else np.inf
