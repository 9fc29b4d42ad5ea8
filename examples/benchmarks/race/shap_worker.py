"""SHAP's GradientExplainer in the race: as many gradients as IG, at random points from zero."""

from importlib.metadata import version

import keras
import networks
import numpy as np
import shap
import works
from protocol import serve


def load(name, folder):
    model = networks.build(name, softmax=False)
    # Of all 1000 classes only one is asked for.
    one_class = keras.Model(model.input, model.output[:, works.TARGET : works.TARGET + 1])

    def contestant(work, images, options):
        explainer = shap.GradientExplainer(
            one_class, np.zeros_like(images[:1]), batch_size=options["rows"]
        )
        return lambda: explainer.shap_values(images, nsamples=works.STEPS, rseed=0)[..., 0]

    return contestant


if __name__ == "__main__":
    serve(load, {"shap": version("shap")})
