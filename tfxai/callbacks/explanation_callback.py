"""The callback that draws maps."""

from __future__ import annotations

import importlib.util
import io
import time
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tfxai import plot
from tfxai.callbacks.explainers import check_same_model, checked_explainers, log_seconds
from tfxai.core import checks
from tfxai.explaining.explainer import Explainer
from tfxai.metrics.arrays import one_array


class ExplanationCallback(keras.callbacks.Callback):
    """Draws the maps of fixed images while a model is trained.

    Args:
        explainers: title -> an explainer of the model that is trained.
        images: ``[N, ...]``, as the model takes them.
        directory: where ``epoch_0001.png`` and so on and ``training.gif`` are written; None writes
            no files.
        tensorboard: a log directory for image summaries, which need the package tensorboard; None
            writes no summaries.
        targets: the classes to explain, ``[N]`` or one for all; None for the predicted classes.
        every: how many epochs lie between two pictures; the first epoch has one.
        signs: "signed" or "absolute", for all titles or for each, as in `tfxai.plot.panel`.
        seed: for methods that draw random numbers.

    Raises:
        TypeError, ValueError: no explainers, or none of the model; nowhere to write.
        ModuleNotFoundError: no package tensorboard.
        OSError: the directory cannot be written.

    Example:
        >>> import tempfile, tfxai
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(2))
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y, out = np.ones((8, 4, 4, 1)), np.zeros(8), tempfile.mkdtemp()
        >>> pictures = ExplanationCallback(
        ...     {"gradient": tfxai.gradient(model)}, x[:2], directory=out
        ... )
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[pictures])
        >>> sorted(path.name for path in Path(out).iterdir())
        ['epoch_0001.png', 'epoch_0002.png', 'training.gif']
    """

    def __init__(
        self,
        explainers: Mapping[str, Explainer],
        images: np.ndarray,
        *,
        directory: str | PathLike[str] | None = None,
        tensorboard: str | PathLike[str] | None = None,
        targets: Any = None,
        every: int = 1,
        signs: Sequence[str] | str = "signed",
        seed: int = 0,
    ):
        super().__init__()
        self.explainers = checked_explainers(explainers)
        self.images = one_array("images", images)
        self.targets = targets
        self.every = checks.positive_integer("every", every)
        self.signs = signs
        self.seed = seed
        if directory is None and tensorboard is None:
            raise ValueError("directory=None and tensorboard=None: give one, or both")
        self.directory = None if directory is None else Path(directory)
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
        self.writer = None if tensorboard is None else _summary_writer(tensorboard)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that the explainers explain the model that is trained."""
        check_same_model(self.explainers, self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw a picture, if the epoch has one."""
        seconds = 0.0
        if epoch % self.every == 0:
            start = time.perf_counter()
            self._write(self._picture(epoch), epoch)
            seconds = time.perf_counter() - start
        if logs is not None:
            log_seconds(logs, seconds)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Join the pictures to an animation."""
        if self.directory is None:
            return
        frames = [Image.open(path) for path in sorted(self.directory.glob("epoch_*.png"))]
        if frames:
            path = self.directory / "training.gif"
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=600, loop=0)
        for frame in frames:
            frame.close()

    def _picture(self, epoch: int) -> io.BytesIO:
        """Explain the images by each explainer; give the picture as a PNG file."""
        maps, images, labels = {}, [], []
        for title, explainer in self.explainers.items():
            with warnings.catch_warnings():
                # The picture shows what a warning would say at every epoch again.
                warnings.simplefilter("ignore", UserWarning)
                record = explainer.explain(self.images, self.targets, verbose=0, seed=self.seed)
            maps[title] = list(plot.channels_last(record.attributions, record.channels))
            images = list(plot.channels_last(self.images, record.channels))
            labels = record.target_names
        figure = plot.panel(images, maps, labels=labels, signs=self.signs)
        figure.suptitle(f"epoch {epoch + 1}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        return buffer

    def _write(self, picture: io.BytesIO, epoch: int) -> None:
        """Write a picture to the directory and to the summaries."""
        if self.directory is not None:
            (self.directory / f"epoch_{epoch + 1:04}.png").write_bytes(picture.getvalue())
        if self.writer is not None:
            pixels = np.asarray(Image.open(picture).convert("RGB"))
            with self.writer.as_default(step=epoch + 1):
                tf.summary.image("explanations", pixels[None])
            self.writer.flush()


def _summary_writer(directory: str | PathLike[str]) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError(
            "tensorboard= needs the package tensorboard: pip install 'tfxai[tensorboard]', or use "
            "directory="
        )
    return tf.summary.create_file_writer(str(directory))
