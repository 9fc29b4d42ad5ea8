"""Every public method of tfxai with options that are quick, as the matrix runs it."""

import functools
import inspect

import numpy as np
import tensorflow as tf
from network import CALIBRATION

import tfxai

SAMPLES = 2
EPSILON = 0.05
NOISE_LEVEL = 0.1
MASKS = 6
STEPS = 4
PATTERN_EXAMPLES = 48
OPTIMISED = {"resolution": 4, "lambda2": 1e-2, "baseline": 0.0}
"""Masks that are cheap to delete by, so that a few iterations move them."""


class Setup:
    """What a method gets besides the model; each is made when a method first asks for it.

    Args:
        network, model, reference: what is explained, and what it is compared with.
        passthrough: an option of the fit of patterns.
    """

    def __init__(self, network, model, reference, passthrough=()):
        self.network, self.model, self.reference = network, model, reference
        self.passthrough = passthrough

    @functools.cached_property
    def patterns(self):
        examples = self.network.examples(PATTERN_EXAMPLES, seed=2)
        return tfxai.fit_patterns(self.model, examples, passthrough=self.passthrough, verbose=0)

    @functools.cached_property
    def references(self):
        """Examples that expected gradients compare with."""
        return self.network.examples(3, seed=4)

    @functools.cached_property
    def bounds(self):
        """Ends that lie beyond all examples."""
        flat = [np.ravel(x) for x in tf.nest.flatten(self.network.examples(CALIBRATION))]
        low, high = min(x.min() for x in flat), max(x.max() for x in flat)
        room = 0.3 * (high - low)
        return float(low - room), float(high + room)

    @functools.cached_property
    def lambda1(self):
        """A threshold that about half of the features pass."""
        targets = self.network.targets[:3]
        gradient = self.reference.gradient(self.network.examples(3), targets, "loss")
        return float(np.median([np.median(np.abs(g)) for g in tf.nest.flatten(gradient)]))

    @functools.cached_property
    def patch(self):
        """Half of each axis of positions, and single features of tables."""

        def sizes(example):
            positions = self.network.positions(example.shape)
            halves = tuple(-(-n // 2) for n in positions)
            if example.ndim == 1:
                return 1
            return halves if len(halves) > 1 else halves[0]

        return self.network.by_name(sizes)

    @functools.cached_property
    def masks(self):
        """Masks of numbers in [0, 1], ``[N, *positions]`` for each input."""
        random = np.random.default_rng(6)
        return self.network.by_name(
            lambda example: random.random((MASKS, *self.network.positions(example.shape)))
        )


METHODS = {
    "gradient": (tfxai.gradient, {}),
    "gradient_times_input": (tfxai.gradient_times_input, {}),
    "integrated_gradients": (tfxai.integrated_gradients, {"steps": 13}),
    "integrated_gradients, midpoint": (
        tfxai.integrated_gradients,
        {"steps": STEPS, "quadrature": tfxai.quadrature.midpoint},
    ),
    "expected_gradients": (tfxai.expected_gradients, {"samples": SAMPLES}),
    "smoothgrad": (tfxai.smoothgrad, {"samples": SAMPLES, "noise_level": NOISE_LEVEL}),
    "smoothgrad_squared": (
        tfxai.smoothgrad_squared,
        {"samples": SAMPLES, "noise_level": NOISE_LEVEL},
    ),
    "vargrad": (tfxai.vargrad, {"samples": SAMPLES, "noise_level": NOISE_LEVEL}),
    "adaptgrad": (tfxai.adaptgrad, {"samples": SAMPLES}),
    "noisegrad": (tfxai.noisegrad, {"samples": SAMPLES, "epsilon": EPSILON}),
    "fusiongrad": (
        tfxai.fusiongrad,
        {"samples": (SAMPLES, SAMPLES), "epsilon": EPSILON, "noise_level": NOISE_LEVEL},
    ),
    "cafo": (tfxai.cafo, {}),
    "caso": (tfxai.caso, {}),
    "guided_backprop": (tfxai.guided_backprop, {}),
    "deconvnet": (tfxai.deconvnet, {}),
    "excitation_backprop": (tfxai.excitation_backprop, {}),
    "grad_cam": (tfxai.grad_cam, {}),
    "guided_grad_cam": (tfxai.guided_grad_cam, {}),
    "pattern_net": (tfxai.pattern_net, {}),
    "pattern_attribution": (tfxai.pattern_attribution, {}),
    "pattern_guided_integrated_gradients": (
        tfxai.pattern_guided_integrated_gradients,
        {"steps": STEPS},
    ),
    "igos": (tfxai.igos, {"steps": 3, "iterations": 2, "lambda1": 1e-3, **OPTIMISED}),
    "meaningful_perturbation": (
        tfxai.meaningful_perturbation,
        {"iterations": 3, "lambda1": 1e-3, **OPTIMISED},
    ),
    "rise": (tfxai.rise, {}),
    "occlusion": (tfxai.occlusion, {}),
    "random_attribution": (tfxai.random_attribution, {}),
}
"""Name -> builder, options. What depends on the network is in `explainer`."""

FROM_SETUP = {
    "expected_gradients": {"baselines": "references"},
    "adaptgrad": {"bounds": "bounds"},
    "cafo": {"lambda1": "lambda1"},
    "caso": {"lambda1": "lambda1"},
    "pattern_net": {"patterns": "patterns"},
    "pattern_attribution": {"patterns": "patterns"},
    "pattern_guided_integrated_gradients": {"patterns": "patterns"},
    "rise": {"masks": "masks"},
    "occlusion": {"patch": "patch", "stride": "patch"},
}
"""Method -> option -> the attribute of `Setup` that it gets."""
SMOOTHERS = {"smoothgrad", "smoothgrad_squared", "vargrad", "adaptgrad", "noisegrad", "fusiongrad"}
"""Methods that take the score by the explanation that they smooth."""

FAMILIES = {
    "gradients": (
        *("gradient", "gradient_times_input", "integrated_gradients"),
        *("integrated_gradients, midpoint", "expected_gradients"),
    ),
    "smoothing": ("smoothgrad", "smoothgrad_squared", "vargrad", "adaptgrad"),
    "noisy weights": ("noisegrad", "fusiongrad"),
    "second order": ("cafo", "caso"),
    "guided": ("guided_backprop", "deconvnet", "guided_grad_cam"),
    "Grad-CAM": ("grad_cam",),
    "excitation": ("excitation_backprop",),
    "patterns": ("pattern_net", "pattern_attribution", "pattern_guided_integrated_gradients"),
    "optimised masks": ("igos", "meaningful_perturbation"),
    "masks": ("rise", "occlusion"),
    "noise": ("random_attribution",),
}


def explainer(name, setup, changes):
    """Build a method on the network's model, with the network's score where the method takes one.

    Args:
        changes: options that a remedy changes.
    """
    builder, options = METHODS[name]
    options = dict(options)
    for key, attribute in FROM_SETUP.get(name, {}).items():
        options[key] = getattr(setup, attribute)
    model, score = setup.model, setup.network.score
    if score is not None and name in SMOOTHERS:
        model = tfxai.gradient(model, score=score)
    elif score is not None and "score" in inspect.signature(builder).parameters:
        options["score"] = score
    return builder(model, **options | changes)
