"""Figures: scaling by hand-worked numbers, and that every kind of input is drawn."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from tfxai import plot
from tfxai.explaining.explanation import Explanation

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def rendered(figure):
    """Draw to a PNG; give the axes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    assert buffer.getvalue().startswith(b"\x89PNG")
    return figure.axes


def explanation_of(attributions, *, count, inputs=None, names=None):
    return Explanation(
        attributions=attributions,
        targets=np.arange(count, dtype=np.int32),
        scores=np.linspace(0, 1, count).astype(np.float32),
        seed=0,
        settings={"method": "integrated_gradients"},
        head="softmax",
        versions={},
        names=names,
        inputs=inputs,
    )


@pytest.mark.parametrize(("sign", "expected"), [("signed", [[-2, 5]]), ("absolute", [[4, 5]])])
def test_a_flat_map_sums_values_or_sizes_over_channels(sign, expected):
    attribution = np.array([[[1.0, -3.0], [2.0, 3.0]]])
    np.testing.assert_array_equal(plot.flat_map(attribution, sign=sign), expected)


@pytest.mark.parametrize("shape", [(5,), (4, 3)])
def test_a_flat_map_of_features_or_a_sequence_keeps_its_shape(shape):
    values = noise(*shape)
    np.testing.assert_array_equal(plot.flat_map(values), values)
    np.testing.assert_array_equal(plot.flat_map(values, sign="absolute"), np.abs(values))


def test_signed_scaling_keeps_0_and_the_signs():
    scaled = plot.scale(np.array([-4.0, 0.0, 1.0, 2.0]), percentile=None)
    np.testing.assert_array_equal(scaled, [-1, 0, 0.25, 0.5])


def test_positive_scaling_takes_the_minimum_to_0_and_the_maximum_to_1():
    scaled = plot.scale(np.array([3.0, 5.0, 7.0]), sign="absolute", percentile=None)
    np.testing.assert_array_equal(scaled, [0, 0.5, 1])


@pytest.mark.parametrize(("sign", "low"), [("signed", 0), ("absolute", 10)])
def test_scaling_clips_what_is_above_the_percentile(sign, low):
    values = low + np.arange(101.0)
    scaled = plot.scale(values, sign=sign, percentile=99)
    np.testing.assert_allclose(scaled, np.minimum(np.arange(101) / 99, 1))


def test_signed_scaling_clips_both_ends():
    scaled = plot.scale(np.arange(-50.0, 51), percentile=50)
    np.testing.assert_allclose(scaled, np.clip(np.arange(-50, 51) / 25, -1, 1))


@pytest.mark.parametrize("sign", plot.SIGNS)
def test_scaling_a_sparse_map_falls_back_to_the_maximum(sign):
    values = np.zeros(1000)
    values[:2] = 1, 4
    scaled = plot.scale(values, sign=sign, percentile=99)
    np.testing.assert_array_equal(scaled[:3], [0.25, 1, 0])


@pytest.mark.parametrize("percentile", [99, None])
@pytest.mark.parametrize(("sign", "value"), [("absolute", 0.7), ("absolute", -2), ("signed", 0)])
def test_scaling_a_constant_map_gives_zeros(sign, value, percentile):
    scaled = plot.scale(np.full([4, 4], value), sign=sign, percentile=percentile)
    np.testing.assert_array_equal(scaled, np.zeros([4, 4]))


@pytest.mark.parametrize("size", [1e-20, 1e20])
def test_scaling_does_not_depend_on_the_unit(size):
    values = noise(6, 6)
    np.testing.assert_allclose(plot.scale(values * size), plot.scale(values), rtol=1e-5)


@pytest.mark.parametrize(
    "draw",
    [
        lambda sign: plot.flat_map(noise(4), sign=sign),
        lambda sign: plot.scale(noise(4), sign=sign),
        lambda sign: plot.overlay(noise(4, 4, 3), noise(4, 4, 3), sign=sign),
        lambda sign: plot.draw_map(noise(4, 4, 3), sign=sign),
        lambda sign: plot.draw_map(noise(4), sign=sign),
        lambda sign: plot.panel([noise(4, 4, 3)], {"map": [noise(4, 4, 3)]}, signs=sign),
    ],
)
def test_an_unknown_sign_is_named(draw):
    with pytest.raises(ValueError, match="sign='both': expected one of 'signed', 'absolute'"):
        draw("both")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 0.5, 1]),
        ([0.0, 51.0, 255.0], [0, 0.2, 1]),
        ([-1.0, 0.0, 1.0], [0, 0.5, 1]),
        ([100.0, 200.0, 300.0], [0, 0.5, 1]),
    ],
)
def test_images_of_any_range_become_displayable(image, expected):
    shaped = np.array(image).reshape(1, 3, 1)
    np.testing.assert_allclose(plot.displayable(shaped).ravel(), expected)


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5, 255.0, 300.0])
def test_an_image_of_one_colour_is_displayable(value):
    shown = plot.displayable(np.full([4, 4, 3], value))
    assert np.isfinite(shown).all()
    assert shown.min() >= 0
    assert shown.max() <= 1


