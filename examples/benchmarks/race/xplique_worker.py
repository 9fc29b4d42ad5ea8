"""Xplique in the race."""

from importlib.metadata import version

import keras_networks
import tensorflow as tf
import works
from protocol import serve
from xplique import attributions


def load(name, folder):
    model = keras_networks.build(name, softmax=False)

    def contestant(work, images, options):
        rows = options.get("rows", len(images))
        whole = {"batch_size": rows, "reducer": None}
        explainers = {
            "gradient": lambda: attributions.Saliency(model, **whole),
            "ig": lambda: attributions.IntegratedGradients(model, steps=works.STEPS, **whole),
            "smoothgrad": lambda: attributions.SmoothGrad(
                model, nb_samples=works.SAMPLES, noise=works.NOISE, **whole
            ),
            "guided": lambda: attributions.GuidedBackprop(model, **whole),
            "grad_cam": lambda: attributions.GradCAM(
                model, batch_size=rows, conv_layer=works.CAM_LAYERS[name]
            ),
            "occlusion": lambda: attributions.Occlusion(
                model, batch_size=rows, patch_size=works.PATCH, patch_stride=works.PATCH
            ),
            "rise": lambda: attributions.Rise(
                model, batch_size=rows, nb_samples=options["masks"], grid_size=works.GRID
            ),
        }
        explainer = explainers[work]()
        x, targets = tf.constant(images), tf.one_hot([works.TARGET] * len(images), 1000)
        return lambda: explainer(x, targets).numpy()

    return contestant


if __name__ == "__main__":
    serve(load, {"xplique": version("xplique")})
