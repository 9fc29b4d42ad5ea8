"""tfxai in the race: networks with their softmax, as users have them."""

import keras
import keras_networks
import tensorflow as tf
import works
from protocol import serve

import tfxai


def explainers(name):
    return {
        "gradient": tfxai.gradient,
        "ig": lambda model: tfxai.integrated_gradients(
            model, steps=works.STEPS, quadrature=tfxai.quadrature.gauss_legendre
        ),
        "smoothgrad": lambda model: tfxai.smoothgrad(
            model, samples=works.SAMPLES, epsilon=works.NOISE
        ),
        "guided": tfxai.guided_backprop,
        "grad_cam": lambda model: tfxai.grad_cam(model, layer=works.CAM_LAYERS[name]),
        "occlusion": lambda model: tfxai.occlusion(model, patch=works.PATCH, stride=works.PATCH),
        "rise": tfxai.rise,
    }


def load(name, folder):
    model, builders = keras_networks.build(name), explainers(name)

    def contestant(work, images, options):
        x = tf.constant(images)
        settings = {"masks": options["masks"], "grid": works.GRID} if work == "rise" else {}
        explainer = builders[work](model, **settings)
        return lambda: explainer(x, works.TARGET).numpy()

    return contestant


if __name__ == "__main__":
    serve(
        load,
        {
            "tfxai": tfxai.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    )