@pytest.mark.parametrize(("sign", "limits"), [("signed", (-1, 1)), ("absolute", (0, 1))])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_overlay_hides_the_image_where_the_attribution_is_strong(sign, limits, channels):
    attribution = np.zeros([8, 8, channels])
    attribution[2, 3] = 5
    axes = plot.overlay(noise(8, 8, channels), attribution, sign=sign)
    assert rendered(axes.figure) == [axes]
    photo, over = axes.images
    assert photo.get_array().shape == over.get_array().shape == (8, 8)
    assert over.get_clim() == limits
    assert over.get_array()[2, 3] == 1
    alpha = over.get_alpha()
    assert alpha[2, 3] == alpha.max() > 0.5
    assert np.count_nonzero(alpha) == 1


@pytest.mark.parametrize("shape", [(8, 6, 3), (8, 6, 1), (8, 6)])
def test_a_map_is_drawn_as_one_image(shape):
    axes = plot.draw_map(noise(*shape))
    assert rendered(axes.figure) == [axes]
    (image,) = axes.images
    assert image.get_array().shape == (8, 6)


def test_a_sequence_fills_the_axes_and_a_photo_keeps_its_proportions():
    assert plot.draw_map(noise(20, 3)).get_aspect() == "auto"
    assert plot.draw_map(noise(8, 8, 3)).get_aspect() == 1


def test_features_are_drawn_as_bars_the_largest_on_top():
    axes = plot.draw_map(np.array([1.0, -3.0, 2.0]))
    rendered(axes.figure)
    assert [bar.get_width() for bar in axes.patches] == [1, 2, -3]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "2", "1"]
    assert axes.get_ylabel() == "feature"
    red, blue = axes.patches[0].get_facecolor(), axes.patches[2].get_facecolor()
    assert red[0] > red[2]
    assert blue[0] < blue[2]


def test_only_the_largest_of_many_features_are_drawn():
    axes = plot.draw_map(np.arange(100.0))
    assert [bar.get_width() for bar in axes.patches] == list(range(80, 100))


