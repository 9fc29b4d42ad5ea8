"""Masks, by brute force: each masked example is predicted by the twin."""

import itertools

import numpy as np
from explained import enlarged


def optimised_mask(cell):
    """Whether the map is the enlarged mask, and the class's probability under it as stated."""
    x, back = inputs_by_name(cell)
    masks, maps = by_name(cell, cell.record.mask), by_name(cell, cell.maps)
    if any(not m.min() >= 0 or not m.max() <= 1 for m in masks.values()):
        return np.inf
    kept = {name: kept_share(cell, masks[name], v) for name, v in x.items()}
    error = max(float(np.abs(1 - maps[name] - kept[name]).max()) for name in x)
    shown = back({name: v * kept[name] for name, v in x.items()})
    probability = cell.reference.score(shown, cell.targets, "probability")
    stated = next(v for k, v in cell.record.diagnostics.items() if k in ("deletion", "f_c"))
    return max(error, float(np.abs(np.asarray(probability) - stated).max()))


def kept_share(cell, mask, x):
    """Give a mask at the resolution of its input; the features of a table are its cells."""
    if x.ndim == 2:
        return mask
    channels = 1 if cell.network.channels == 0 else -1
    last = np.moveaxis(np.asarray(mask, "float64"), channels, -1)
    sizes = np.moveaxis(x, channels, -1).shape[1:-1]
    return np.moveaxis(enlarged(last, sizes, middles=False), -1, channels)


def named(values):
    """Flat arrays by name: those of a single input have the name None."""
    return values if isinstance(values, dict) else {None: values}


def spread_mask(cell, mask, x):
    """Give a mask of positions ``[...]`` for one example's elements."""
    return mask if x.ndim == 2 else np.expand_dims(mask, cell.network.channels)


def by_name(cell, values):
    """Give values in the structure of the inputs by the names of the inputs."""
    if isinstance(values, list):
        return dict(zip([i.name for i in cell.setup.model.inputs], values, strict=True))
    return named(values)


def inputs_by_name(cell):
    """Give the examples by the names of the inputs, and a function back to their structure."""
    x = cell.reference.wide(cell.examples)
    if isinstance(x, dict):
        return x, lambda values: values
    if isinstance(x, list):
        return by_name(cell, x), lambda values: list(values.values())
    return {None: x}, lambda values: values[None]


def rise(cell):
    x, back = inputs_by_name(cell)
    masks = named(cell.setup.masks)
    count = len(next(iter(masks.values())))
    total = dict.fromkeys(x, 0.0)
    for i in range(count):
        spreads = {name: spread_mask(cell, masks[name][i], v) for name, v in x.items()}
        masked = {name: (v * spreads[name]).astype(v.dtype) for name, v in x.items()}
        scores = np.asarray(cell.reference.score(back(masked), cell.targets, "probability"))
        for name, v in x.items():
            weights = scores.reshape(-1, *[1] * (v.ndim - 1))
            total[name] = total[name] + weights * spreads[name] / (count * masks[name].mean())
    return cell.against(back(total))


def occlusion(cell):
    x, back = inputs_by_name(cell)
    full = np.asarray(cell.reference.score(back(x), cell.targets))
    maps = {}
    for name, v in x.items():
        positions = cell.network.positions(v.shape[1:])
        lengths = np.broadcast_to(named(cell.setup.patch)[name], len(positions))
        total, times = 0.0, np.zeros(positions)
        starts = [
            sorted({*range(0, n - k, k), n - k}) for n, k in zip(positions, lengths, strict=True)
        ]
        for corner in itertools.product(*starts):
            covered = np.zeros(positions, bool)
            covered[tuple(slice(c, c + k) for c, k in zip(corner, lengths, strict=True))] = True
            spread = spread_mask(cell, covered, v)
            changed = x | {name: np.where(spread, 0, v).astype(v.dtype)}
            drop = full - np.asarray(cell.reference.score(back(changed), cell.targets))
            total = total + drop.reshape(-1, *[1] * (v.ndim - 1)) * spread
            times += covered
        maps[name] = total / spread_mask(cell, times, v)
    return cell.against(back(maps))
