"""Independent checks of maps: each computes what a method gives, or a law of it, without tfxai.

A check is a function (cell) -> relative error, or None where it cannot be made for the network.
What methods draw from a seed is drawn again by the package's samplers; all else is Keras,
TensorFlow and numpy on the network's float64 twin.
"""

import itertools

import keras
import numpy as np
import tensorflow as tf
from methods import EPSILON, NOISE_LEVEL, SAMPLES, STEPS
from reference import RuledActivations, layers_of, relative_error

from tfxai import kernels
from tfxai.estimation import samplers
from tfxai.methods.smoothing.weight_noise import noisy_weights, select_weights

each = tf.nest.map_structure


class Cell:
    """A method's record on a network, and what it is checked with."""

    def __init__(self, name, explainer, record, examples, targets, setup):
        self.name, self.explainer, self.record = name, explainer, record
        self.examples, self.targets, self.setup = examples, targets, setup
        self.reference, self.network = setup.reference, setup.network

    @property
    def maps(self):
        return self.record.attributions

    def gradient(self, examples=None, kind="logit"):
        examples = self.reference.wide(self.examples) if examples is None else examples
        return self.reference.gradient(examples, self.targets, kind)

    def against(self, expected):
        return relative_error(self.maps, expected)


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


FIRST_SEED = (0, 0)


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


def mean(maps):
    return each(lambda *m: np.mean(m, 0), *maps)


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
    """Whether D solves the problem: D = soft(D + s (g + H D - 2 lambda2 D)), H by differences."""
    x, threshold = cell.reference.wide(cell.examples), cell.setup.lambda1
    delta = each(lambda m: np.asarray(m, "float64"), cell.maps)
    largest = max(np.abs(d).max() for d in tf.nest.flatten(delta))
    step = 1e-5 / max(largest, 1e-30)
    high, low = (
        cell.gradient(each(lambda v, d, s=s: v + s * step * d, x, delta), "loss") for s in (1, -1)
    )
    twice = 2 * np.asarray(cell.record.diagnostics["lambda2"], "float64")

    def solution(d, g, up, down):
        weight = twice.reshape(-1, *[1] * (d.ndim - 1))
        moved = d + (g + (up - down) / (2 * step)) / weight - d
        return np.sign(moved) * np.maximum(np.abs(moved) - threshold / weight, 0)

    found = cell.against(each(solution, delta, cell.gradient(kind="loss"), high, low))
    stated = float(np.max(cell.record.diagnostics["residual"]))
    return found if found > BEYOND_STATED * stated else 0.0


BEYOND_STATED = 4
"""A residual may be this many times the stated error: a step from D moves it by more than that."""


def guided(slope, cotangent):
    return tf.maximum(slope, 0) * tf.maximum(cotangent, 0)


def deconvolved(slope, cotangent):
    return tf.maximum(cotangent, 0)


def ruled(cell, passed):
    """Gradients of the twin under a rule for its activations; None where these are in loops."""
    if any(isinstance(layer, keras.layers.RNN) for layer in layers_of(cell.reference.model)):
        return None
    with RuledActivations(passed):
        return cell.gradient()


def guided_backprop(cell):
    expected = ruled(cell, guided)
    return None if expected is None else cell.against(expected)


def deconvnet(cell):
    expected = ruled(cell, deconvolved)
    return None if expected is None else cell.against(expected)


def excitation_backprop(cell):
    """How far probabilities are below 0, or their sum above 1."""
    flat = tf.nest.flatten(cell.maps)
    total = sum(np.sum(m, tuple(range(1, m.ndim))) for m in flat)
    return float(max(np.max(total) - 1, -min(m.min() for m in flat), 0))


def last_positions(model, rank):
    """Give the last layer of a functional model with positions; None unless it is plain."""
    for layer in reversed(model.layers):
        output = getattr(layer, "output", None)
        plain = not isinstance(layer, keras.Model | keras.layers.Lambda)
        if not plain or not isinstance(output, keras.KerasTensor):
            return None
        if len(output.shape) > 2:
            return layer if len(output.shape) == rank else None
    return None


