"""Transposed convolutions, normalisations and reductions against onnxruntime."""

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.onnx_models import check, normal, one, proto
from tfxai.converters import UnsupportedError, from_onnx

few = settings(max_examples=30, deadline=None, derandomize=True)
pair = st.tuples(st.integers(1, 3), st.integers(1, 3))


@few
@given(
    kernel=pair,
    strides=pair,
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    added=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    opset=st.sampled_from([9, 11, 22]),
)
def test_transposed_convolutions(kernel, strides, dilations, pads, added, groups, bias, opset):
    assume(all(a < s for a, s in zip(added, strides, strict=True)))
    sizes = [
        4 * s + (k - 1) * d + 1 + a
        for k, s, d, a in zip(kernel, strides, dilations, added, strict=True)
    ]
    assume(all(n > pads[i] + pads[i + 2] for i, n in enumerate(sizes)))
    weights = {"w": normal(4, 3, *kernel)} | ({"b": normal(3 * groups)} if bias else {})
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": groups}
    attributes |= {"output_padding": added, "kernel_shape": kernel}
    model = one("ConvTranspose", {"x": [None, 4, 5, 5]}, weights, opset=opset, **attributes)
    check(model, normal(2, 4, 5, 5))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 3)])
def test_automatic_padding(auto_pad, strides):
    weights = {"w": normal(3, 2, 3, 4)}
    model = one(
        "ConvTranspose", {"x": [None, 3, 4, 5]}, weights, auto_pad=auto_pad, strides=strides
    )
    check(model, normal(2, 3, 4, 5))


def test_sizes_that_are_given():
    weights = {"w": normal(3, 2, 3, 3)}
    options = {"strides": [2, 2], "output_shape": [8, 9]}
    check(one("ConvTranspose", {"x": [None, 3, 4, 5]}, weights, **options), normal(2, 3, 4, 5))
    options = {"strides": [1, 1], "output_shape": [9, 9]}
    with pytest.raises(UnsupportedError, match=r"'node' \(ConvTranspose\): negative padding"):
        from_onnx(one("ConvTranspose", {"x": [None, 3, 4, 5]}, weights, **options))


def test_output_padding_of_a_whole_stride_is_refused():
    options = {"strides": [2, 2], "output_padding": [2, 0], "dilations": [3, 1]}
    model = one("ConvTranspose", {"x": [None, 3, 4, 5]}, {"w": normal(3, 2, 3, 3)}, **options)
    with pytest.raises(UnsupportedError, match=r"output_padding=\[2, 0\] with strides \[2, 2\]"):
        from_onnx(model)


def test_transposed_convolutions_of_signals_and_volumes():
    model = one(
        "ConvTranspose", {"x": [None, 3, 6]}, {"w": normal(3, 2, 4)}, strides=[2], pads=[1, 0]
    )
    net = check(model, normal(2, 3, 6))
    assert any(isinstance(layer, keras.layers.Conv1DTranspose) for layer in net.layers)
    sizes = (3, 4, 2)
    model = one(
        "ConvTranspose", {"x": [None, 2, *sizes]}, {"w": normal(2, 3, 2, 2, 2)}, strides=[2, 1, 2]
    )
    check(model, normal(2, 2, *sizes))


@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 3), (4, 2, 3, 2)])
def test_instance_normalization(shape):
    weights = {"s": 1 + normal(4), "b": normal(4)}
    for opset in (9, 22):
        model = one(
            "InstanceNormalization", {"x": [None, *shape]}, weights, epsilon=0.01, opset=opset
        )
        assert isinstance(
            check(model, normal(3, *shape)).layers[-1], keras.layers.GroupNormalization
        )


