"""Names that are nearly right, or another library's, and the names of tfxai that they stand for."""

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
"""A name of another library, in small letters without separators -> tfxai's names for it."""


def similar_names(
    name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6
) -> list[str]:
    """Give the known names that are spelt like `name`, the most similar first.

    Case and separators do not count.

    Args:
        name: as it was given.
        known: the names that exist.
        most: how many names to give at most.
        cutoff: the least similarity, from 0 to 1, as `difflib.get_close_matches` measures it.

    Example:
        >>> similar_names("conv2_D", ["conv_2d", "dense"])
        ['conv_2d']
    """
    by_spelling = {_plain(own): own for own in known}
    close = difflib.get_close_matches(_plain(name), by_spelling, most, cutoff)
    return [by_spelling[spelling] for spelling in close]


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """Give the known name that `name` most likely stands for, None if there is no likely one.

    Example:
        >>> closest_name("GradCAM", ["gradient", "grad_cam"])
        'grad_cam'
        >>> closest_name("n_steps", ["steps", "baseline"])
        'steps'
        >>> closest_name("Saliency", ["gradient", "grad_cam"])
        'gradient'
        >>> closest_name("colour", ["steps", "baseline"]) is None
        True
    """
    by_spelling = {_plain(own): own for own in known}
    spelling = _plain(name)
    if spelling in by_spelling:
        return by_spelling[spelling]
    for own in _ELSEWHERE.get(spelling, ()):
        if own in by_spelling.values():
            return own
    return next(iter(similar_names(name, by_spelling.values())), None)


def hint(name: str, known: Iterable[str]) -> str:
    """Give "; perhaps NAME" for the end of a message, or nothing where no name is likely."""
    closest = closest_name(name, known)
    return "" if closest is None else f"; perhaps {closest}"


def with_keyword_hints(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Wrap a function so that an unknown keyword raises a TypeError that names the likely one.

    Example:
        >>> @with_keyword_hints
        ... def integrate(model, *, steps=64):
        ...     return steps
        >>> integrate(None, n_steps=50)
        Traceback (most recent call last):
        TypeError: integrate has no argument 'n_steps'; perhaps steps
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def wrapped(*args: _P.args, **keywords: _P.kwargs) -> _R:
        for name in keywords:
            if name not in known:
                remedy = hint(name, known) or f": it takes {', '.join(known)}"
                raise TypeError(f"{function.__qualname__} has no argument {name!r}{remedy}")
        return function(*args, **keywords)

    return wrapped


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
