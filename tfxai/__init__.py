"""tfxai explains what Keras models look at, and says how good each explanation is."""

import importlib
import inspect
from types import ModuleType

from tfxai import baselines, hessian, kernels, metrics, quadrature, scores
from tfxai.core import synonyms
from tfxai.explaining.explainer import Explainer
from tfxai.explaining.explanation import Explanation
from tfxai.methods.backward.excitation_backprop import excitation_backprop
from tfxai.methods.backward.grad_cam import grad_cam, guided_grad_cam
from tfxai.methods.backward.guided_backprop import deconvnet, guided_backprop
from tfxai.methods.backward.pattern_attribution import (
    pattern_attribution,
    pattern_guided_integrated_gradients,
    pattern_net,
)
from tfxai.methods.gradients.expected_gradients import expected_gradients
from tfxai.methods.gradients.gradient import gradient, gradient_times_input, random_attribution
from tfxai.methods.gradients.integrated_gradients import integrated_gradients
from tfxai.methods.masks.igos import igos
from tfxai.methods.masks.meaningful_perturbation import meaningful_perturbation
from tfxai.methods.masks.occlusion import occlusion
from tfxai.methods.masks.rise import rise
from tfxai.methods.second_order.caso import cafo, caso
from tfxai.methods.smoothing.adaptgrad import adaptgrad, adaptive_epsilon, inherent_noise
from tfxai.methods.smoothing.noisegrad import NOISEGRAD_SIGMA, fusiongrad, noisegrad
from tfxai.methods.smoothing.smoothgrad import smoothgrad, smoothgrad_squared, vargrad
from tfxai.models import converted_layers as _converted_layers  # noqa: F401  registers the layers of saved models
from tfxai.models.logits_model import logits
from tfxai.models.splitting import split
from tfxai.rules.pattern_fit import fit_patterns
from tfxai.rules.patterns import Patterns
from tfxai.serving.saved_model import export
from tfxai.text.embedded import embedded

__version__ = "0.1.0"

__all__ = [
    "NOISEGRAD_SIGMA",
    "Explainer",
    "Explanation",
    "Patterns",
    "adaptgrad",
    "adaptive_epsilon",
    "baselines",
    "cafo",
    "caso",
    "deconvnet",
    "embedded",
    "excitation_backprop",
    "expected_gradients",
    "export",
    "fit_patterns",
    "fusiongrad",
    "grad_cam",
    "gradient",
    "gradient_times_input",
    "guided_backprop",
    "guided_grad_cam",
    "hessian",
    "igos",
    "inherent_noise",
    "integrated_gradients",
    "kernels",
    "logits",
    "meaningful_perturbation",
    "metrics",
    "noisegrad",
    "occlusion",
    "pattern_attribution",
    "pattern_guided_integrated_gradients",
    "pattern_net",
    "quadrature",
    "random_attribution",
    "rise",
    "scores",
    "smoothgrad",
    "smoothgrad_squared",
    "split",
    "vargrad",
]


for _name in __all__:
    # The modules keep the functions without hints, in which doctest finds the examples.
    if inspect.isfunction(globals()[_name]):
        globals()[_name] = synonyms.with_keyword_hints(globals()[_name])
        globals()[_name].__module__ = "tfxai"  # where pickle finds it

_LAZY_MODULES = ("benchmark", "callbacks", "converters", "scale")
"""Modules that are slow to import or need extras, and are imported at their first use."""


def __getattr__(name: str) -> ModuleType:
    """Import a lazy module, or raise an AttributeError that suggests a similar name."""
    if name in _LAZY_MODULES:
        return importlib.import_module(f"tfxai.{name}")
    hint = "" if name.startswith("_") else synonyms.hint(name, [*__all__, *_LAZY_MODULES])
    raise AttributeError(f"module 'tfxai' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    """List the public names, without modules and names that only serve the package."""
    return sorted({*__all__, *_LAZY_MODULES, "__version__"})
