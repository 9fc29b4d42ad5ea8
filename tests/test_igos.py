"""I-GOS and meaningful perturbation against slow float64 loops.

Qi et al. 2020; Fong and Vedaldi 2017, sections 4.1 to 4.3.
"""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.networks import small_cnn
from tests.own_references import own_blur, slow_own_blur
from tests.thorough import quick
from tfxai import scores
from tfxai.core.interpolation import align_corners
from tfxai.core.layout import Layout
from tfxai.methods.masks import igos_settings, regulariser
from tfxai.methods.masks.blending import blend
from tfxai.methods.masks.mask_cells import Cells, cells_of
from tfxai.methods.masks.masked_inputs import Examples
from tfxai.methods.masks.masked_model import MaskedModel
from tfxai.methods.masks.meaningful_perturbation import meaningful_perturbation
from tfxai.models.scored_models import differentiable

LAMBDA1, LAMBDA2, STEPS, CLASS = 0.02, 0.5, 6, 2
QUIET = {"noise": 0.0, "baseline": 0.0, "lambda1": LAMBDA1, "lambda2": LAMBDA2}


@pytest.fixture
def precise():
    return small_cnn(policy="float64")


@pytest.fixture
def image():
    return np.random.default_rng(3).normal(size=(8, 8, 3))


def slow_upsampled(mask, height, width):
    """Bilinear interpolation with the corners of the mask on those of the image."""
    large = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = i * (mask.shape[0] - 1) / (height - 1)
            x = j * (mask.shape[1] - 1) / (width - 1)
            top, left = min(int(y), mask.shape[0] - 2), min(int(x), mask.shape[1] - 2)
            a, b = y - top, x - left
            large[i, j] = (
                (1 - a) * (1 - b) * mask[top, left]
                + (1 - a) * b * mask[top, left + 1]
                + a * (1 - b) * mask[top + 1, left]
                + a * b * mask[top + 1, left + 1]
            )
    return large


def slow_probability(model, image, mask, reference=0.0):
    """f_c of an image whose other pixels are the reference's, for the network of `small_cnn`."""
    kernel, bias, *dense = model.get_weights()
    up = slow_upsampled(mask, 8, 8)[..., None]
    shown = image * up + reference * (1 - up)
    windows = np.lib.stride_tricks.sliding_window_view(shown, (3, 3), axis=(0, 1))
    x = np.maximum(np.einsum("ijchw,hwck->ijk", windows, kernel) + bias, 0).ravel()
    logits = np.maximum(x @ dense[0] + dense[1], 0) @ dense[2] + dense[3]
    return np.exp(logits[CLASS]) / np.exp(logits).sum()


def slow_regulariser(mask, power=2):
    """g(M) of Qi et al. 2020 (docs/methods.md, I-GOS)."""
    rows, columns = np.diff(mask, axis=0), np.diff(mask, axis=1)
    variation = np.mean(np.abs(rows) ** power) + np.mean(np.abs(columns) ** power)
    return LAMBDA1 * np.mean(np.abs(1 - mask)) + LAMBDA2 * variation


def slow_gradient(function, mask, step=1e-6):
    """Central differences; at M = 1 that of |1 - M| is 0, as its subgradient is."""
    found = np.zeros_like(mask)
    for at in np.ndindex(mask.shape):
        up, down = mask.copy(), mask.copy()
        up[at] += step
        down[at] -= step
        found[at] = (function(up) - function(down)) / (2 * step)
    return found


def slow_total_gradient(model, image, mask, steps, reference=0.0):
    """The total gradient TG of Qi et al. 2020, without noise."""

    def mean_score(mask):
        masks = [s / steps * mask for s in range(1, steps + 1)]
        return np.mean([slow_probability(model, image, m, reference) for m in masks])

    return slow_gradient(mean_score, mask) + slow_gradient(slow_regulariser, mask)