def cam(cell):
    """Grad-CAM at the last layer of a functional twin that has positions, enlarged; or None."""
    model, x = cell.reference.model, cell.examples
    plain = not tf.nest.is_nested(x) and cell.network.channels == -1 and not cell.network.score
    if not plain or not getattr(model, "inputs", None) or x.ndim < 3:
        return None
    layer = last_positions(model, x.ndim)
    if layer is None:
        return None
    both = keras.Model(model.inputs, [layer.output, model.output])
    x = tf.constant(cell.reference.wide(x))
    with tf.GradientTape() as tape:
        tape.watch(x)
        activation, outputs = both(x, training=False)
        score = tf.reduce_sum(cell.reference.score_of(outputs, cell.targets))
    slopes = np.asarray(tape.gradient(score, activation))
    places = tuple(range(1, x.ndim - 1))
    weighted = np.sum(slopes.mean(places, keepdims=True) * activation, -1, keepdims=True)
    return enlarged(np.maximum(weighted, 0), x.shape[1:-1], middles=True)


def enlarged(values, sizes, *, middles):
    """Linear interpolation along each axis of positions of ``[B, ..., 1]``.

    Args:
        middles: True where values stand at the middles of cells, False where the first and the last
            stand at the borders.
    """
    for axis, size in enumerate(sizes, 1):
        count = values.shape[axis]
        at = (
            (np.arange(size) + 0.5) * count / size - 0.5
            if middles
            else np.linspace(0, count - 1, size)
        )
        values = np.apply_along_axis(
            lambda v, at=at: np.interp(at, np.arange(len(v)), v), axis, values
        )
    return values


def grad_cam(cell):
    expected = cam(cell)
    return None if expected is None else cell.against(expected)


def guided_grad_cam(cell):
    expected = cam(cell)
    gradients = None if expected is None else ruled(cell, guided)
    return None if gradients is None else cell.against(gradients * expected)


KERNELS = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def patterned(cell, replace):
    """Let the twin have something in the place of its kernels on the way back; None if it cannot.

    Args:
        replace: (kernel, pattern) -> what stands there.
    """
    model, twin, patterns = cell.setup.model, cell.reference.model, cell.setup.patterns
    pairs = list(zip(layers_of(model), layers_of(twin), strict=True))
    layers = {own.name: other for own, other in pairs if isinstance(own, KERNELS)}
    paths = [getattr(layer, "padding", "") for layer in layers.values()]
    if set(layers) != set(patterns) or "causal" in paths or not cell.network.exact:
        return None

    def patch(layer, pattern):
        def product(x, kernel):
            if isinstance(layer, keras.layers.Dense):
                return keras.ops.matmul(x, kernel)
            options = (layer.strides, layer.padding, layer.data_format, layer.dilation_rate)
            return keras.ops.conv(x, kernel, *options)

        def call(x, training=None, mask=None):
            ordinary = product(x, layer.kernel)
            other = product(x, replace(layer.kernel, np.asarray(pattern, "float64")))
            y = other + tf.stop_gradient(ordinary - other)
            return layer.activation(y if layer.bias is None else y + layer.bias)

        return call

    for name, layer in layers.items():
        layer.call = patch(layer, patterns[name])
    return list(layers.values())


def under_patterns(cell, replace, explain):
    """Give what `explain` gives while the twin has patterns; None where it cannot have them."""
    changed = patterned(cell, replace)
    if changed is None:
        return None
    try:
        return explain()
    finally:
        for layer in changed:
            del layer.call


def from_output(cell):
    """Give the gradients times the score."""
    scores = np.asarray(cell.reference.score(cell.examples, cell.targets))
    return each(lambda g: g * scores.reshape(-1, *[1] * (g.ndim - 1)), cell.gradient())


def pattern_net(cell):
    expected = under_patterns(cell, lambda w, a: a, lambda: from_output(cell))
    return None if expected is None else cell.against(expected)


def pattern_attribution(cell):
    expected = under_patterns(cell, lambda w, a: w * a, lambda: from_output(cell))
    return None if expected is None else cell.against(expected)


def pattern_guided(cell):
    x = cell.reference.wide(cell.examples)

    def riemann():
        points = [each(lambda v, k=k: v * k / STEPS, x) for k in range(1, STEPS + 1)]
        return each(np.multiply, x, mean([cell.gradient(p) for p in points]))

    expected = under_patterns(cell, lambda w, a: w * a, riemann)
    return None if expected is None else cell.against(expected)


