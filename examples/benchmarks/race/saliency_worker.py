"""The library saliency in the race; it takes one image at a time, and the model as a function."""

from importlib.metadata import version

import keras
import keras_networks
import numpy as np
import saliency.core as saliency
import tensorflow as tf
import works
from protocol import serve


def load(name, folder):
    model = keras_networks.build(name, softmax=False)

    def contestant(work, images, options):
        call = cam_function(model, name) if work == "grad_cam" else gradient_function(model)
        explain = explainer(work, call, options)
        return lambda: np.stack([explain(image) for image in images])

    return contestant


def gradient_function(model):
    gradient = keras_networks.gradient_function(model)

    def call(x, call_model_args=None, expected_keys=None):
        return {saliency.INPUT_OUTPUT_GRADIENTS: gradient(tf.constant(x, tf.float32)).numpy()}

    return call


def cam_function(model, name):
    both = keras.Model(model.input, [model.get_layer(works.CAM_LAYERS[name]).output, model.output])

    @tf.function(reduce_retracing=True)
    def gradient(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            activations, logits = both(x, training=False)
            score = logits[:, works.TARGET]
        return activations, tape.gradient(score, activations)

    def call(x, call_model_args=None, expected_keys=None):
        activations, slopes = gradient(tf.constant(x, tf.float32))
        return {
            saliency.CONVOLUTION_LAYER_VALUES: activations.numpy(),
            saliency.CONVOLUTION_OUTPUT_GRADIENTS: slopes.numpy(),
        }

    return call


def explainer(work, call, options):
    if work == "grad_cam":
        cam = saliency.GradCam()
        return lambda image: cam.GetMask(image, call, three_dims=False)[..., None]
    if work == "ig":
        integrated = saliency.IntegratedGradients()
        return lambda image: integrated.GetMask(
            image,
            call,
            x_steps=works.STEPS,
            x_baseline=np.zeros_like(image),
            batch_size=options["rows"],
        )
    gradients = saliency.GradientSaliency()
    if work == "smoothgrad":
        return lambda image: gradients.GetSmoothedMask(
            image, call, nsamples=works.SAMPLES, stdev_spread=works.NOISE / 2, magnitude=False
        )
    return lambda image: gradients.GetMask(image, call)


if __name__ == "__main__":
    serve(load, {"saliency": version("saliency")})