def slow_igos(model, image, size, steps, iterations, longest, reference=0.0):
    """The algorithm of Qi et al. 2020 as published, with its revised Armijo line search."""
    mask, trials, taken = np.ones(size), 0, []
    objective = slow_probability(model, image, mask, reference)
    for _ in range(iterations):
        gradient = slow_total_gradient(model, image, mask, steps, reference)
        alpha = longest
        while alpha > 1e-5:
            new = np.clip(mask - alpha * gradient, 0, 1)
            value = slow_probability(model, image, new, reference) + slow_regulariser(new)
            trials += 1
            if value <= objective - alpha * 1e-4 * np.sum(gradient**2):
                break
            alpha *= 0.2
        else:
            alpha = 1e-5
            new = np.clip(mask - alpha * gradient, 0, 1)
            value = slow_probability(model, image, new, reference) + slow_regulariser(new)
        mask, objective = new, value
        taken.append(alpha)
    return mask, objective, taken


def test_the_upsampling_of_an_impulse_has_its_closed_form():
    for size, cells in ((8, 4), (224, 28), (7, 7), (9, 2)):
        for cell in range(cells):
            impulse = np.eye(cells)[cell]
            at = np.arange(size) * (cells - 1) / (size - 1)
            tent = np.maximum(0, 1 - np.abs(at - cell))
            np.testing.assert_allclose(align_corners(size, cells) @ impulse, tent, atol=1e-12)
    np.testing.assert_array_equal(align_corners(5, 1), np.ones((5, 1)))


def test_it_is_not_that_of_tensorflow():
    """TensorFlow puts pixels at the middles of cells (docs/methods.md, I-GOS)."""
    impulse = np.zeros((1, 28, 28, 1))
    impulse[0, 2, 25] = 1
    ours = cells_of(Layout((224, 224), 1), 28).upsample(tf.constant(impulse))
    theirs = tf.image.resize(impulse, (224, 224)).numpy()
    assert np.abs(ours - theirs).max() > 0.1


def test_blending_follows_the_mask(image):
    mask = np.random.default_rng(0).random((4, 3))
    examples = Examples([tf.constant(image[None])], [tf.constant(image[None] + 2)], [])
    cells = cells_of(Layout((8, 8), 1), (4, 3))
    (blended,) = blend(examples, [tf.constant(mask[None, ..., None])], [cells])
    up = slow_upsampled(mask, 8, 8)[..., None]
    np.testing.assert_allclose(blended[0], image * up + (image + 2) * (1 - up), rtol=1e-12)


@pytest.mark.parametrize("power", [2, 3])
def test_the_regulariser(power):
    some = np.random.default_rng(0).random((3, 5, 4))
    cells = Cells(Layout((10, 8), 1), (5, 4, 1))
    lambda1 = tf.constant([LAMBDA1], tf.float64)
    g = regulariser.Regulariser([cells], lambda1, [LAMBDA2], power)
    found = g(tf.constant(some.reshape(3, -1)))
    np.testing.assert_allclose(found, [slow_regulariser(m, power) for m in some], rtol=1e-12)
    alone = tf.constant(some[:, :1, :1])
    np.testing.assert_array_equal(regulariser.total_variation(alone, power, 2), np.zeros(3))


LAYOUTS = {
    "image": (Layout((9, 8), 1), (5, 4)),
    "one row": (Layout((9, 8), 1), (1, 6)),
    "one cell": (Layout((9, 8), 1), 1),
    "sequence": (Layout((20,), 1), 7),
    "channels": (Layout((20,), 3), 5),
    "volume": (Layout((4, 6, 5), 1), (2, 3, 4)),
    "table": (Layout((6,), None), None),
    "groups": (Layout((6,), None, np.array([0, 2, 1, 1, 2, 0])), None),
}


