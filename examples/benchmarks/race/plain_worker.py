"""The floor of the race: a tf.function of the gradient, or of the prediction, and no library.

Works of many evaluations are a Python loop over it.
"""

import keras_networks
import numpy as np
import tensorflow as tf
import works
from protocol import serve


def load(name, folder):
    model = keras_networks.build(name, softmax=False)

    def contestant(work, images, options):
        gradient = keras_networks.gradient_function(model)

        @tf.function(reduce_retracing=True)
        def predict(x):
            return model(x, training=False)[:, works.TARGET]

        x = tf.constant(images)
        rows = options.get("rows")
        each = {
            "ig": lambda image: integrated_gradients(gradient, image, rows),
            "smoothgrad": lambda image: smoothgrad(gradient, image, rows),
            "occlusion": lambda image: occlusion(predict, image, rows),
        }
        if work == "gradient":
            return lambda: gradient(x).numpy()
        return lambda: np.stack([each[work](image).numpy() for image in x])

    return contestant


def parts(count, rows):
    return [range(k, min(k + rows, count)) for k in range(0, count, rows)]


def integrated_gradients(gradient, image, rows):
    nodes, weights = (v.astype("f4") for v in np.polynomial.legendre.leggauss(works.STEPS))
    total = tf.zeros_like(image)
    for part in parts(works.STEPS, rows):
        slopes = gradient((nodes[part][:, None, None, None] + 1) / 2 * image)
        total += tf.tensordot(weights[part] / 2, slopes, 1)
    return image * total


def smoothgrad(gradient, image, rows):
    total = tf.zeros_like(image)
    for part in parts(works.SAMPLES, rows):
        noise = tf.random.normal([len(part), *image.shape], stddev=works.NOISE)
        total += tf.reduce_sum(gradient(image + noise), 0)
    return total / works.SAMPLES


def occlusion(predict, image, rows):
    side = image.shape[0] // works.PATCH
    cells = np.eye(side * side, dtype="f4").reshape(-1, side, side, 1)
    masks = tf.constant(cells.repeat(works.PATCH, 1).repeat(works.PATCH, 2))
    score, total = predict(image[None]), tf.zeros([*image.shape[:2], 1])
    for part in parts(side * side, rows):
        covered = masks[part.start : part.stop]
        drops = score - predict(image * (1 - covered))
        total += tf.tensordot(drops, covered, 1)
    return total


if __name__ == "__main__":
    serve(load, {})
