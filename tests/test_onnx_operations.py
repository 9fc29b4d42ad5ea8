"""Each operation of ONNX that is rebuilt, against onnxruntime."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.onnx_models import check, normal, one, proto
from tfxai.converters import UnsupportedError, from_onnx

IMAGE = normal(2, 3, 5, 4)
few = settings(max_examples=25, deadline=None, derandomize=True)
pads = st.lists(st.integers(0, 2), min_size=4, max_size=4)
pair = st.tuples(st.integers(1, 3), st.integers(1, 3))


@few
@given(
    kernel=pair,
    strides=pair,
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=pads,
    groups=st.sampled_from([1, 2, 4]),
    times=st.integers(1, 2),
    bias=st.booleans(),
)
def test_conv(kernel, strides, dilations, pads, groups, times, bias):
    outside = 4 * times
    weights = {"w": normal(outside, 4 // groups, *kernel)} | (
        {"b": normal(outside)} if bias else {}
    )
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": groups}
    model = one("Conv", {"x": [None, 4, 9, 8]}, weights, kernel_shape=kernel, **attributes)
    net = check(model, normal(2, 4, 9, 8))
    assert net.get_layer("node").name == "node"


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 3)])
def test_automatic_padding(auto_pad, strides):
    weights = {"w": normal(5, 3, 3, 2)}
    model = one("Conv", {"x": [None, 3, 8, 7]}, weights, auto_pad=auto_pad, strides=strides)
    check(model, normal(2, 3, 8, 7))


def test_signals_and_volumes():
    check(one("Conv", {"x": [None, 3, 9]}, {"w": normal(4, 3, 3)}, pads=[1, 1]), normal(2, 3, 9))
    sizes = (5, 6, 4)
    model = one("Conv", {"x": [None, 2, *sizes]}, {"w": normal(3, 2, 2, 2, 2)}, strides=[2, 1, 1])
    check(model, normal(2, 2, *sizes))


@few
@given(
    kernel=pair,
    strides=pair,
    pads=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    ceil=st.booleans(),
    included=st.booleans(),
    average=st.booleans(),
)
def test_pools(kernel, strides, pads, ceil, included, average):
    pads = [min(pad, kernel[i % 2] - 1) for i, pad in enumerate(pads)]
    attributes = {"strides": strides, "pads": pads, "ceil_mode": int(ceil)}
    attributes |= {"count_include_pad": int(included)} if average else {}
    name = "AveragePool" if average else "MaxPool"
    model = one(name, {"x": [None, 3, 9, 8]}, kernel_shape=kernel, opset=19, **attributes)
    check(model, normal(2, 3, 9, 8) - 3)  # below 0, so that what is padded must not be 0


@pytest.mark.parametrize("name", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(name):
    check(one(name, {"x": [None, 3, 5, 4]}), normal(2, 3, 5, 4))
    check(one(name, {"x": [None, 3, 5]}), normal(2, 3, 5))


ACTIVATIONS = [
    *(("Relu", {}), ("LeakyRelu", {"alpha": 0.2}), ("Elu", {"alpha": 0.7}), ("Selu", {})),
    *(("Celu", {"alpha": 0.7}), ("Sigmoid", {}), ("HardSigmoid", {}), ("Tanh", {})),
    *(("HardSigmoid", {"alpha": 1 / 6}), ("HardSwish", {}), ("Mish", {}), ("Softplus", {})),
    *(("Softsign", {}), ("Softmax", {"axis": 1}), ("LogSoftmax", {"axis": -1}), ("Abs", {})),
    *(("Neg", {}), ("Exp", {}), ("Erf", {}), ("Sin", {}), ("Cos", {}), ("Floor", {})),
    *(("Reciprocal", {}), ("Identity", {}), ("Dropout", {})),
]


@pytest.mark.parametrize(("name", "attributes"), ACTIVATIONS)
def test_functions_of_one_tensor(name, attributes):
    opset = 18 if name == "Mish" else 17
    check(one(name, {"x": [None, 3, 5, 4]}, opset=opset, **attributes), normal(2, 3, 5, 4))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate):
    model = one("Gelu", {"x": [None, 6]}, opset=20, approximate=approximate)
    check(model, normal(3, 6))


@pytest.mark.parametrize("name", ["Log", "Sqrt"])
def test_functions_of_positive_numbers(name):
    check(one(name, {"x": [None, 6]}), np.abs(normal(3, 6)) + 0.1)


def test_prelu():
    for slope in (normal(3, 1, 1), normal(1)):
        check(one("PRelu", {"x": [None, 3, 5, 4]}, {"s": slope}), normal(2, 3, 5, 4))


@pytest.mark.parametrize(("low", "high"), [(0, 6), (-1, 1), (None, 0.5), (0, None), (-0.5, None)])
@pytest.mark.parametrize("opset", [9, 17])
def test_clip(low, high, opset):
    bounds = {"min": low, "max": high}
    if opset < 11:
        known = {name: float(bound) for name, bound in bounds.items() if bound is not None}
        model = one("Clip", {"x": [None, 7]}, opset=opset, **known)
    else:
        known = {n: np.float32(b) for n, b in bounds.items() if b is not None}
        names = ["x", *(name if name in known else "" for name in bounds)]
        model = one("Clip", {"x": [None, 7]}, known, names=names)
    check(model, 4 * normal(3, 7))


def test_softmax_before_opset_13_is_over_all_axes_behind():
    for name in ("Softmax", "LogSoftmax"):
        check(one(name, {"x": [None, 3, 5, 4]}, opset=11, axis=1), normal(2, 3, 5, 4))


@pytest.mark.parametrize("name", ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"])
def test_arithmetic(name):
    image = np.abs(normal(2, 3, 5, 4)) + 0.5
    check(one(name, {"a": [None, 3, 5, 4], "b": [None, 3, 1, 1]}), image, image[:, :, :1, :1])
    for constant in (np.float32(1.5), np.abs(normal(3, 1, 1)) + 0.5, np.abs(normal(1, 3, 5, 4))):
        check(one(name, {"x": [None, 3, 5, 4]}, {"c": constant}), image)
        check(one(name, {"x": [None, 3, 5, 4]}, {"c": constant}, names=["c", "x"]), image)


def test_sums_of_many():
    inputs = {name: [None, 3, 4, 4] for name in "abc"}
    check(one("Sum", inputs), *(normal(2, 3, 4, 4) for _ in inputs))
    check(one("Max", {"a": [None, 3, 4, 4]}), normal(2, 3, 4, 4))


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed):
    weights = normal(5, 6) if transposed else normal(6, 5)
    for bias in ({}, {"b": normal(5)}, {"b": normal(1, 5)}, {"b": normal(1)}):
        given = {"w": weights, **bias}
        model = one("Gemm", {"x": [None, 6]}, given, transB=transposed, alpha=0.5, beta=2.0)
        assert isinstance(check(model, normal(3, 6)).get_layer("node"), keras.layers.Dense)


def test_products():
    rows, plain = normal(2, 4, 6), {"channels_first": False}
    for weights in (normal(6, 5), normal(1, 6, 5)):
        check(one("MatMul", {"x": [None, 4, 6]}, {"w": weights}), rows, **plain)
    weights = {"w": normal(3, 4)}
    check(one("MatMul", {"x": [None, 4, 6]}, weights, names=["w", "x"]), rows, **plain)
    model = one("MatMul", {"a": [None, 4, 6], "b": [None, 6, 3]})
    check(model, rows, normal(2, 6, 3), **plain)


def test_batch_normalization():
    numbers = {n: normal(3) for n in ("scale", "shift", "mean")}
    numbers["variance"] = np.abs(normal(3)) + 0.1
    check(one("BatchNormalization", {"x": [None, 3, 5, 4]}, numbers), normal(2, 3, 5, 4))
    check(one("BatchNormalization", {"x": [None, 3]}, numbers, epsilon=0.1), normal(2, 3))


@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_normalization(axis):
    shape = (5,) if axis == -1 else (4, 5)
    for weights in ({"s": normal(*shape)}, {"s": normal(*shape), "b": normal(*shape)}):
        model = one("LayerNormalization", {"x": [None, 4, 5]}, weights, axis=axis)
        check(model, normal(2, 4, 5), channels_first=False)


@pytest.mark.parametrize("name", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [1], [-1, 1]])
def test_reductions(name, keepdims, axes):
    image = {"x": [None, 3, 5, 4]}
    new = one(name, image, {"axes": np.array(axes)}, opset=18, keepdims=keepdims)
    opset = 9 if name == "ReduceSum" else 13
    old = one(name, image, opset=opset, axes=axes, keepdims=keepdims)
    for model in (new, old):
        check(model, normal(2, 3, 5, 4))


def through(*nodes, size=(3, 5, 4), constants=(), opset=17):
    """A model of images whose channels a convolution knows, then nodes from "h" to "y"."""
    weights = {"w": normal(4, size[0], 1, 1), **dict(constants)}
    first = helper.make_node("Conv", ["x", "w"], ["h"])
    return proto([first, *nodes], {"x": [None, *size]}, weights, opset=opset)


def test_flattened_images_are_in_the_files_order():
    model = through(helper.make_node("Flatten", ["h"], ["y"]))
    check(model, normal(2, 3, 5, 4))
    model = through(
        helper.make_node("Flatten", ["h"], ["flat"]),
        helper.make_node("Gemm", ["flat", "d"], ["y"]),
        constants={"d": normal(80, 3)},
    )
    check(model, normal(2, 3, 5, 4))


@pytest.mark.parametrize(
    "target", [[0, -1], [-1, 80], [1, -1], [0, 2, 2, 5, 4], [1, 80], [-1, 4, 20], [0, 4, -1]]
)
def test_reshape(target):
    node = helper.make_node("Reshape", ["h", "t"], ["y"])
    check(through(node, constants={"t": np.array(target)}), normal(1, 3, 5, 4))


def test_the_batch_may_be_read_from_the_shape():
    nodes = [
        helper.make_node("Shape", ["h"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["batch"], axis=0),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["row"]),
        helper.make_node("Concat", ["row", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["h", "target"], ["y"]),
    ]
    constants = {"first": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    check(through(*nodes, constants=constants), normal(3, 3, 5, 4))


def test_reshaping_across_the_batch_is_refused():
    for target in ([-1, 40], [160], [2, -1]):
        node = helper.make_node("Reshape", ["h", "t"], ["y"], name="across")
        with pytest.raises(UnsupportedError, match="'across'"):
            from_onnx(through(node, constants={"t": np.array(target)}))


@pytest.mark.parametrize("perm", [[0, 2, 3, 1], [0, 3, 2, 1], [0, 1, 3, 2]])
def test_transpose_alone_and_before_others(perm):
    turn = helper.make_node("Transpose", ["h"], ["t"], perm=perm)
    for op in ("Relu", "Flatten"):
        model = through(turn, helper.make_node(op, ["t"], ["y"]))
        check(model, IMAGE)


def test_a_transposed_input_stays_channels_last():
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["h"]),
        helper.make_node("Transpose", ["h"], ["y"], perm=[0, 2, 3, 1]),
    ]
    model = proto(nodes, {"x": [None, 5, 4, 3]}, {"w": normal(6, 3, 2, 2)})
    net = check(model, normal(2, 5, 4, 3), channels_first=False)
    assert [layer.name for layer in net.layers] == ["x", "h"]


@pytest.mark.parametrize("opset", [11, 17])
def test_squeeze_and_unsqueeze(opset):
    def node(op, source, target, axes):
        if opset < 13:
            return helper.make_node(op, [source], [target], axes=axes), {}
        name = f"axes{target}"
        return helper.make_node(op, [source, name], [target]), {name: np.array(axes)}

    pool = helper.make_node("GlobalAveragePool", ["h"], ["p"])
    squeeze, first = node("Squeeze", "p", "s", [2, 3])
    unsqueeze, second = node("Unsqueeze", "s", "u", [2, -1])
    gate = helper.make_node("Mul", ["u", "h"], ["y"])
    constants = first | second
    check(through(pool, squeeze, unsqueeze, gate, constants=constants, opset=opset), IMAGE)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat_split_slice_and_gather(axis):
    size = (3, 5, 4)
    nodes = [
        helper.make_node("Split", ["h"], ["a", "b"], axis=axis),
        helper.make_node("Concat", ["b", "a"], ["y"], axis=axis),
    ]
    if axis != 2:
        check(through(*nodes, size=size, opset=11), IMAGE)
    sizes = {"sizes": np.array([1, [4, 4, 5, 4][axis] - 1])}
    nodes[0] = helper.make_node("Split", ["h", "sizes"], ["a", "b"], axis=axis)
    check(through(*nodes, constants=sizes), IMAGE)
    for start, stop, step in ((1, 3, 1), (-3, 2**63 - 1, 2), (-1, -(2**63) + 1, -1)):
        numbers = {"s": [start], "e": [stop], "a": [axis], "p": [step]}
        node = helper.make_node("Slice", ["h", *numbers], ["y"])
        constants = {name: np.array(value) for name, value in numbers.items()}
        check(through(node, constants=constants), IMAGE)
    for places in (np.array(2), np.array([2, 0]), np.array(-1)):
        node = helper.make_node("Gather", ["h", "i"], ["y"], axis=axis)
        check(through(node, constants={"i": places}), IMAGE)


def test_the_whole_batch_is_a_slice():
    numbers = {"s": [0, 1], "e": [2**63 - 1, 3], "a": [0, 2]}
    node = helper.make_node("Slice", ["h", *numbers], ["y"])
    check(through(node, constants={n: np.array(v) for n, v in numbers.items()}), IMAGE)
    part = helper.make_node("Slice", ["h", "s", "e", "a"], ["y"], name="cut")
    numbers |= {"e": [1, 3]}
    with pytest.raises(UnsupportedError, match="'cut'"):
        from_onnx(through(part, constants={n: np.array(v) for n, v in numbers.items()}))


def test_casts_between_real_numbers_are_left_out():
    like = helper.make_node("CastLike", ["c", "h"], ["k"])
    add = helper.make_node("Mul", ["h", "k"], ["m"])
    cast = helper.make_node("Cast", ["m"], ["y"], to=1)
    check(through(like, add, cast, constants={"c": np.float32(2)}), IMAGE)
    integers = helper.make_node("Cast", ["h"], ["y"], to=6, name="whole")
    with pytest.raises(UnsupportedError, match="'whole'"):
        from_onnx(through(integers))


def test_slices_of_old_files():
    node = helper.make_node("Slice", ["h"], ["y"], starts=[1], ends=[3], axes=[3])
    check(through(node, opset=9), IMAGE)


@pytest.mark.parametrize(
    ("mode", "pads"),
    [("constant", [0, 1, 2, 0, 0, 0, 1, 3]), ("reflect", [0, 0, 2, 1, 0, 0, 1, 2])],
)
def test_pad(mode, pads):
    constants = {"p": np.array(pads), "v": np.float32(0.5)}
    names = ["h", "p", "v"] if mode == "constant" else ["h", "p"]
    check(through(helper.make_node("Pad", names, ["y"], mode=mode), constants=constants), IMAGE)
    if mode == "constant":
        old = helper.make_node("Pad", ["h"], ["y"], mode=mode, pads=pads, value=0.5)
        check(through(old, opset=10), IMAGE)


@pytest.mark.parametrize(
    ("mode", "where"),
    [("nearest", "half_pixel"), ("nearest", "asymmetric"), ("linear", "half_pixel")],
)
def test_resize(mode, where):
    options = {"mode": mode, "coordinate_transformation_mode": where}
    options |= {"nearest_mode": "floor"} if where == "asymmetric" else {}
    node = helper.make_node("Resize", ["h", "", "f"], ["y"], **options)
    check(through(node, constants={"f": np.array([1, 1, 2, 3], "float32")}), IMAGE)
    node = helper.make_node("Resize", ["h", "", "", "n"], ["y"], **options)
    check(through(node, constants={"n": np.array([2, 4, 10, 12])}), IMAGE)


def test_arithmetic_behind_weights_becomes_part_of_them():
    scale, shift = normal(4, 1, 1), normal(4, 1, 1)
    nodes = [
        helper.make_node("Mul", ["h", "scale"], ["m"]),
        helper.make_node("Add", ["m", "shift"], ["a"]),
        helper.make_node("Sub", ["one", "a"], ["s"]),
        helper.make_node("Div", ["s", "two"], ["y"]),
    ]
    constants = {"scale": scale, "shift": shift, "one": np.float32(1), "two": np.float32(2)}
    net = check(through(*nodes, constants=constants), IMAGE)
    assert [type(layer).__name__ for layer in net.layers] == ["InputLayer", "Conv2D"]
    product = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["b", "h"], ["y"]),
    ]
    net = check(proto(product, {"x": [None, 6]}, {"w": normal(6, 5), "b": normal(5)}), normal(3, 6))
    assert [type(layer).__name__ for layer in net.layers] == ["InputLayer", "Dense"]


def test_zeros_may_be_added_and_batched_products_stay():
    node = helper.make_node("Add", ["h", "c"], ["y"])
    check(through(node, constants={"c": np.zeros((4, 1, 1), "float32")}), IMAGE)
    product = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Mul", ["h", "b"], ["y"]),
    ]
    constants = {"w": normal(1, 6, 5), "b": normal(5)}
    check(proto(product, {"x": [None, 4, 6]}, constants), normal(2, 4, 6), channels_first=False)


def test_what_others_read_or_is_no_number_for_each_channel_stays():
    twice = [
        helper.make_node("Add", ["h", "c"], ["a"]),
        helper.make_node("Mul", ["a", "h"], ["y"]),
    ]
    check(through(*twice, constants={"c": normal(4, 1, 1)}), IMAGE)
    for constant in (normal(5, 4), normal(4, 5, 4), normal(5, 1)):
        node = helper.make_node("Add", ["h", "c"], ["y"])
        check(through(node, constants={"c": constant}), IMAGE)


def test_one_constant_may_serve_several_nodes():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["d"]),
        helper.make_node("Mul", ["d", "b"], ["y"]),
    ]
    check(proto(nodes, {"x": [None, 5]}, {"w": normal(5, 5), "b": normal(5)}), normal(3, 5))


def test_two_inputs_and_two_outputs():
    nodes = [
        helper.make_node("Add", ["left", "right"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["positive"]),
    ]
    inputs = {"left": [None, 3, 4, 4], "right": [None, 3, 4, 4]}
    model = proto(nodes, inputs, outputs=("sum", "positive"))
    net = check(model, normal(2, 3, 4, 4), normal(2, 3, 4, 4))
    assert [x.name for x in net.inputs] == ["left", "right"]


@pytest.mark.parametrize("opset", range(9, 23))
def test_every_opset(opset):
    nodes = [
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["p", "s", "b", "m", "v"], ["n"]),
        helper.make_node("GlobalAveragePool", ["n"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "d", "e"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"]),
    ]
    constants = {name: normal(4) for name in "sbm"} | {"v": np.abs(normal(4)) + 0.1}
    constants |= {"d": normal(4, 6), "e": normal(6)}
    net = check(through(*nodes, constants=constants, opset=opset), IMAGE)
    assert [type(layer).__name__ for layer in net.layers] == [
        *("InputLayer", "Conv2D", "ReLU", "MaxPooling2D", "BatchNormalization"),
        *("GlobalAveragePooling2D", "Flatten", "Dense", "Softmax"),
    ]
