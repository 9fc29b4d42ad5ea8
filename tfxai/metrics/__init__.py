"""Metrics of attributions: numpy in, numpy out."""

from tfxai.metrics.sparseness import gini

__all__ = ["gini"]
