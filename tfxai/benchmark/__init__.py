"""Which method explains a model best? `run` answers with numbers and pictures."""

from tfxai.benchmark.cases import Broken, Case, Photos
from tfxai.benchmark.catalogue import (
    METRICS,
    aic,
    completeness,
    consistency,
    degradation,
    deletion,
    gini,
    infidelity,
    insertion,
    invariance,
    mass_share,
    max_sensitivity,
    pointing_game,
    sic,
    top_k_share,
)
from tfxai.benchmark.compositions import Compositions
from tfxai.benchmark.metric import Metric
from tfxai.benchmark.results import Results
from tfxai.benchmark.run import run

__all__ = [
    "METRICS",
    "Broken",
    "Case",
    "Compositions",
    "Metric",
    "Photos",
    "Results",
    "aic",
    "completeness",
    "consistency",
    "degradation",
    "deletion",
    "gini",
    "infidelity",
    "insertion",
    "invariance",
    "mass_share",
    "max_sensitivity",
    "pointing_game",
    "run",
    "sic",
    "top_k_share",
]
