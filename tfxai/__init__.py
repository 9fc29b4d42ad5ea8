"""tfxai explains what Keras models look at, and says how good each explanation is."""

from tfxai import baselines, kernels, quadrature, scores
from tfxai.explainer import Explainer
from tfxai.explanation import Explanation
from tfxai.graph import logits
from tfxai.methods.gradient import gradient, gradient_times_input, random_attribution
from tfxai.methods.integrated_gradients import expected_gradients, integrated_gradients
from tfxai.methods.smoothing import smoothgrad, smoothgrad_squared, vargrad

__version__ = "0.1.0"

__all__ = [
    "Explainer",
    "Explanation",
    "baselines",
    "expected_gradients",
    "gradient",
    "gradient_times_input",
    "integrated_gradients",
    "kernels",
    "logits",
    "quadrature",
    "random_attribution",
    "scores",
    "smoothgrad",
    "smoothgrad_squared",
    "vargrad",
]
