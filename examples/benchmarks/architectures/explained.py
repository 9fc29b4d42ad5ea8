"""What a check gets: a method's record on a network, beside the network's reference."""

import numpy as np
import tensorflow as tf
from float64_twin import relative_error

each = tf.nest.map_structure


class Cell:
    """A method's record on a network, and what it is checked with."""

    def __init__(self, name, explainer, record, examples, targets, setup):
        self.name, self.explainer, self.record = name, explainer, record
        self.examples, self.targets, self.setup = examples, targets, setup
        self.reference, self.network = setup.reference, setup.network

    @property
    def maps(self):
        return self.record.attributions

    def gradient(self, examples=None, kind="logit"):
        examples = self.reference.wide(self.examples) if examples is None else examples
        return self.reference.gradient(examples, self.targets, kind)

    def against(self, expected):
        return relative_error(self.maps, expected)


def mean(maps):
    return each(lambda *m: np.mean(m, 0), *maps)


def enlarged(values, sizes, *, middles):
    """Linear interpolation along each axis of positions of ``[B, ..., 1]``.

    Args:
        middles: True where values stand at the middles of cells, False where the first and the last
            stand at the borders.
    """
    for axis, size in enumerate(sizes, 1):
        count = values.shape[axis]
        at = (
            (np.arange(size) + 0.5) * count / size - 0.5
            if middles
            else np.linspace(0, count - 1, size)
        )
        values = np.apply_along_axis(
            lambda v, at=at: np.interp(at, np.arange(len(v)), v), axis, values
        )
    return values
