"""Every method with options that are quick: what has a line here is run in every way."""

import numpy as np

import tfxai
from tests.networks import with_patterns

CHEAP = {"lambda1": 1e-3, "lambda2": 1e-2}
REFERENCES = np.random.default_rng(9).normal(size=(3, 8, 8, 3))
BUILDERS = {
    "gradient": tfxai.gradient,
    "gradient_times_input": tfxai.gradient_times_input,
    "input_times_smoothgrad": lambda m: tfxai.gradient_times_input(tfxai.smoothgrad(m, samples=3)),
    "random_attribution": tfxai.random_attribution,
    "integrated_gradients": lambda m: tfxai.integrated_gradients(m, steps=12),
    "tolerance": lambda m: tfxai.integrated_gradients(m, tolerance=0.02, max_steps=60),
    "gauss_legendre": lambda m: tfxai.integrated_gradients(
        m, steps=6, quadrature=tfxai.quadrature.gauss_legendre, score=tfxai.scores.probability
    ),
    "references": lambda m: tfxai.integrated_gradients(m, steps=9, baseline=REFERENCES),
    "blur": lambda m: tfxai.integrated_gradients(m, steps=9, baseline="blur"),
    "black": lambda m: tfxai.integrated_gradients(
        m, steps=9, baseline="black", bounds=([-1, -2, -3], 1)
    ),
    "expected_gradients": lambda m: tfxai.expected_gradients(m, REFERENCES, samples=5),
    "smoothgrad": lambda m: tfxai.smoothgrad(m, samples=5),
    "smoothgrad_squared": lambda m: tfxai.smoothgrad_squared(m, samples=5),
    "vargrad": lambda m: tfxai.vargrad(m, samples=5),
    "smoothed_ig": lambda m: tfxai.smoothgrad(
        tfxai.integrated_gradients(m, steps=5), samples=3, noise_level=0.05
    ),
    "smoothed_eg": lambda m: tfxai.smoothgrad(
        tfxai.expected_gradients(m, REFERENCES, samples=2), samples=3
    ),
    "smooth_to_tolerance": lambda m: tfxai.smoothgrad(
        m, tolerance=0.09, max_samples=40, kernel=tfxai.kernels.sigmoid
    ),
    "adaptgrad": lambda m: tfxai.adaptgrad(m, bounds=([-8, -9, -10], 256), samples=5),
    "cafo": lambda m: tfxai.cafo(m, lambda1=0.005),
    "caso": tfxai.caso,
    "noisegrad": lambda m: tfxai.noisegrad(m, samples=4, epsilon=0.2),
    "fusiongrad": lambda m: tfxai.fusiongrad(m, samples=(3, 2), kernel=tfxai.kernels.rect),
}
RULES = {
    "guided_backprop": tfxai.guided_backprop,
    "deconvnet": tfxai.deconvnet,
    "excitation_backprop": tfxai.excitation_backprop,
    "pattern_net": with_patterns(tfxai.pattern_net),
    "pattern_attribution": with_patterns(tfxai.pattern_attribution),
    "pattern_guided": with_patterns(tfxai.pattern_guided_integrated_gradients, steps=5),
    "guided_grad_cam": tfxai.guided_grad_cam,
    "noisy_patterns": lambda m: tfxai.noisegrad(
        with_patterns(tfxai.pattern_attribution)(m), samples=2
    ),
}
MASKS = {
    "igos": lambda m: tfxai.igos(m, resolution=(4, 3), steps=4, iterations=2, **CHEAP),
    "igos_published": lambda m: tfxai.igos(
        m, resolution=4, steps=5, iterations=3, **CHEAP, descent="gradient", tolerance=None
    ),
    "igos_averaged": lambda m: tfxai.igos(
        m, resolution=4, steps=5, iterations=3, **CHEAP, line_search="averaged"
    ),
    "meaningful_perturbation": lambda m: tfxai.meaningful_perturbation(
        m, resolution=4, iterations=4, baseline="mean"
    ),
    "rise": lambda m: tfxai.rise(m, masks=30, grid=3, baseline="noise"),
    "occlusion": lambda m: tfxai.occlusion(m, patch=3),
}
"""These have one channel."""
BUILDERS |= RULES | MASKS
