"""tf-keras-vis in the race."""

from importlib.metadata import version

import keras_networks
import numpy as np
import tensorflow as tf
import works
from protocol import serve
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.utils.model_modifiers import GuidedBackpropagation
from tf_keras_vis.utils.scores import CategoricalScore


def load(name, folder):
    model = keras_networks.build(name, softmax=False)

    def contestant(work, images, options):
        x, score = tf.constant(images), CategoricalScore([works.TARGET] * len(images))
        if work == "grad_cam":
            from tf_keras_vis.gradcam import Gradcam

            cam = Gradcam(model)
            return lambda: np.asarray(
                cam(
                    score,
                    x,
                    penultimate_layer=works.CAM_LAYERS[name],
                    seek_penultimate_conv_layer=False,
                    normalize_cam=False,
                )
            )[..., None]
        saliency = Saliency(model, GuidedBackpropagation() if work == "guided" else None)
        samples = works.SAMPLES if work == "smoothgrad" else 0
        return lambda: np.asarray(
            saliency(
                score,
                x,
                smooth_samples=samples,
                smooth_noise=works.NOISE / 2,
                keepdims=True,
                gradient_modifier=None,
                normalize_map=False,
            )
        )

    return contestant


if __name__ == "__main__":
    serve(load, {"tf-keras-vis": version("tf-keras-vis")})