def test_group_normalization_as_pytorch_exports_it():
    nodes = [
        helper.make_node("Reshape", ["x", "groups"], ["g"]),
        helper.make_node("InstanceNormalization", ["g", "one", "zero"], ["n"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Reshape", ["n", "shape"], ["r"]),
        helper.make_node("Mul", ["r", "s"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    constants = {"groups": np.array([0, 2, -1]), "one": np.ones(2, "float32")}
    constants |= {"zero": np.zeros(2, "float32"), "s": normal(6, 1, 1), "b": normal(6, 1, 1)}
    check(proto(nodes, {"x": [None, 6, 4, 5]}, constants), normal(3, 6, 4, 5))


@pytest.mark.parametrize(("opset", "size"), [(18, 2), (21, 6)])
def test_group_normalization(opset, size):
    weights = {"s": 1 + normal(size), "b": normal(size)}
    model = one("GroupNormalization", {"x": [None, 6, 4, 5]}, weights, num_groups=2, opset=opset)
    check(model, normal(3, 6, 4, 5))


@pytest.mark.parametrize("axis", [-1, 1, -2])
def test_rms_normalization(axis):
    weights = {"s": 1 + normal(*((6,) if axis == -1 else (4, 6)))}
    model = one("RMSNormalization", {"x": [None, 4, 6]}, weights, axis=axis, epsilon=0.01, opset=23)
    net = check(model, normal(3, 4, 6), channels_first=False)
    assert isinstance(net.layers[-1], keras.layers.RMSNormalization)


def test_normalising_over_the_batch_is_refused():
    for name, opset in (("LayerNormalization", 17), ("RMSNormalization", 23)):
        model = one(name, {"x": [None, 4]}, {"s": normal(1, 4)}, axis=0, opset=opset)
        with pytest.raises(UnsupportedError, match="normalises over the examples"):
            from_onnx(model)
    for name in ("Softmax", "LogSoftmax"):
        with pytest.raises(UnsupportedError, match="examples of the batch"):
            from_onnx(one(name, {"x": [None, 4]}, axis=0))


REDUCTIONS = ["Prod", "LogSumExp", "L1", "L2", "SumSquare", "LogSum"]


@few
@given(
    name=st.sampled_from(REDUCTIONS),
    axes=st.lists(st.sampled_from([-3, -2, -1, 1, 2, 3]), max_size=2, unique_by=lambda n: n % 4),
    keepdims=st.booleans(),
    opset=st.sampled_from([9, 13, 18, 23]),
)
def test_reductions(name, axes, keepdims, opset):
    """No axes mean all of them, the batch too, unless the file says that they mean none."""
    given_axes, options = {}, {"keepdims": int(keepdims)}
    if opset >= 18:
        given_axes = {"axes": np.array(axes, "int64")}
        options |= {"noop_with_empty_axes": 1}
    elif axes:
        options |= {"axes": axes}
    model = one(f"Reduce{name}", {"x": [None, 3, 5, 4]}, given_axes, opset=opset, **options)
    if not axes and opset < 18:
        with pytest.raises(UnsupportedError, match="joins the examples"):
            from_onnx(model)
        return
    check(model, np.abs(normal(2, 3, 5, 4)) + 0.1)


FUNCTIONS = [
    "Ceil",
    "Round",
    "Sign",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Atanh",
]


def test_functions_of_one_number():
    numbers = 0.9 * np.tanh(normal(3, 6))
    for name in FUNCTIONS:
        check(one(name, {"x": [None, 6]}, opset=22), numbers)
    check(one("Acosh", {"x": [None, 6]}, opset=22), 1.1 + np.abs(numbers))


def test_numbers_that_keras_has_otherwise():
    check(one("Selu", {"x": [None, 6]}, alpha=2.0, gamma=3.0), normal(3, 6))
    check(
        one("Clip", {"x": [None, 6]}, {"low": np.float32(2), "high": np.float32(1)}), normal(3, 6)
    )
    check(one("LogSoftmax", {"x": [None, 6]}, axis=1), 1e4 + normal(3, 6))
    image = {"x": [None, 2, 3, 4]}
    half_pixel = {"mode": "nearest", "coordinate_transformation_mode": "half_pixel"}
    scales = {"f": np.array([1, 1, 2, 2], "float32")}
    for rounding in ("round_prefer_floor", "round_prefer_ceil"):
        options = {**half_pixel, "nearest_mode": rounding}
        model = one("Resize", image, scales, names=["x", "", "f"], **options)
        check(model, normal(2, 2, 3, 4))


def test_outputs_that_are_not_known_are_refused():
    model = one("Dropout", {"x": [None, 3]}, outputs=("y", "mask"))
    with pytest.raises(
        UnsupportedError, match=r"'node' \(Dropout\): the output 'mask' is not known"
    ):
        from_onnx(model)


def test_a_single_number_has_no_batch():
    with pytest.raises(ValueError, match="'x' is a single number"):
        from_onnx(one("Relu", {"x": []}))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_blocks_of_pixels_and_channels(mode):
    options = {"blocksize": 2, "mode": mode}
    check(one("DepthToSpace", {"x": [None, 12, 3, 2]}, **options), normal(2, 12, 3, 2))
    check(one("SpaceToDepth", {"x": [None, 3, 4, 6]}, blocksize=2), normal(2, 3, 4, 6))


@pytest.mark.parametrize("op", ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])
def test_comparisons_choose(op):
    nodes = [
        helper.make_node(op, ["x", "c"], ["is"]),
        helper.make_node("Where", ["is", "x", "d"], ["y"]),
    ]
    constants = {"c": np.float32(0.5), "d": normal(6)}
    numbers = np.round(2 * normal(3, 6)) / 2
    check(proto(nodes, {"x": [None, 6]}, constants), numbers)
    with pytest.raises(ValueError, match="truth values"):
        from_onnx(one(op, {"x": [None, 6]}, {"c": np.float32(0.5)}, opset=17))


@pytest.mark.parametrize("name", ["ThresholdedRelu", "Shrink", "MeanVarianceNormalization"])
def test_functions_that_onnx_defines_by_others(name):
    options = {"alpha": 0.4} if name == "ThresholdedRelu" else {}
    options |= {"lambd": 0.3, "bias": 0.1} if name == "Shrink" else {}
    options |= {"axes": [2, 3]} if name == "MeanVarianceNormalization" else {}
    check(one(name, {"x": [None, 3, 4, 5]}, opset=18, **options), normal(2, 3, 4, 5))


def test_resizing_along_given_axes():
    options = {"mode": "nearest", "axes": [3, 2], "opset": 18}
    for numbers in ({"f": np.array([3, 2], "float32")}, {"n": np.array([12, 6])}):
        names = ["x", "", "f"] if "f" in numbers else ["x", "", "", "n"]
        check(
            one("Resize", {"x": [None, 2, 3, 4]}, numbers, names=names, **options),
            normal(2, 2, 3, 4),
        )
    with pytest.raises(UnsupportedError, match="keep_aspect_ratio_policy='not_larger'"):
        from_onnx(
            one(
                "Resize",
                {"x": [None, 2, 3, 4]},
                numbers,
                names=names,
                **options,
                keep_aspect_ratio_policy="not_larger",
            )
        )


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (4, 1, 1), (1, 4, 1)])
def test_constants_along_an_axis_as_long_as_others(op, shape):
    """Keras's own `add` takes such a constant for a bias along the last axis."""
    sizes, is_image = (4,) * len(shape), len(shape) == 3
    constants = {"c": 1 + np.abs(normal(*shape))}
    for names in (["x", "c"], ["c", "x"]):
        model = one(op, {"x": [None, *sizes]}, constants, names=names)
        check(model, 1 + np.abs(normal(3, *sizes)), channels_first=is_image)
    tensors = {"x": [None, *sizes], "c": [None, *shape]}
    pair = normal(3, *sizes), 1 + np.abs(normal(3, *shape))
    check(one(op, tensors), *pair, channels_first=is_image)


@few
@given(
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    where=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    rounding=st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    scales=st.tuples(*[st.sampled_from([0.5, 0.8, 1.0, 1.5, 2.0, 3.0])] * 2),
    by_size=st.booleans(),
    opset=st.sampled_from([11, 13, 19]),
)
def test_resizing_by_any_factor(mode, where, rounding, scales, by_size, opset):
    options = {"mode": mode, "coordinate_transformation_mode": where, "opset": opset}
    options |= {"nearest_mode": rounding} if mode == "nearest" else {}
    given_sizes = {
        "n": np.array([2, 3, *(int(s * n) for s, n in zip(scales, (5, 6), strict=True))])
    }
    given_scales = {"f": np.array([1, 1, *scales], "float32")}
    numbers = given_sizes if by_size else given_scales
    region = {"r": np.zeros(0, "float32"), "e": np.zeros(0, "float32")}
    names = ["x", "r", "e", "n"] if by_size else ["x", "r", "f"]
    kept = {name: array for name, array in region.items() if name in names}
    model = one("Resize", {"x": [None, 3, 5, 6]}, kept | numbers, names=names, **options)
    check(model, normal(2, 3, 5, 6))


def test_weights_that_are_standardised_by_a_batch_normalisation():
    """Of constants, in training mode: as timm's ResNetV2 and NFNet have it."""
    nodes = [
        helper.make_node("Reshape", ["w", "rows"], ["flat"]),
        helper.make_node(
            "BatchNormalization", ["flat", "s", "b", "m", "v"], ["n", "m1", "v1"], training_mode=1
        ),
        helper.make_node("Reshape", ["n", "back"], ["kernel"]),
        helper.make_node("Conv", ["x", "kernel"], ["y"]),
    ]
    constants = {"w": normal(4, 3, 2, 2), "rows": np.array([1, 4, -1])}
    constants |= {"s": 1 + normal(4), "b": np.zeros(4, "float32"), "m": np.zeros(4, "float32")}
    constants |= {"v": np.ones(4, "float32"), "back": np.array([4, 3, 2, 2])}
    check(proto(nodes, {"x": [None, 3, 5, 4]}, constants), normal(2, 3, 5, 4))
