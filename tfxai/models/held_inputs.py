"""Models whose other inputs are held: each example keeps its own, whatever a method does.

A method moves what it explains, repeats examples, and takes some of them out, but every row that it
makes of an example keeps the target of that example. So the number of an example takes the place of
its target, and the row is completed by what the example of this number holds. The methods need not
know of it.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tfxai.core.types import Tensors


class HoldingModel(keras.Model):
    """A model of one input, for the examples whose other inputs it holds.

    It is made while a method is traced, for the tensors of that graph, and is called by `completed`
    alone.

    Args:
        whole: a model that takes ``[explained, held]``.
        held: what the examples hold, tensors ``[B, ...]`` in any structure.
        targets: the targets of the examples, ``[B]``.
    """

    def __init__(self, whole: keras.Model, held: Tensors, targets: tf.Tensor):
        super().__init__(name=whole.name)
        self.whole = whole
        # Keras would copy a structure that is an attribute.
        self._examples = lambda: (held, targets)

    @property
    def held(self) -> Tensors:
        """What the examples hold."""
        return self._examples()[0]

    def complete(self, explained: tf.Tensor, numbers: tf.Tensor) -> tuple[Tensors, tf.Tensor]:
        """Give the inputs of the whole model and the targets, for rows ``[n, ...]``.

        Args:
            explained: ``[n, ...]``.
            numbers: of which example each row is made, ``[n]``.
        """
        held, targets = tf.nest.map_structure(lambda x: tf.gather(x, numbers), self._examples())
        return [explained, held], targets


def completed(
    model: keras.Model, inputs: Tensors, targets: tf.Tensor
) -> tuple[keras.Model, Tensors, tf.Tensor]:
    """Give the model that is to be called, its inputs and the targets.

    They are those that are given, but for a `HoldingModel`: then `targets` are the numbers of the
    examples.
    """
    if not isinstance(model, HoldingModel):
        return model, inputs, targets
    return model.whole, *model.complete(inputs, targets)
