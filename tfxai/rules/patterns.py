"""Patterns: for each neuron, the direction in which its inputs carry its signal.

A neuron's weights must also cancel the distractor in its inputs, so they do not show where the
signal is; its pattern does (Kindermans et al. 2018; docs/methods.md, Patterns). `fit_patterns`
estimates patterns in one pass over data.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np


class Quality(NamedTuple):
    """How well the patterns of one layer are known."""

    layer: str
    neurons: int
    """The number of neurons."""
    dead: float
    """The share of neurons that were never active; their patterns are zero."""
    error: float
    """The largest |w . a - 1| of the other neurons."""


@keras.saving.register_keras_serializable("tfxai")
class Patterns(Mapping[str, np.ndarray]):
    """A mapping from layer names to patterns, arrays of the shapes of the layers' kernels.

    Args:
        arrays: layer name -> array, with the names that `fit_patterns` gives.
        estimator: the estimator that was used.
        examples: how many examples were used.
        report: the quality of each layer's patterns.

    Example:
        >>> patterns = Patterns({"dense": np.ones((2, 1))}, examples=100)
        >>> patterns["dense"].shape, list(patterns), patterns.examples
        ((2, 1), ['dense'], 100)
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        estimator: str = "relu",
        examples: int = 0,
        report: tuple[Quality, ...] = (),
    ):
        self._arrays = {name: np.asarray(a, np.float32) for name, a in arrays.items()}
        self.estimator = estimator
        self.examples = examples
        self.report = report

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        lines = [f"Patterns of {len(self)} layers from {self.examples} examples, {self.estimator}"]
        width = max((len(q.layer) for q in self.report), default=0)
        lines += [
            f"  {q.layer:{width}}  {q.neurons:6d} neurons, {q.dead:6.1%} dead, "
            f"|w.a - 1| <= {q.error:.0e}"
            for q in self.report
        ]
        return "\n".join(lines)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the patterns and all about them to one .npz file, which numpy reads safely.

        Args:
            path: the file; it is overwritten.

        Returns:
            The path.
        """
        path = Path(path)
        names = list(self)
        with path.open("wb") as file:
            np.savez(file, **{str(i): self[n] for i, n in enumerate(names)})  # type: ignore[arg-type]
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("patterns.json", json.dumps({"names": names, **self._facts()}))
        return path

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Patterns:
        """Read a file that `save` has written.

        Raises:
            ValueError: the file holds no patterns.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                facts = json.loads(archive.read("patterns.json"))
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[str(i)] for i, name in enumerate(facts.pop("names"))}
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ValueError(f"{path} holds no patterns saved by tfxai: {error}") from error
        report = tuple(Quality(*q) for q in facts.pop("report"))
        return cls(arrays, report=report, **facts)

    def get_config(self) -> dict[str, Any]:
        """Give all but the arrays, which are saved as weights of the explainer."""
        return {"shapes": {name: list(a.shape) for name, a in self.items()}, **self._facts()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Patterns:
        """Make patterns whose arrays are NaN until the explainer's weights are loaded."""
        config = dict(config)
        shapes = config.pop("shapes")
        report = tuple(Quality(*q) for q in config.pop("report"))
        arrays = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
        return cls(arrays, report=report, **config)

    def _facts(self) -> dict[str, Any]:
        return {
            "estimator": self.estimator,
            "examples": self.examples,
            "report": [list(q) for q in self.report],
        }


class PatternWeights(keras.layers.Layer):
    """Holds patterns as weights that are not trained, so that they are saved with an explainer."""

    def __init__(self, patterns: Patterns):
        super().__init__(name="patterns", trainable=False)
        self.names = list(patterns)
        for i, array in enumerate(patterns.values()):
            weight = self.add_weight(array.shape, "zeros", trainable=False, name=f"pattern_{i}")
            weight.assign(array)
        self.built = True

    def tensors(self) -> dict[str, Any]:
        """Give the patterns by layer name, as tensors of the current graph."""
        tensors = [keras.ops.convert_to_tensor(w) for w in self.weights]
        return dict(zip(self.names, tensors, strict=True))
