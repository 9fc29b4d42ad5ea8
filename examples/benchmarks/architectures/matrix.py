"""All cells of a network: what it is, whether its twin can be trusted, and each method on it."""

import builders
import cells as one
import numpy as np
import tensorflow as tf
from catalogue import NETWORKS
from float64_twin import Reference


def cells_of(network, names=None):
    """Run methods on a network; yields a dict for each."""
    model = network.model()
    reference = Reference(network, model)
    yield {"method": "(reference)", **trusted(network, model, reference)}
    if network.finish:
        network.finish(model)
    setup = builders.Setup(network, model, reference)
    for name in names or builders.METHODS:
        yield {"method": name, **one.run(name, setup)}


def cells(name, names=None):
    """Give the cells of a network of the catalogue, with its name and family."""
    network = NETWORKS[name]
    for cell in cells_of(network, names):
        yield {"network": name, "family": network.family, **cell}


def trusted(network, model, reference):
    """Whether outputs differ between examples, and the twin's tape agrees with differences."""
    examples, targets = network.examples(3), np.array(network.targets[:3])
    outputs = reference.outputs(examples)
    spread = min(float(np.std(o, 0).mean()) for o in tf.nest.flatten(outputs))
    error = reference.tape_error(examples, targets) if reference.differentiable else 0.0
    good = spread > 1e-2 and error < 2e-2
    return {"state": "ok" if good else "wrong", "spread": spread, "error": error}
