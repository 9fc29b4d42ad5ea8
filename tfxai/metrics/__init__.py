"""Metrics of attributions: numpy in, numpy out."""

from tfxai.metrics.curves import Curve, Curves
from tfxai.metrics.deletion import deletion, deletion_and_insertion, insertion
from tfxai.metrics.sparseness import gini

__all__ = ["Curve", "Curves", "deletion", "deletion_and_insertion", "gini", "insertion"]
