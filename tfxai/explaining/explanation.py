"""`Explanation`, the record of an explanation: the maps, and what one needs to repeat them."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfxai.core.types import Tensors

_RECORD_FILE = "record.json"
_READING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    EOFError,
)
"""What zipfile, json and numpy raise for a file that is damaged or of another kind."""


@dataclass(frozen=True, repr=False)
class Explanation:
    """What `Explainer.explain` returns; all arrays are numpy, and their first axis is the batch."""

    attributions: Tensors
    """The maps, signed and unscaled, in the structure of the inputs."""
    targets: np.ndarray
    """The explained classes, int32 ``[B]``."""
    scores: np.ndarray
    """The explained score of each example, ``[B]``."""
    seed: int
    """The seed that `explain` was called with."""
    settings: dict[str, Any]
    """The method's name and options, as text and numbers."""
    head: str | None
    """"softmax" or "sigmoid" if that head was bypassed to explain the logit, else None."""
    versions: dict[str, str]
    """The versions of tfxai, keras, tensorflow and numpy."""
    diagnostics: dict[str, np.ndarray] = field(default_factory=dict)
    """What the method knows of its maps: map_error, completeness_gap, steps, standard_error ..."""
    names: tuple[str, ...] | None = None
    """The names of the model's classes, if they are known."""
    inputs: Tensors | None = None
    """The explained inputs, those that have maps, for plotting; not saved."""
    channels: Any = None
    """The axis of the channels, in the structure of `attributions`.

    It is -1, or -3 for images ``[B, C, H, W]``, whose maps may be ``[B, 1, H, W]``; None if it is
    not known.
    """

    @property
    def target_names(self) -> list[str]:
        """The targets by name, or as text."""
        return [self.names[t] if self.names else str(t) for t in self.targets]

    @property
    def mask(self) -> Tensors:
        """The mask of a method that optimises one, ``[B, h, w, 1]`` for images.

        It is ``[B, 1, h, w]`` if the channels of the images come first. The masks of several inputs
        have the structure of the maps.

        Raises:
            AttributeError: the method has no mask.
        """
        if "mask" not in self.diagnostics:
            raise AttributeError(f"{self.settings['method']} has no mask")
        return self.diagnostics["mask"]

    def save(self, path: str | PathLike[str]) -> Path:
        """Write all fields but `inputs` to one .npz file, which numpy reads without pickle."""
        path = Path(path)
        arrays: dict[str, np.ndarray] = {"targets": self.targets, "scores": self.scores}
        layout = {
            "attributions": _unpack("attributions", self.attributions, arrays),
            "diagnostics": _unpack("diagnostics", self.diagnostics, arrays),
        }
        meta = {
            "seed": self.seed,
            "settings": self.settings,
            "head": self.head,
            "versions": self.versions,
            "names": self.names,
            "channels": self.channels,
            "layout": layout,
        }
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_RECORD_FILE, json.dumps(meta))
        return path

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Explanation:
        """Read a file that `save` wrote.

        Raises:
            ValueError: the file is not an explanation.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                meta = json.loads(archive.read(_RECORD_FILE))
            with np.load(path, allow_pickle=False) as file:
                arrays = {k: file[k] for k in file.files if k != _RECORD_FILE}
            layout = meta.pop("layout")
            names = meta.pop("names")
            return cls(
                attributions=_pack(layout["attributions"], arrays),
                diagnostics=_pack(layout["diagnostics"], arrays),
                targets=arrays["targets"],
                scores=arrays["scores"],
                names=tuple(names) if names else None,
                **meta,
            )
        except _READING_ERRORS as error:
            raise ValueError(f"{path} is not an explanation saved by tfxai: {error}") from error

    def plot(self, *, images: Tensors | None = None) -> Any:
        """Draw each example beside its map, as `tfxai.plot.explanation` does."""
        from tfxai import plot

        return plot.explanation(self, images=images)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.plot().savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()

    def __repr__(self) -> str:
        lines = [f"Explanation by {self.settings['method']} of {len(self.targets)} examples"]
        lines.append(f"  targets {_brief(self.target_names)}, scores {_brief(self.scores)}")
        if self.head:
            lines.append(f"  the {self.head} head was bypassed")
        lines += [
            f"  {name} {_brief(value)}"
            for name, value in self.diagnostics.items()
            if isinstance(value, np.ndarray) and value.ndim == 1
        ]
        return "\n".join(lines)


def join(parts: list[Explanation]) -> Explanation:
    """Concatenate explanations of one method along the batch axis."""
    first = parts[0]

    def along_batch(*arrays: np.ndarray) -> np.ndarray:
        return np.concatenate(arrays)

    return Explanation(
        attributions=keras.tree.map_structure(along_batch, *[p.attributions for p in parts]),
        diagnostics=keras.tree.map_structure(along_batch, *[p.diagnostics for p in parts]),
        targets=along_batch(*[p.targets for p in parts]),
        scores=along_batch(*[p.scores for p in parts]),
        seed=first.seed,
        settings=first.settings,
        head=first.head,
        versions=first.versions,
        names=first.names,
        inputs=keras.tree.map_structure(along_batch, *[p.inputs for p in parts]),
        channels=first.channels,
    )


def _unpack(name: str, values: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Put the arrays of a structure into `arrays`; give the structure of their keys."""
    if isinstance(values, dict):
        return {k: _unpack(f"{name}.{k}", v, arrays) for k, v in values.items()}
    if isinstance(values, list | tuple):
        parts = [_unpack(f"{name}.{i}", v, arrays) for i, v in enumerate(values)]
        return {"tuple": parts} if isinstance(values, tuple) else parts
    if values.dtype == object:
        raise ValueError(f"{name} holds Python objects; only arrays of numbers are saved")
    arrays[name] = values
    return name


def _pack(layout: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Give the structure of arrays that `_unpack` took apart."""
    if isinstance(layout, dict):
        if set(layout) == {"tuple"} and isinstance(layout["tuple"], list):
            return tuple(_pack(v, arrays) for v in layout["tuple"])
        return {k: _pack(v, arrays) for k, v in layout.items()}
    if isinstance(layout, list):
        return [_pack(v, arrays) for v in layout]
    return arrays[layout]


def _brief(values: Any) -> str:
    """Give the first four values as text."""
    texts = [v if isinstance(v, str) else f"{v:.4g}" for v in values[:4]]
    return ", ".join(texts) + (", ..." if len(values) > 4 else "")
