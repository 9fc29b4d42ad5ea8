"""The stress test of pattern-guided integrated gradients (Schwarzenberg & Castle 2020, Fig. 2).

A signal z lies on the first of two inputs; a distractor lies on both. The network cancels the
distractor and computes f = min(z, 1). A good attribution gives the signal's input everything,
also on the plateau z > 1, where the gradient at the input is zero. Needs about fifteen seconds.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import tfxai

NOTEBOOK = (-1.00329617, -0.00329617)
"""First layer's pattern as the authors' notebook has it (it means x and y apart)."""
INTENDED = (-1.01706753, -0.01706753)
"""As the notebook means to have it, with E of the ReLU's output for E[y]."""


def data():
    """Give z ``[400]`` and the inputs x = (z, 0) + noise (1, 1), ``[400, 2]``."""
    z = np.arange(-2, 2, 0.01)  # as the authors do: rounding decides about the sample at z = 0
    distractor = np.random.RandomState(42).normal(0, 0.3, len(z))
    return z, np.stack([z + distractor, distractor], axis=1)


def network():
    first = keras.layers.Dense(1, activation="relu", name="first")
    model = keras.Sequential([keras.Input((2,)), first, keras.layers.Dense(1, name="second")])
    kernels = [np.array([[-1.0], [1.0]]), np.array([[-1.0]])]
    model.set_weights([kernels[0], np.ones(1), kernels[1], np.ones(1)])
    return model


def given_patterns(first):
    """Make patterns with another pattern of the first layer."""
    return tfxai.Patterns({"first": np.reshape(first, (2, 1)), "second": np.array([[-1.0]])})


def fitted(estimator="relu"):
    return tfxai.fit_patterns(network(), data()[1], estimator=estimator, verbose=0)


def explainers(patterns):
    """Give the explainers of the paper's figure, with its 100 points on each path."""
    model, rule = network(), tfxai.quadrature.right_riemann
    return {
        "IG": tfxai.integrated_gradients(model, steps=100, quadrature=rule),
        "PA": tfxai.pattern_attribution(model, patterns, start="output"),
        "PGIG": tfxai.pattern_guided_integrated_gradients(model, patterns, steps=100, start="one"),
    }


def attributions():
    """Give each method's attributions ``[400, 2]``."""
    _, x = data()
    return {name: explainer(x).numpy() for name, explainer in explainers(fitted()).items()}


def draw(path):
    """Draw Fig. 2: what there is to explain above, the attributions below."""
    z, x = data()
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplot_mosaic([list("aaabbb"), list("ccddee")], sharex=True)
    axes["a"].plot(z, network()(x), color="black")
    axes["a"].set_title("(a) target f")
    draw_dimensions(axes["b"], z, x, "(b) data")
    titles = ["(c) integrated gradients", "(d) PatternAttribution", "(e) pattern-guided IG"]
    for key, title, maps in zip("cde", titles, attributions().values(), strict=True):
        draw_dimensions(axes[key], z, maps, title)
        axes[key].sharey(axes["c"])
    for panel in axes.values():
        panel.axvspan(1, 2, color="0.93", zorder=0, label="plateau")
        panel.set(xlabel="z", xlim=(-2, 2), xticks=range(-2, 3))
        panel.tick_params(labelbottom=True)
    axes["b"].legend(loc="upper left", frameon=False)
    axes["c"].set_ylabel("attribution")
    figure.savefig(path, dpi=150)


def draw_dimensions(panel, z, values, title):
    panel.axhline(0, color="0.7", linewidth=0.8)
    panel.plot(z, values[:, 0], color="tab:blue", linewidth=1, label="signal's input")
    panel.plot(z, values[:, 1], color="tab:red", linewidth=1, label="distractor's input")
    panel.set_title(title)


def comparison():
    """Give rows (quantity, what the authors' formulas give, ours)."""
    _, x = data()
    last = x[-1:]
    given = [explainers(given_patterns(first)) for first in (NOTEBOOK, INTENDED)]
    return [
        ("first input", (-1.85098575, 0.14901425), x[0]),
        ("pattern", (-1.01620905, -0.01620905), fitted()["first"]),
        ("pattern as printed", (-1.02055643, -0.02055643), fitted("relu_printed")["first"]),
        ("PGIG at z = 1.99, notebook's pattern", (1.18456, -0.00061), given[0]["PGIG"](last)),
        ("PGIG at z = 1.99, pattern it intends", (1.20082, -0.00317), given[1]["PGIG"](last)),
        ("sum of IG at z = 1.99", (0.995,), np.sum(given[0]["IG"](last))),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("pgig_stress_test.png"))
    path = parser.parse_args().out
    print(f"{'':38}{'expected':>22}{'tfxai':>22}")
    for name, *cells in comparison():
        texts = (", ".join(f"{v:.5f}" for v in np.ravel(cell)) for cell in cells)
        print(f"{name:38}" + "".join(f"{text:>22}" for text in texts))
    draw(path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
