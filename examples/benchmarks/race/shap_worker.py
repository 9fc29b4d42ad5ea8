"""SHAP's GradientExplainer in the race: as many gradients as IG, at random points from zero."""

from importlib.metadata import version

import keras_networks
import numpy as np
import shap
import works
from protocol import serve


def load(name, folder):
    model = keras_networks.build(name, softmax=False)

    def contestant(work, images, options):
        explainer = shap.GradientExplainer(
            model, np.zeros_like(images[:1]), batch_size=options["rows"]
        )
        # Of all 1000 classes only one is asked for.
        classes = {
            "ranked_outputs": np.full((len(images), 1), works.TARGET),
            "output_rank_order": "custom",
        }
        return lambda: explainer.shap_values(images, nsamples=works.STEPS, rseed=0, **classes)[0][
            ..., 0
        ]

    return contestant


if __name__ == "__main__":
    serve(load, {"shap": version("shap")})