def test_given_axes_are_drawn_on():
    left, right = Figure().subplots(1, 2)
    assert plot.draw_map(noise(4, 4, 3), axes=left) is left
    assert plot.overlay(noise(4, 4, 3), noise(4, 4, 3), axes=right) is right
    assert (len(left.images), len(right.images)) == (1, 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_panel_has_a_row_for_each_image_and_a_column_for_each_method(channels):
    images = RNG.uniform(0, 255, [3, 8, 8, channels])
    maps = {"first": noise(3, 8, 8, channels), "second": list(noise(3, 8, 8, channels))}
    labels = ["a cat", "a dog", "a cup"]
    figure = plot.panel(images, maps, labels=labels, signs=["signed", "absolute"])
    axes = np.reshape(rendered(figure), (3, 3))
    assert [a.get_title() for a in axes[0]] == ["", "first", "second"]
    assert not any(a.get_title() for a in axes[1:].ravel())
    assert [a.texts[0].get_text() for a in axes[:, 0]] == labels
    for row, image in zip(axes, images, strict=True):
        shown = row[0].images[0].get_array()
        np.testing.assert_allclose(shown, np.squeeze(image / 255))
        assert [a.images[0].get_clim() for a in row[1:]] == [(-1, 1), (0, 1)]


def test_a_wide_panel_goes_on_below_with_the_images_again():
    maps = {name: noise(2, 8, 8, 3) for name in "abcde"}
    figure = plot.panel(noise(2, 8, 8, 3), maps, labels=["x", "y"], across=2)
    axes = np.reshape(rendered(figure), (6, 3))
    assert [a.get_title() for a in axes[::2].ravel()] == ["", "a", "b", "", "c", "d", "", "e", ""]
    assert [a.texts[0].get_text() for a in axes[:, 0]] == ["x", "y"] * 3
    assert not axes[4, 2].images


def test_a_panel_needs_no_labels():
    figure = plot.panel([noise(8, 8, 3)], {"map": [noise(8, 8, 3)]}, signs="absolute")
    photo, drawn = rendered(figure)
    assert not photo.texts
    assert drawn.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_explanation_of_images_is_drawn_beside_them(channels):
    images = RNG.uniform(0, 1, [2, 8, 8, channels])
    record = explanation_of(noise(2, 8, 8, channels), count=2, inputs=images, names=("cat", "dog"))
    axes = rendered(plot.explanation(record))
    assert len(axes) == 4
    assert axes[1].get_title() == "integrated gradients"
    assert [axes[i].texts[0].get_text() for i in (0, 2)] == ["cat  0", "dog  1"]


def test_an_explanation_without_its_images_is_drawn_alone_or_beside_given_ones():
    record = explanation_of(noise(2, 8, 8, 3), count=2)
    alone = rendered(plot.explanation(record))
    assert [a.get_title() for a in alone] == ["0  0", "1  1"]
    assert len(rendered(record.plot(images=RNG.uniform(0, 1, [2, 8, 8, 3])))) == 4


def test_an_explanation_of_sequences_has_a_titled_map_for_each():
    record = explanation_of(noise(3, 20, 4), count=3, inputs=noise(3, 20, 4))
    axes = rendered(plot.explanation(record))
    assert [a.get_title() for a in axes] == ["0  0", "1  0.5", "2  1"]
    assert [a.images[0].get_array().shape for a in axes] == [(20, 4)] * 3


def test_an_explanation_of_features_has_titled_bars_for_each():
    record = explanation_of(noise(2, 7), count=2, inputs=noise(2, 7))
    axes = rendered(plot.explanation(record))
    assert [a.get_title() for a in axes] == ["0  0", "1  1"]
    assert [len(a.patches) for a in axes] == [7, 7]


def test_an_explanation_of_several_inputs_has_a_titled_column_for_each():
    maps = {"photo": noise(2, 8, 8, 3), "sound": noise(2, 20, 2), "facts": noise(2, 5)}
    axes = np.reshape(
        rendered(plot.explanation(explanation_of(maps, count=2, inputs=maps))), (2, 3)
    )
    assert [a.get_title() for a in axes[0]] == ["photo", "sound", "facts"]
    for row in axes:
        assert [len(a.images) for a in row] == [1, 1, 0]
        assert len(row[2].patches) == 5


def test_inputs_without_names_are_numbered():
    axes = rendered(plot.explanation(explanation_of((noise(1, 5), noise(1, 4, 4, 1)), count=1)))
    assert [a.get_title() for a in axes] == ["0", "1"]


@pytest.mark.parametrize("several", [False, True])
def test_at_most_eight_examples_are_drawn(several):
    values = noise(11, 5)
    record = explanation_of({"a": values} if several else values, count=11)
    assert len(rendered(plot.explanation(record))) == 8


def test_a_class_name_with_dollar_signs_is_drawn_as_it_stands():
    record = explanation_of(noise(2, 5), count=2, names=("$5_$ to $6_$", "more"))
    assert rendered(plot.explanation(record))[0].get_title() == "$5_$ to $6_$  0"


def test_tokens_stand_on_their_colours_on_lines_that_end():
    words = ["grim", "good"] + ["word"] * 20
    values = np.array([-2.0, 1.0, *[0.0] * 20, 9.0])  # the last one is of padding
    figure = plot.tokens([words, ["so"]], [values, values[:1]], labels=["first", "second"])
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.texts] == ["first", *words, "second", "so"]
    blue, red, white, *_ = (patch.get_facecolor() for patch in axes.patches)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert min(white[:3]) > 0.95
    places = {t.get_text(): t.get_position() for t in axes.texts}
    assert places["grim"][1] == places["good"][1] == 1
    assert places["word"][1] == 2
    assert places["second"][1] == 4
    columns = [t.get_position()[0] + len(t.get_text()) for t in axes.texts]
    assert max(columns) <= 72


def test_tokens_without_a_value_each_are_refused():
    with pytest.raises(ValueError, match=r"text 0 has 2 tokens, but values of shape \[1\]"):
        plot.tokens(["a", "b"], np.array([1.0]))
    with pytest.raises(ValueError, match="2 texts, 1 rows of values and 2 labels"):
        plot.tokens([["a"], ["b"]], np.array([[1.0]]))
    with pytest.raises(ValueError, match="sign='both'"):
        plot.tokens(["a"], np.array([1.0]), sign="both")
