"""One cell of the matrix: a method on a network, run, checked and judged."""

import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import remedies
import tensorflow as tf
from builders import explainer
from checks import CHECKS
from explained import Cell
from float64_twin import relative_error

import tfxai

PACKAGE = str(Path(tfxai.__file__).parent)
EXAMPLES = 3
SAY_NOTHING = ("zero everywhere", "the same everywhere", "hardly moved", "too little to delete")
"""Parts of warnings of maps that say nothing."""


def run(name, setup):
    """Run a method on a network.

    Returns:
        A dict of what is known of the cell: state, error (of the check), message, remedy, seconds.
    """
    start = time.perf_counter()
    network = setup.network
    if name in network.undefined:
        return {"state": "undefined", "message": network.undefined[name]}
    try:
        result = judged(name, setup, {}, checked=True)
    except Exception as error:
        result = failed(error)
        if result["state"] == "refused":
            result |= remedies.follow(
                result["message"], setup, lambda setup, changes: judged(name, setup, changes, False)
            )
    return result | {"seconds": round(time.perf_counter() - start, 2)}


def failed(error):
    """Give the state of a cell whose method raised an error: tfxai's own errors are refusals."""
    frames = traceback.extract_tb(error.__traceback__)
    own = frames[-1].filename.startswith(PACKAGE) and isinstance(error, TypeError | ValueError)
    message = f"{error}" if own else f"{type(error).__name__}: {error}"
    where = f"{frames[-1].filename}:{frames[-1].lineno}"
    return {"state": "refused" if own else "crashed", "message": message[:2000], "where": where}


def judged(name, setup, changes, checked):
    """Explain three examples, and one of them alone, and compare with the check.

    Args:
        changes: options that a remedy changes.
        checked: whether the map is compared with its check, which knows no such changes.
    """
    network = setup.network
    examples, targets = network.examples(EXAMPLES), network.targets[:EXAMPLES]
    method = explainer(name, setup, changes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = method.explain(examples, targets, verbose=0)
        alone = method(tf.nest.map_structure(lambda x: x[1:2], examples), targets[1:2])
    said = [str(w.message) for w in caught if w.category is UserWarning]
    result = {"warnings": said, "state": "wrong"}
    problem = malformed(record.attributions, record.inputs)
    if problem:
        return result | {"message": problem}
    alike = relative_error(tf.nest.map_structure(lambda m: m[1:2], record.attributions), alone)
    if not alike <= network.tolerance:
        message = f"an example alone has another map than in a batch: {alike:.2g}"
        return result | {"message": message, "error": alike}
    constant = constant_example(record.attributions)
    told = any(words in message for message in said for words in SAY_NOTHING)
    if constant is not None and not told:
        return result | {"message": f"the map of example {constant} is constant, without a warning"}
    cell = Cell(name, method, record, examples, np.array(targets), setup)
    error = CHECKS[name](cell) if checked else None
    if error is not None:
        result["error"] = float(f"{error:.3g}")
        if not error <= network.tolerance:
            return result | {"message": f"differs from its check by {error:.2g}"}
    elif constant is not None:
        return result | {"state": "warned", "message": f"the map of example {constant} is constant"}
    extended = list(record.settings.get("extended", ()))
    return result | {"state": "extended" if extended else "ok", "extended": extended}


def malformed(maps, examples):
    """Say what is wrong with the form of maps: their number, shapes, values that are not finite."""
    flat, inputs = tf.nest.flatten(maps), tf.nest.flatten(examples)
    if len(flat) != len(inputs):
        return f"{len(flat)} maps for {len(inputs)} inputs"
    for m, x in zip(flat, inputs, strict=True):
        fits = m.ndim == x.ndim and all(n in (1, k) for n, k in zip(m.shape, x.shape, strict=True))
        if not fits or len(m) != len(x):
            return f"maps of shape {m.shape} for inputs {x.shape}"
        if not np.isfinite(m).all():
            return "maps that are not finite"
    return None


def constant_example(maps):
    """Give the first example all of whose maps are constant, or None."""
    flat = tf.nest.flatten(maps)
    constants = [i for i in range(len(flat[0])) if all(np.ptp(m[i]) == 0 for m in flat)]
    return constants[0] if constants else None
