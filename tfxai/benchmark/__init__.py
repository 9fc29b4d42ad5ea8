"""Which method explains this model best? Numbers, pictures and one call: `run`."""

from tfxai.benchmark.cases import Broken, Case, Photos
from tfxai.benchmark.compositions import Compositions
from tfxai.benchmark.measures import (
    MEASURES,
    Measure,
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
from tfxai.benchmark.results import Results
from tfxai.benchmark.run import run

__all__ = [
    "MEASURES",
    "Broken",
    "Case",
    "Compositions",
    "Measure",
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
