"""Metrics that judge attributions; they take and give numpy arrays.

Inputs may be images, sequences, volumes or tables; of a model of several inputs, inputs and maps
are dicts of arrays by name. `information_level` and the metrics of localisation are for images
alone.
"""

from tfxai.metrics.curves import Curve, Curves
from tfxai.metrics.degradation import degradation
from tfxai.metrics.deletion import deletion, deletion_and_insertion, insertion
from tfxai.metrics.faithfulness import Infidelity, completeness, infidelity
from tfxai.metrics.information import information_level, median_auc
from tfxai.metrics.invariance import invariance, shifted
from tfxai.metrics.localisation import mass_share, pointing_game, top_k_share
from tfxai.metrics.randomisation import Consistency, consistency
from tfxai.metrics.robustness import max_sensitivity
from tfxai.metrics.similarity import rank_correlation
from tfxai.metrics.sparseness import gini

__all__ = [
    "Consistency",
    "Curve",
    "Curves",
    "Infidelity",
    "completeness",
    "consistency",
    "degradation",
    "deletion",
    "deletion_and_insertion",
    "gini",
    "infidelity",
    "information_level",
    "insertion",
    "invariance",
    "mass_share",
    "max_sensitivity",
    "median_auc",
    "pointing_game",
    "rank_correlation",
    "shifted",
    "top_k_share",
]
