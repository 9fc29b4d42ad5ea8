"""Refusals name remedies; here these are followed."""

import ast
import dataclasses
import re

import keras
from builders import Setup


def passthrough(match, setup):
    names = ast.literal_eval(match[1])
    fitted = Setup(setup.network, setup.model, setup.reference, names)
    return fitted, {"passthrough": names}


def one_input(match, setup):
    return setup, {"inputs": match[1]}


def input_in_front(match, setup):
    """Declare the size of the inputs, by a model around the model."""
    inputs = keras.Input(setup.network.shapes)
    model = keras.Model(inputs, setup.model(inputs))
    return Setup(setup.network, model, setup.reference), {}


def one_output(match, setup):
    """Explain the last output by itself."""
    model = keras.Model(setup.model.inputs, setup.model.outputs[-1])
    network = dataclasses.replace(setup.network, score=None)
    return Setup(network, model, setup.reference), {}


REMEDIES = [
    (r"passthrough=(\[[^\]]*\])", passthrough),
    (r"say which one is to be mapped: inputs='(\w+)'", one_input),
    (r"put keras.Input\(.*\) in front", input_in_front),
    (r"keras.Model\((model.)?inputs, (model.)?outputs\[i\]\)", one_output),
]
"""What a message says -> a function (match, setup) to another setup, and options to change."""


def follow(message, setup, run):
    """Follow the remedy that a message names.

    Args:
        message: of a refusal.
        setup: the network's `builders.Setup`.
        run: runs the cell with another setup and options.

    Returns:
        The remedy's name, and the state that it leads to or the error; nothing where no remedy that
        is known is named.
    """
    for pattern, changes in REMEDIES:
        match = re.search(pattern, message)
        if match:
            try:
                result = run(*changes(match, setup))
            except Exception as error:
                return {"remedy": match[0], "followed": f"{type(error).__name__}: {error}"[:500]}
            return {"remedy": match[0], "followed": result["state"]}
    return {}
