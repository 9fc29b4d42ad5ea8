"""Refusals name remedies; here these are followed."""

import ast
import re

import keras


def passthrough(match, setup):
    return {"passthrough": ast.literal_eval(match[1])}


def input_in_front(match, setup):
    """Declare the size of the inputs, by a model around the model."""
    inputs = keras.Input(setup.network.shapes)
    return {"model": keras.Model(inputs, setup.model(inputs)), "score": setup.network.score}


def one_output(match, setup):
    """Explain the last output by itself."""
    return {"model": keras.Model(setup.model.inputs, setup.model.outputs[-1])}


REMEDIES = [
    (r"passthrough=(\[[^\]]*\])", passthrough),
    (r"put keras.Input\(.*\) in front", input_in_front),
    (r"keras.Model\((model.)?inputs, (model.)?outputs\[i\]\)", one_output),
]
"""What a message says -> a function (match, setup) that gives options, or another model."""


def follow(message, setup, run):
    """Follow the remedy that a message names.

    Args:
        message: of a refusal.
        setup: the network's `methods.Setup`.
        run: runs the cell with changes.

    Returns:
        The remedy's name, and the state that it leads to or the error; nothing where no remedy that
        is known is named.
    """
    for pattern, changes in REMEDIES:
        match = re.search(pattern, message)
        if match:
            try:
                result = run(changes(match, setup))
            except Exception as error:
                return {"remedy": match[0], "followed": f"{type(error).__name__}: {error}"[:500]}
            return {"remedy": match[0], "followed": result["state"]}
    return {}