def optimised_mask(cell):
    """Whether the map is the enlarged mask, and the class's probability under it as stated."""
    maps, mask, x = cell.maps, cell.record.mask, cell.reference.wide(cell.examples)
    channels = 1 if cell.network.channels == 0 else -1
    last = np.moveaxis(np.asarray(mask, "float64"), channels, -1)
    sizes = np.moveaxis(x, channels, -1).shape[1:-1]
    kept = np.moveaxis(enlarged(last, sizes, middles=False), -1, channels)
    error = float(np.abs(1 - maps - kept).max())
    if not mask.min() >= 0 or not mask.max() <= 1:
        return np.inf
    probability = cell.reference.score(x * kept, cell.targets, "probability")
    stated = next(v for k, v in cell.record.diagnostics.items() if k in ("deletion", "f_c"))
    return max(error, float(np.abs(np.asarray(probability) - stated).max()))


def named(values):
    """Flat arrays by name: those of a single input have the name None."""
    return values if isinstance(values, dict) else {None: values}


def spread_mask(cell, mask, x):
    """Give a mask of positions ``[...]`` for one example's elements."""
    return mask if x.ndim == 2 else np.expand_dims(mask, cell.network.channels)


def inputs_by_name(cell):
    """Give the examples by the names of the inputs, and a function back to their structure."""
    x = cell.reference.wide(cell.examples)
    if isinstance(x, dict):
        return x, lambda values: values
    if isinstance(x, list):
        names = [i.name for i in cell.setup.model.inputs]
        return dict(zip(names, x, strict=True)), lambda values: list(values.values())
    return {None: x}, lambda values: values[None]


def rise(cell):
    x, back = inputs_by_name(cell)
    masks = named(cell.setup.masks)
    count = len(next(iter(masks.values())))
    total = dict.fromkeys(x, 0.0)
    for i in range(count):
        spreads = {name: spread_mask(cell, masks[name][i], v) for name, v in x.items()}
        masked = {name: (v * spreads[name]).astype(v.dtype) for name, v in x.items()}
        scores = np.asarray(cell.reference.score(back(masked), cell.targets, "probability"))
        for name, v in x.items():
            weights = scores.reshape(-1, *[1] * (v.ndim - 1))
            total[name] = total[name] + weights * spreads[name] / (count * masks[name].mean())
    return cell.against(back(total))


def occlusion(cell):
    x, back = inputs_by_name(cell)
    full = np.asarray(cell.reference.score(back(x), cell.targets))
    maps = {}
    for name, v in x.items():
        positions = cell.network.positions(v.shape[1:])
        lengths = np.broadcast_to(named(cell.setup.patch)[name], len(positions))
        total, times = 0.0, np.zeros(positions)
        starts = [
            sorted({*range(0, n - k, k), n - k}) for n, k in zip(positions, lengths, strict=True)
        ]
        for corner in itertools.product(*starts):
            covered = np.zeros(positions, bool)
            covered[tuple(slice(c, c + k) for c, k in zip(corner, lengths, strict=True))] = True
            spread = spread_mask(cell, covered, v)
            changed = x | {name: np.where(spread, 0, v).astype(v.dtype)}
            drop = full - np.asarray(cell.reference.score(back(changed), cell.targets))
            total = total + drop.reshape(-1, *[1] * (v.ndim - 1)) * spread
            times += covered
        maps[name] = total / spread_mask(cell, times, v)
    return cell.against(back(maps))


def random_attribution(cell):
    """Whether all examples have the same noise, of about the size 1."""
    noise = np.concatenate([np.reshape(m, (len(m), -1)) for m in tf.nest.flatten(cell.maps)], 1)
    differences = float(np.abs(noise - noise[:1]).max())
    return differences if abs(noise[0].std() - 1) < 4 / np.sqrt(noise.shape[1]) else np.inf


CHECKS = {
    "gradient": gradient,
    "gradient_times_input": gradient_times_input,
    "integrated_gradients": completeness,
    "integrated_gradients, midpoint": midpoint,
    "expected_gradients": expected_gradients,
    "smoothgrad": smoothgrad,
    "smoothgrad_squared": smoothgrad_squared,
    "vargrad": vargrad,
    "adaptgrad": adaptgrad,
    "noisegrad": noisegrad,
    "fusiongrad": fusiongrad,
    "cafo": cafo,
    "caso": caso,
    "guided_backprop": guided_backprop,
    "deconvnet": deconvnet,
    "excitation_backprop": excitation_backprop,
    "grad_cam": grad_cam,
    "guided_grad_cam": guided_grad_cam,
    "pattern_net": pattern_net,
    "pattern_attribution": pattern_attribution,
    "pattern_guided_integrated_gradients": pattern_guided,
    "igos": optimised_mask,
    "meaningful_perturbation": optimised_mask,
    "rise": rise,
    "occlusion": occlusion,
    "random_attribution": random_attribution,
}
