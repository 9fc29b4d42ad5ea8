"""The figure of texts: each token on the colour of its attribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfxai.plot.scaling import check_sign, scale

CHARACTERS = 72
"""How many characters stand on a line, at most, unless a single token is longer."""
_SIZE = 11.0
"""The size of the font, in points."""
_WIDTH = 0.62 * _SIZE / 72
"""The width of a character of the monospaced font, in inches."""
_HEIGHT = 2.0 * _SIZE / 72
"""The height of a line, in inches."""


def tokens(
    texts: Sequence[str] | Sequence[Sequence[str]],
    values: np.ndarray | Sequence[np.ndarray],
    *,
    labels: Sequence[str] | None = None,
    sign: str = "signed",
    percentile: float | None = None,
) -> Figure:
    """Draw texts whose tokens stand on colours: red speaks for the target, blue against it.

    Each text is scaled by its own values.

    Args:
        texts: the tokens of one text, or those of several.
        values: an attribution for each token, ``[T]``, or ``[B, T]`` for several texts. What a
            text has more values than tokens, as for padding at its end, is not drawn.
        labels: a line above each text.
        sign: "signed", or "absolute" for values that are never negative.
        percentile: as in `scale`; None takes the largest value.

    Raises:
        ValueError: the numbers of texts, labels or values do not fit.

    Example:
        >>> figure = tokens(["not", "bad"], np.array([-1.0, 2.0, 0.0]), labels=["positive"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['positive', 'not', 'bad']
    """
    check_sign(sign)
    if len(texts) and isinstance(texts[0], str):
        texts, values = [texts], [values]  # type: ignore[list-item,assignment]
    names = [None] * len(texts) if labels is None else labels
    if not len(texts) == len(values) == len(names):
        raise ValueError(
            f"tokens: {len(texts)} texts, {len(values)} rows of values and {len(names)} labels"
        )
    for number, (text, row) in enumerate(zip(texts, values, strict=True)):
        if np.ndim(row) != 1 or len(row) < len(text):
            raise ValueError(
                f"tokens: text {number} has {len(text)} tokens, but values of shape "
                f"{list(np.shape(row))}; expected one for each token"
            )
    places = [_places(text) for text in texts]
    lines = [
        (p[-1][0] + 1 if p else 1) + (n is not None) for p, n in zip(places, names, strict=True)
    ]
    columns = max([CHARACTERS, *(c + len(t) for p, ts in zip(places, texts, strict=True)
                                 for (_, c), t in zip(p, ts, strict=True))])  # fmt: skip
    height = sum(lines) + len(lines) - 1
    figure = Figure(figsize=((columns + 3) * _WIDTH, (height + 1) * _HEIGHT))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-1.5, columns + 1.5)
    axes.set_ylim(height, -1)
    top = 0
    for text, row, name, where, count in zip(texts, values, names, places, lines, strict=True):
        if name is not None:
            axes.text(-0.5, top, name, size=_SIZE, va="center", parse_math=False)
        used = np.asarray(row)[: len(text)]
        shades = scale(used, sign=sign, percentile=percentile) if len(text) else used
        for token, shade, (line, column) in zip(text, shades, where, strict=True):
            _draw(axes, token, shade, top + (name is not None) + line, column, sign)
        top += count + 1
    return figure


def _places(text: Sequence[str]) -> list[tuple[int, int]]:
    """Give the line and the first column of each token."""
    places, line, column = [], 0, 0
    for token in text:
        if column and column + len(token) > CHARACTERS:
            line, column = line + 1, 0
        places.append((line, column))
        column += len(token) + 1
    return places


def _draw(axes: Axes, token: str, shade: float, line: int, column: int, sign: str) -> None:
    """Draw a token on a ground whose colour is that of a value in [-1, 1], or in [0, 1]."""
    signed = sign == "signed"
    colour = colormaps["RdBu_r"]((shade + 1) / 2) if signed else colormaps["Reds"](shade)
    ground = Rectangle((column - 0.4, line - 0.45), len(token) + 0.8, 0.9, facecolor=colour)
    axes.add_patch(ground)
    is_dark = np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.5
    axes.text(
        column, line, token, size=_SIZE, va="center", family="monospace",
        color="white" if is_dark else "black", parse_math=False,
    )  # fmt: skip
