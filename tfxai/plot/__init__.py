"""Figures: here, and only here, attributions are scaled and clipped. TensorFlow is not needed."""

from tfxai.plot.maps import draw_map, overlay
from tfxai.plot.panels import explanation, panel
from tfxai.plot.scaling import SIGNS, channels_last, displayable, flat_map, scale
from tfxai.plot.score_curves import curve, curves
from tfxai.plot.texts import tokens

__all__ = [
    "SIGNS",
    "channels_last",
    "curve",
    "curves",
    "displayable",
    "draw_map",
    "explanation",
    "flat_map",
    "overlay",
    "panel",
    "scale",
    "tokens",
]
