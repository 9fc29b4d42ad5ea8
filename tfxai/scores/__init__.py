"""Scores: the scalar of a model that an explanation is about.

The first scores are functions of the **logits** ``z [B, C]``: tfxai bypasses a softmax or sigmoid
head before it calls them. A one-unit output ``[B, 1]`` (or ``[B]``) is the logit of class 1 of a
binary classifier. For other outputs, `output`, `position`, `region`, `box` and `unit` say which
part is explained, and by which score; they nest: ``output("mask", region())``. A score of your own
receives the model's outputs unchanged; decorate it with `on_logits` if it is a function of the
logits.
"""

from tfxai.scores.box import box
from tfxai.scores.marks import expects_logits, on_logits
from tfxai.scores.of_classes import cross_entropy, log_probability, logit, margin, probability
from tfxai.scores.output import output
from tfxai.scores.position import position, unit
from tfxai.scores.region import region
from tfxai.scores.rows import as_rows, two_classes

__all__ = [
    "as_rows",
    "box",
    "cross_entropy",
    "expects_logits",
    "log_probability",
    "logit",
    "margin",
    "on_logits",
    "output",
    "position",
    "probability",
    "region",
    "two_classes",
    "unit",
]