@pytest.mark.parametrize("names", [[n] for n in LAYOUTS] + [["table", "channels", "image"]])
def test_the_proximal_step_minimises_what_it_says(names):
    cells = [cells_of(*LAYOUTS[name]) for name in names]
    random = np.random.default_rng(0)
    count = sum(c.size for c in cells)
    values, alphas, lambda1 = (
        tf.constant(random.random(s)) for s in ((3, count), 3, (3, len(cells)))
    )
    lambda2 = [LAMBDA2 * (1 + place) for place in range(len(cells))]
    found = regulariser.proximal(cells, values, alphas, lambda1, lambda2)

    def objective(there):
        near = tf.reduce_sum((there - values) ** 2, 1) / 2
        # Where a cell is above 1, |1 - M| has the other sign than the price of the proximal step.
        price = regulariser.Regulariser(cells, lambda1, lambda2, 2)(there - 9)
        return near + alphas * price

    with tf.GradientTape() as tape:
        tape.watch(found)
        value = objective(found)
    np.testing.assert_allclose(tape.gradient(value, found), np.zeros_like(found), atol=1e-12)


def masked_cnn(model, noise):
    """f_c of `small_cnn` under masks of 4 x 4 cells."""
    scored = differentiable(model, scores.probability)
    cells = [cells_of(Layout((8, 8), 1), 4)]
    return MaskedModel(lambda parts, others, t: scored(parts[0], t), cells, STEPS, noise, 4)


def test_the_total_gradient(precise, image):
    mask = np.random.default_rng(1).uniform(0.3, 0.9, (4, 4))
    masked_model = masked_cnn(precise, noise=0.0)
    examples = Examples([tf.constant(image[None])], [tf.zeros([1, 8, 8, 3], tf.float64)], [])
    given = examples, tf.constant([CLASS]), tf.constant([0, 0])
    row = tf.constant(mask.reshape(1, -1))
    gradient, mean_score = tf.function(lambda m: masked_model.gradient(m, *given))(row)
    gradient = tf.reshape(gradient, [1, 4, 4])
    expected = slow_total_gradient(precise, image, mask, STEPS)
    of_price = slow_gradient(slow_regulariser, mask)
    np.testing.assert_allclose(gradient[0] + of_price, expected, atol=1e-8)
    path = [slow_probability(precise, image, s / STEPS * mask) for s in range(1, STEPS + 1)]
    np.testing.assert_allclose(mean_score[0], np.mean(path), rtol=1e-9)
    rerun = tf.function(lambda m: masked_model.mean_score(m, *given))(row)
    np.testing.assert_allclose(rerun, mean_score, rtol=1e-9)


def test_each_point_of_the_path_has_noise_of_its_own(precise, image):
    """In units of each image's standard deviation; the images share what is drawn."""
    images, classes, seed = np.stack([image, 3 * image]), [CLASS, 0], tf.constant([4, 2])
    mask = np.random.default_rng(1).uniform(0.3, 0.9, (4, 4))
    masked_model = masked_cnn(precise, noise=0.2)
    examples = Examples([tf.constant(images)], [tf.zeros_like(images)], [])
    run = tf.function(lambda m: masked_model.mean_score(m, examples, tf.constant(classes), seed))
    found = run(tf.constant(np.stack([mask, mask]).reshape(2, -1)))
    up = slow_upsampled(mask, 8, 8)[..., None]
    for one, target, value in zip(images, classes, found, strict=True):
        points = []
        for s in range(1, STEPS + 1):
            step_seed = tf.random.fold_in(seed, s - 1)
            drawn = tf.random.stateless_normal(image.shape, step_seed, dtype=tf.float64)
            points.append(s / STEPS * up * one + 0.2 * one.std() * drawn)
        expected = precise(np.stack(points)).numpy()[:, target].mean()
        np.testing.assert_allclose(value, expected, rtol=1e-9)


