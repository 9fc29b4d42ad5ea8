"""What a name that is nearly right, or another library's, is called here."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

_ELSEWHERE: dict[str, tuple[str, ...]] = {
    # Methods, as Captum, Xplique, tf-keras-vis and tf-explain call them.
    "saliency": ("gradient",),
    "vanillagradient": ("gradient",),
    "vanillagradients": ("gradient",),
    "inputxgradient": ("gradient_times_input",),
    "gradientinput": ("gradient_times_input",),
    "gradientxinput": ("gradient_times_input",),
    "ig": ("integrated_gradients",),
    "noisetunnel": ("smoothgrad",),
    "squaregrad": ("smoothgrad_squared",),
    "gradientshap": ("expected_gradients",),
    "deconvolution": ("deconvnet",),
    "guidedbackpropagation": ("guided_backprop",),
    "layergradcam": ("grad_cam",),
    "occlusionsensitivity": ("occlusion",),
    # Their arguments.
    "class": ("targets", "target"),
    "classindex": ("targets", "target"),
    "label": ("targets", "target"),
    "labels": ("targets", "target"),
    "mstep": ("steps",),
    "nbsamples": ("samples", "masks"),
    "nsamples": ("samples", "masks"),
    "nmasks": ("masks",),
    "ntsamples": ("samples",),
    "stdevs": ("noise_level",),
    "baselinevalue": ("baseline",),
    "layername": ("layer",),
    "convlayer": ("layer",),
    "penultimatelayer": ("layer",),
    "slidingwindowshapes": ("patch",),
    "patchsize": ("patch",),
    "patchstride": ("stride",),
    "internalbatchsize": ("batch_size",),
    "gridsize": ("grid",),
    "preservationprobability": ("probability",),
}
"""A name elsewhere, in small letters without separators -> what may be meant by it."""


def meant(name: str, known: Iterable[str]) -> str | None:
    """Give the one of some names that is most likely meant, None if none is.

    Example:
        >>> meant("GradCAM", ["gradient", "grad_cam"]), meant("n_steps", ["steps", "baseline"])
        ('grad_cam', 'steps')
        >>> meant("Saliency", ["gradient", "grad_cam"])
        'gradient'
        >>> meant("colour", ["steps", "baseline"]) is None
        True
    """
    spelt = {_plain(own): own for own in known}
    plain = _plain(name)
    if plain in spelt:
        return spelt[plain]
    for own in _ELSEWHERE.get(plain, ()):
        if own in spelt.values():
            return own
    close = difflib.get_close_matches(plain, spelt, 1, 0.6)
    return spelt[close[0]] if close else None


def hint(name: str, known: Iterable[str]) -> str:
    """Give "; perhaps NAME" for a message, nothing where no name is near."""
    found = meant(name, known)
    return "" if found is None else f"; perhaps {found}"


def answering(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Give a function that answers a keyword it does not have with the one that is meant.

    Example:
        >>> @answering
        ... def integrate(model, *, steps=64):
        ...     return steps
        >>> integrate(None, n_steps=50)
        Traceback (most recent call last):
        TypeError: integrate has no argument 'n_steps'; perhaps steps
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def answered(*args: _P.args, **keywords: _P.kwargs) -> _R:
        for name in keywords:
            if name not in known:
                told = hint(name, known) or f": it takes {', '.join(known)}"
                raise TypeError(f"{function.__qualname__} has no argument {name!r}{told}")
        return function(*args, **keywords)

    return answered


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
