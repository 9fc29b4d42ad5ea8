"""The inputs of a model as metrics are given them: one array, or several arrays by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core.named_inputs import as_declared, leaf_names, quoted
from tfxai.core.types import Tensors
from tfxai.metrics.arrays import finite, one_array


class GivenInputs(NamedTuple):
    """Inputs in the structure that their model takes."""

    structure: Tensors
    """One array, or a dict or list of arrays, ``[B, ...]`` each."""
    names: list[Any]
    """Their names, in the order of `flat`."""
    declared: Tensors | None
    """What the model declares, in the structure of the inputs; None where it declares nothing."""

    @property
    def flat(self) -> list[np.ndarray]:
        """The arrays, in the order of `tf.nest.flatten`."""
        return tf.nest.flatten(self.structure)

    def pack(self, flat: Sequence[Any]) -> Tensors:
        """Give values, one for each array, in the structure of the inputs."""
        return tf.nest.pack_sequence_as(self.structure, list(flat))

    def label(self, argument: str, place: int) -> str:
        """Give what messages call the part of an argument that belongs to an input."""
        return argument if len(self.names) == 1 else f"{argument}[{self.names[place]!r}]"

    def explained(self, argument: str, maps: Any) -> dict[int, np.ndarray]:
        """Give the maps of the inputs that have one, by the places of these inputs.

        Args:
            argument: what messages call the maps.
            maps: an array for a single input; for several a dict by name, of all or of some, or
                what the model takes: a dict or list of maps for all.

        Raises:
            TypeError: the maps are not those of the inputs.
        """
        if not isinstance(maps, Mapping):
            if len(self.names) == 1:
                return {0: one_array(argument, maps)}
            if not isinstance(maps, list | tuple):
                raise TypeError(
                    f"{argument}: expected a dict with the maps of the inputs "
                    f"{quoted(self.names)}, or of some of them, while the others stay; got one "
                    "array"
                )
            maps = as_declared(maps, self.declared or self.structure, name=argument)
            return dict(enumerate(map(np.asarray, tf.nest.flatten(maps))))
        unknown = [name for name in maps if name not in self.names]
        if unknown and not tf.nest.is_nested(self.structure):
            return {0: one_array(argument, maps)}  # raises
        if unknown or not maps:
            raise TypeError(
                f"{argument}: expected a dict with the maps of the inputs {quoted(self.names)}, "
                f"or of some of them, got {quoted(maps) or 'an empty one'}"
            )
        return {
            place: one_array(argument, maps[name])
            for place, name in enumerate(self.names)
            if name in maps
        }

    def among(self, places: Sequence[int], values: Sequence[Any]) -> Tensors:
        """Give values, one for each of some inputs, as a baseline of these inputs sees them.

        Returns:
            The structure of the inputs for all of them, one array for a single one, and a dict by
            name for several.
        """
        if len(places) == len(self.names):
            return self.pack(values)
        if len(places) == 1:
            return values[0]
        return {self.names[place]: value for place, value in zip(places, values, strict=True)}


def given_inputs(values: Any, declared: Tensors | None = None, name: str = "inputs") -> GivenInputs:
    """Give inputs with their names.

    Args:
        values: an array, or a dict of arrays by name; where a list is declared, also a list.
        declared: the TensorSpecs that a model declares; None where nothing is declared.
        name: what messages call the values.

    Raises:
        TypeError: the inputs are not those that the model declares.
        ValueError: there are no examples, as many of each input are not given, or some are not
            finite.

    Example:
        >>> given = given_inputs({"zz": np.ones((2, 3)), "aa": np.zeros((2, 1))})
        >>> given.names, [x.shape for x in given.flat]
        (['aa', 'zz'], [(2, 1), (2, 3)])
    """
    if tf.nest.is_nested(declared) or (declared is not None and isinstance(values, Mapping)):
        structure = as_declared(values, declared, name=name)
        structure = keras.tree.map_structure_up_to(declared, np.asarray, structure)
    elif isinstance(values, Mapping):
        structure = {key: one_array(name, part) for key, part in values.items()}
    else:
        structure = one_array(name, values)
    given = GivenInputs(structure, leaf_names(structure, declared), declared)
    shapes = [list(x.shape) for x in given.flat]
    if any(x.ndim < 2 or x.size == 0 for x in given.flat) or len({s[0] for s in shapes}) != 1:
        what = "" if len(shapes) == 1 else ", as many examples of each input"
        raise ValueError(
            f"{name} has shape {', '.join(map(str, shapes))}: expected a batch of examples, "
            f"[B, F] or [B, ..., C], and not empty{what}"
        )
    for place, x in enumerate(given.flat):
        finite(given.label(name, place), x)
    return given