def test_the_published_algorithm_step_by_step(precise, image):
    explainer = tfxai.igos(
        precise,
        resolution=4,
        steps=STEPS,
        iterations=4,
        descent="gradient",
        longest_step=200.0,
        tolerance=None,
        **QUIET,
    )
    record = explainer.explain(image[None], CLASS, verbose=0)
    mask, objective, taken = slow_igos(precise, image, (4, 4), STEPS, 4, 200.0)
    assert len(set(taken)) > 1
    np.testing.assert_allclose(record.diagnostics["step_sizes"][0], taken, rtol=1e-6)
    np.testing.assert_allclose(record.mask[0, ..., 0], mask, atol=1e-6)
    np.testing.assert_allclose(record.diagnostics["objective"][0], objective, atol=1e-8)
    probability = slow_probability(precise, image, mask)
    np.testing.assert_allclose(record.diagnostics["deletion"][0], probability, atol=1e-8)
    up = slow_upsampled(record.mask[0, ..., 0], 8, 8)
    np.testing.assert_allclose(record.attributions[0, ..., 0], 1 - up, atol=1e-12)


def test_one_published_step_of_five_photos_with_five_blurs():
    """Each has its own width of blur, in float32 as it is used; explained in parts."""
    model = small_cnn()
    photos = np.random.default_rng(4).normal(size=(5, 8, 8, 3)).astype("float32")
    blurs = [slow_own_blur(photo) for photo in photos]
    explainer = tfxai.igos(
        model,
        resolution=4,
        steps=STEPS,
        iterations=1,
        descent="gradient",
        longest_step=200.0,
        tolerance=None,
        **{**QUIET, "baseline": own_blur},
    )
    record = explainer.explain(photos, CLASS, batch_size=2, verbose=0)
    for i, (photo, blurred) in enumerate(zip(photos, blurs, strict=True)):
        mask, objective, taken = slow_igos(model, photo, (4, 4), STEPS, 1, 200.0, blurred)
        assert (mask < 1).any()
        np.testing.assert_allclose(record.mask[i, ..., 0], mask, atol=1e-4)
        np.testing.assert_allclose(record.diagnostics["objective"][i], objective, atol=1e-4)
        np.testing.assert_allclose(record.diagnostics["step_sizes"][i], taken, rtol=1e-5)


def test_a_step_is_told_that_is_taken_for_want_of_another(precise, image):
    """Alpha_l = 1e-5, where no longer step decreases the objective enough (Qi et al. 2020)."""
    options = {**QUIET, "lambda1": 5.0, "lambda2": 0.0}
    explainer = tfxai.igos(
        precise, resolution=4, steps=2, iterations=4, descent="gradient", tolerance=None, **options
    )
    with pytest.warns(UserWarning, match="hardly moved"):
        record = explainer.explain(image[None], CLASS, verbose=0)
    sizes = record.diagnostics["step_sizes"][0]
    assert (sizes > 0).all()
    fallbacks = record.diagnostics["fallbacks"][0]
    assert 0 < fallbacks == np.isclose(sizes, 1e-5, rtol=1e-6).sum()
    with pytest.warns(UserWarning, match="hardly moved"):
        stays = tfxai.igos(precise, resolution=4, steps=2, iterations=2, **options).explain(
            image[None], CLASS, verbose=0
        )
    np.testing.assert_array_equal(stays.diagnostics["step_sizes"], 0)
    np.testing.assert_array_equal(stays.mask, 1)


