"""I-GOS (Qi et al. 2020) without its parts, Table 4, and with other prices.

Table 4 has what I-GOS is without the total variation, the noise, the path and the line search; what
is published, where this library's defaults are others, is added. The search is ours: what lambda1
and lambda2 lead to, by resolution, from which `tfxai.igos` has its presets.

Found, with `--photos 4` and lambda1 = .1, lambda2 = (s / 28)^2 throughout. Deletion / insertion:

I-GOS .061 / .516, without TV .067 / .558, without noise .065 / .515 at an objective of .05 instead
of .23 and twice the time, without the path .072 / .442, steps of 400 or 40 throughout .068 / .461
and .055 / .516 at objectives of .43 and .32. The published descent has .063 / .559; with the
published lambdas, too, .083 / .611, but there the mask hardly moves from 1. (Eight photos made the
last alike: .092 / .599, I-GOS .079 / .588.)

The search, insertion minus deletion by lambda1 and lambda2 / (s / 28)^2:

        .1, 1   .1, .3   .1, 3   .03, 1   .3, 1
    7    .27     .28      .24     .40      .25
   14    .40     .41      .39     .41      .39
   28    .45     .48      .37     .46      .44
  112    .41     .42      .37     .41      .43
  224    .42     .44      .42     .41      .47

Differences of .03 are those of other noise. Few cells want a small lambda1, 224 a large one; six
other photos agree (.43 at 7, .63 at 224), but not at 112, where .3, 1 has .41 and .1, 1 .49.
"""

import time

import tensorflow as tf
from igos import CELLS, RESOLUTIONS, areas, curves, explained, load, options_of, report

import tfxai
from tfxai.core.layout import Layout
from tfxai.core.tracing import traced
from tfxai.methods.masks.igos_settings import LONGEST_STEPS, preset_lambdas
from tfxai.methods.masks.mask_cells import cells_of
from tfxai.methods.masks.masked_inputs import Examples
from tfxai.methods.masks.masked_model import MaskedModel
from tfxai.methods.masks.regulariser import Regulariser, proximal
from tfxai.models.scored_models import scored

NOISE = 0.2
"""I-GOS's default, for the fixed steps."""
PUBLISHED = {"lambda1": 1.0, "lambda2": 20.0, "descent": "gradient", "tolerance": None}
ABLATIONS = {
    "I-GOS": {},
    "no TV": {"lambda2": 0.0},
    "no noise": {"noise": 0.0},
    "ordinary gradient": {"steps": 1},  # the path's only point is the mask itself
    "published descent": {"descent": "gradient"},
    "published lambdas, search": PUBLISHED,
    "averaged search": {"line_search": "averaged"},
}
PRICES = ((0.1, 1.0), (0.1, 0.3), (0.1, 3.0), (0.03, 1.0), (0.3, 1.0))
"""lambda1, and lambda2 for 28 x 28 cells; for others it is in proportion to how many there are."""


def igos(case, given, **options):
    """Give I-GOS with its defaults but for these."""
    return tfxai.igos(case.classifier.model, iterations=given.iterations, **options)


def fixed_step(case, given, alpha):
    """Take the same step in each iteration; give heatmaps, objectives, CPU seconds per photo."""
    references = tfxai.baselines.baseline("blur")(tf.constant(case.inputs))[0]
    targets = tf.constant(case.targets, tf.int32)
    examples = Examples([tf.constant(case.inputs)], [references], [])
    cells = [cells_of(Layout(case.inputs.shape[1:3], 1), CELLS)]
    scored_model = scored(case.classifier.model, tfxai.scores.probability)

    def score(inputs, others, targets):
        return scored_model(inputs[0], targets)

    masked_model = MaskedModel(score, cells, 20, NOISE, rows=8)
    lambda1, lambda2 = preset_lambdas((CELLS, CELLS))
    price = Regulariser(cells, tf.constant([lambda1]), [lambda2], beta=2)
    each = tf.ones(len(case.inputs))

    def after(mask, seed):
        there = mask - alpha * masked_model.gradient(mask, examples, targets, seed)[0]
        there = proximal(cells, there, alpha * each, lambda1 * each[:, None], [lambda2])
        return tf.clip_by_value(there, 0, 1)

    mask = tf.ones([len(each), cells[0].size])
    step = traced(after).get_concrete_function(mask, tf.constant([0, 0]))
    start = time.process_time()
    for i in range(given.iterations):
        mask = step(mask, tf.constant([0, i]))
    seconds = (time.process_time() - start) / len(each)
    objective = traced(lambda mask: masked_model.score(mask, examples, targets) + price(mask))(mask)
    heatmaps = 1 - mask.numpy().reshape(len(each), CELLS, CELLS, 1)
    return heatmaps, objective.numpy(), seconds


def ablations(case, given):
    """Write what I-GOS is without its parts; the objective only where it is the same one."""
    heatmaps, columns = {}, {}
    for name, options in ABLATIONS.items():
        record, seconds = explained(igos(case, given, **options), case, warm=True)
        heatmaps[name] = 1 - record.mask
        means = {
            n: float(record.diagnostics[n].mean()) for n in ("objective", "iterations", "trials")
        }
        other = {"objective": ""} if "lambda2" in options else {}
        columns[name] = {**means, **other, "cpu seconds": seconds}
    for alpha in (LONGEST_STEPS["proximal"], LONGEST_STEPS["proximal"] / 10):
        name, counts = f"fixed step {alpha:g}", {"iterations": given.iterations, "trials": 0}
        heatmaps[name], objective, seconds = fixed_step(case, given, alpha)
        columns[name] = {"objective": float(objective.mean()), **counts, "cpu seconds": seconds}
    found = curves(case, heatmaps)
    report(
        given.out / "igos_ablations.csv",
        [{"version": n, **areas(found[n]), **columns[n]} for n in columns],
    )


def search(case, given):
    """Write what lambda1 and lambda2 lead to."""
    rows = []
    for resolution in given.resolutions:
        heatmaps = {}
        for lambda1, factor in PRICES:
            prices = {"lambda1": lambda1, "lambda2": factor * (resolution / CELLS) ** 2}
            explainer = igos(case, given, resolution=resolution, **prices)
            heatmaps[tuple(prices.items())] = 1 - explained(explainer, case)[0].mask
        for prices, found in curves(case, heatmaps).items():
            row = {"resolution": resolution, **dict(prices), **areas(found)}
            deleted = float(heatmaps[prices].mean())
            rows.append({**row, "difference": found.difference.mean(), "deleted": deleted})
    report(given.out / "igos_search.csv", rows)


def main():
    parts = {"ablations": ablations, "search": search}
    parser = options_of(__doc__)
    parser.add_argument("--part", nargs="+", choices=parts, default=parts, help="default: both")
    parser.add_argument("--resolutions", type=int, nargs="+", default=RESOLUTIONS)
    given = parser.parse_args()
    case = load(given)
    for name in given.part:
        parts[name](case, given)


if __name__ == "__main__":
    main()
