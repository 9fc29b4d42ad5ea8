"""Photos for the benchmarks, as a network of the zoo takes them."""

import numpy as np

from tfxai import zoo


def photos(classifier: zoo.Classifier, which: tuple[int, ...]) -> np.ndarray:
    """Give some of the photos of Foolbox, preprocessed, ``[B, H, W, 3]``."""
    files = [zoo.foolbox_photos()[i][0] for i in which]
    return classifier.preprocess(zoo.crops(files, classifier.size))