@pytest.mark.parametrize(
    ("descent", "line_search"),
    quick(
        [("proximal", "single"), ("gradient", "single"), ("gradient", "averaged")],
        *(("proximal", "single"), ("gradient", "averaged")),
    ),
)
def test_no_accepted_step_raises_the_objective(descent, line_search, cnn, images):
    explainer = tfxai.igos(
        cnn,
        resolution=5,
        lambda1=LAMBDA1,
        lambda2=LAMBDA2,
        steps=5,
        iterations=6,
        descent=descent,
        line_search=line_search,
        tolerance=None,
    )
    diagnostics = explainer.explain(images, verbose=0).diagnostics
    before, after = np.moveaxis(diagnostics["objectives"], 2, 0)
    accepted = diagnostics["step_sizes"] > 1.1e-5
    assert accepted.any()
    assert (after[accepted] <= before[accepted]).all()
    np.testing.assert_array_equal(diagnostics["fallbacks"], (~accepted).sum(1))
    np.testing.assert_array_equal(diagnostics["iterations"], 6)
    if line_search == "single":
        np.testing.assert_allclose(after[:, -1], diagnostics["objective"], rtol=1e-4)
        np.testing.assert_allclose(before[:, 1:], after[:, :-1], rtol=1e-4)


def test_images_stop_one_by_one_and_alone_as_together(cnn, images):
    options = {"resolution": 4, "lambda1": 0.1, "lambda2": 1.0, "steps": 4}
    explainer = tfxai.igos(cnn, **options, iterations=9, patience=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = explainer.explain(images, verbose=0)
        alone = [explainer.explain(x[None], verbose=0) for x in images]
    assert len(set(record.diagnostics["iterations"])) > 1
    for i, one in enumerate(alone):
        np.testing.assert_allclose(one.mask[0], record.mask[i], atol=1e-4)
        assert one.diagnostics["iterations"][0] == record.diagnostics["iterations"][i]
        assert one.diagnostics["trials"][0] == record.diagnostics["trials"][i]
    sizes = record.diagnostics["step_sizes"]
    np.testing.assert_array_equal((~np.isnan(sizes)).sum(1), record.diagnostics["iterations"])


@pytest.fixture(scope="module")
def explainer():
    """An explainer that is traced once."""
    options = {"resolution": (4, 3), "lambda1": 0.01, "lambda2": 0.1, "steps": 4}
    return tfxai.igos(small_cnn(), iterations=2, **options)


def test_noise_comes_from_the_seed(explainer, images):
    first, rerun, other = (explainer(images[:1], seed=s).numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(first, rerun)
    assert not np.array_equal(first, other)
    assert not tfxai.igos(explainer.model, noise=0.0).method.random


def test_the_mask_is_kept_with_the_record(explainer, images, tmp_path):
    record = explainer.explain(images, verbose=0)
    assert record.mask.shape == (5, 4, 3, 1)
    assert record.attributions.shape == (5, 8, 8, 1)
    loaded = tfxai.Explanation.load(record.save(tmp_path / "record.npz"))
    np.testing.assert_array_equal(loaded.mask, record.mask)
    with pytest.raises(AttributeError, match="gradient has no mask"):
        _ = tfxai.gradient(explainer.model).explain(images, verbose=0).mask


def test_lambda1_adapts_where_nothing_has_changed(cnn, images):
    """/ 10 at iteration int(T / 2), / 5 at int(T / 1.25) (docs/methods.md, I-GOS)."""
    options = {"resolution": 4, "lambda1": 50.0, "lambda2": 0.1, "steps": 4, "iterations": 10}
    explainer = tfxai.igos(cnn, adapt_lambda1=True, **options)
    with pytest.warns(UserWarning, match="hardly moved"):
        diagnostics = explainer.explain(images[:2], verbose=0).diagnostics
    np.testing.assert_allclose(diagnostics["lambda1"], 1.0)
    np.testing.assert_array_equal(diagnostics["iterations"], 9)


def test_presets_are_met_and_lie_between():
    for cells, lambdas in igos_settings.PRESETS.items():
        np.testing.assert_allclose(igos_settings.preset_lambdas((cells, cells)), lambdas)
    low, middle, high = (igos_settings.preset_lambdas((n, n))[1] for n in (28, 56, 112))
    assert min(low, high) <= middle <= max(low, high)


@pytest.mark.parametrize(
    ("height", "width"), quick([(16, 16), (16, 40), (1, 9), (32, 32)], (16, 40), (1, 9))
)
def test_the_resolution_that_is_not_given_fits_the_image(height, width):
    """28 cells a side, or as many as there are pixels; prices are the presets of what is used."""
    size = (height, width)
    model = keras.Sequential([keras.Input((*size, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(3))
    photos = np.random.default_rng(0).random((2, *size, 1))
    cells = (min(28, size[0]), min(28, size[1]))
    for builder in (tfxai.igos, meaningful_perturbation):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = builder(model, iterations=1).explain(photos, verbose=0)
        assert record.mask.shape == (2, *cells, 1)
        assert record.attributions.shape == photos.shape
        if builder is tfxai.igos:
            prices = [record.diagnostics[name][0] for name in ("lambda1", "lambda2")]
            np.testing.assert_allclose(prices, igos_settings.preset_lambdas(cells), rtol=1e-6)
        with pytest.raises(ValueError, match=f"pass resolution={min(size)} or less"):
            builder(model, resolution=max(size) + 1)(photos)


def test_a_weak_prediction_is_told(cnn, images):
    sure = keras.Sequential([cnn, keras.layers.Lambda(lambda p: keras.ops.log(p) * 40)])
    with pytest.warns(UserWarning, match=r"examples 0, 1.* below 0.01"):
        tfxai.igos(sure, resolution=4, steps=2, iterations=1).explain(images[:2], 4, verbose=0)


def slow_adam(model, image, iterations, rate):
    """Kingma and Ba 2015, algorithm 1, with the mask clipped."""
    mask, first, second = np.ones((4, 4)), 0, 0

    def objective(mask):
        return slow_probability(model, image, mask) + slow_regulariser(mask, power=3)

    for t in range(1, iterations + 1):
        gradient = slow_gradient(objective, mask)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        mask = np.clip(mask - rate * step, 0, 1)
    return mask, objective(mask)


def test_meaningful_perturbation_step_by_step(precise, image):
    explainer = meaningful_perturbation(
        precise, resolution=4, iterations=6, learning_rate=0.07, **QUIET
    )
    record = explainer.explain(image[None], CLASS, verbose=0)
    mask, objective = slow_adam(precise, image, 6, 0.07)
    np.testing.assert_allclose(record.mask[0, ..., 0], mask, atol=1e-5)
    np.testing.assert_allclose(record.diagnostics["objective"][0], objective, atol=1e-6)


@pytest.mark.parametrize("builder", [tfxai.igos, meaningful_perturbation])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"resolution": 9},
            r"resolution=\(9, 9\): the inputs have \(8, 8\) positions; .*8 or less",
        ),
        ({"resolution": 4, "baseline": np.ones((4, 4, 3))}, "baseline has shape"),
        ({"resolution": 4, "baseline": np.ones((2, 8, 8, 3))}, "a batch of 2 references"),
        ({"resolution": 4, "baseline": "black"}, "needs bounds"),
        ({"resolution": (4, 4, 4)}, "a number, or one for each"),
        ({"resolution": 0}, "resolution=0: expected at least 1"),
        ({"lambda1": -1}, "lambda1=-1: expected"),
        ({"iterations": 0}, "iterations=0"),
        ({"noise": -0.1}, "noise=-0.1"),
    ],
)
def test_bad_options(builder, options, message, cnn, images):
    with pytest.raises(ValueError, match=message):
        builder(cnn, **options)(images)


def test_bad_options_of_igos(cnn):
    for options, message in (
        ({"descent": "newton"}, "descent='newton'"),
        ({"line_search": "wolfe"}, "line_search='wolfe'"),
        ({"decay": 1.0}, "decay=1.0"),
        ({"longest_step": 1e-6}, "longest_step=1e-06"),
        ({"tolerance": 0}, "tolerance=0"),
    ):
        with pytest.raises(ValueError, match=message):
            tfxai.igos(cnn, **options)
