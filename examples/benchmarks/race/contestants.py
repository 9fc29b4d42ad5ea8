"""Who takes part in the race, in which settings, and in which works."""

from typing import NamedTuple

import works


class Contestant(NamedTuple):
    """A library in one setting."""

    name: str
    worker: str
    """The name of its script, without `_worker.py`."""
    works: tuple[str, ...]
    settings: dict
    chooses_rows: bool = True
    """It is told how many rows to take at a time in works of many evaluations."""


OURS = Contestant("tfxai", "tfxai", works.WORKS, {}, chooses_rows=False)
PLAIN = Contestant("tf.function", "plain", ("gradient", "ig", "smoothgrad", "occlusion"), {})


def captum(name: str, channels_last: bool, weight_gradients: bool) -> Contestant:
    """Give Captum in one of its settings."""
    settings = {"channels_last": channels_last, "weight_gradients": weight_gradients}
    return Contestant(name, "captum", works.WORKS, settings)


CAPTUMS = (
    captum("Captum +w", False, True),
    captum("Captum", False, False),
    captum("Captum CL +w", True, True),
    captum("Captum CL", True, False),
)
PEERS = (
    Contestant("Xplique", "xplique", works.WORKS, {}),
    Contestant(
        "tf-keras-vis",
        "tf_keras_vis",
        ("gradient", "smoothgrad", "guided", "grad_cam"),
        {},
        chooses_rows=False,
    ),
    Contestant("saliency", "saliency", ("gradient", "ig", "smoothgrad", "grad_cam"), {}),
    Contestant("SHAP", "shap", ("ig",), {}),
)
ALL = (OURS, PLAIN, *CAPTUMS, *PEERS)
WORKERS = tuple(dict.fromkeys(contestant.worker for contestant in ALL))


def taking_part(work: str, workers, captum_setting: str | None) -> list[Contestant]:
    """Give the contestants of a work.

    Args:
        work: one of `works.WORKS`.
        workers: the libraries that are asked for; tfxai always is.
        captum_setting: the only setting of Captum to take part; None for all four.
    """
    return [
        contestant
        for contestant in ALL
        if contestant.worker in (*workers, OURS.worker)
        and work in contestant.works
        and (contestant not in CAPTUMS or captum_setting in (None, contestant.name))
    ]


LEGEND = """\
- **tf.function**: no library, a `tf.function` of the gradient (or of the prediction, for
  occlusion), in a Python loop where the work has many evaluations: the floor.
- **Captum**: `+w` computes the weights' gradients, as a network does before
  `requires_grad_(False)`; `CL` keeps network and images channels-last. It has no RISE: there it is
  a plain loop of PyTorch.
- **tf-keras-vis** calls the model eagerly; it has no IG, occlusion or RISE.
- **saliency** takes one image at a time, and SmoothGrad's samples one by one. Its guided backprop
  is for TensorFlow 1, its occlusion has a stride of one pixel only; it has no RISE.
- **SHAP** is GradientExplainer with zero as its one background image: as many gradients as IG, at
  random points.
- Xplique's IG has the trapezoidal rule, saliency's a sum; Captum's and ours are Gauss-Legendre."""
