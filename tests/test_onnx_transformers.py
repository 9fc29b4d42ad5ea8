"""Transformers: class tokens, attention, windows; the batch wherever a file has it."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.onnx_models import METHODS, check, last, maps_of_opposites, normal, proto, run
from tests.thorough import quick
from tfxai.converters import UnsupportedError, from_onnx

few = settings(max_examples=25, deadline=None, derandomize=True)
CHANNELS, HEADS, SIDE = 8, 2, 3
TOKENS = SIDE * SIDE + 1


class Net:
    """Nodes and constants, written one after another."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def __call__(self, op, *inputs, **attributes):
        """Add a node; arrays among its inputs become constants. Give its output."""
        names = []
        for value in inputs:
            if not isinstance(value, str):
                name = f"constant{len(self.constants)}"
                self.constants[name] = np.asarray(value)
                value = name
            names.append(value)
        output = f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [output], name=output, **attributes))
        return output

    def model(self, output, inputs, opset):
        self.nodes.append(helper.make_node("Identity", [output], ["y"], name="end"))
        return proto(self.nodes, inputs, self.constants, opset=opset)


def reduced(net, op, x, axis, opset):
    if opset < 18:
        return net(op, x, axes=[axis], keepdims=1)
    return net(op, x, np.array([axis]), keepdims=1)


def layer_norm(net, x, opset):
    scale, shift = 1 + normal(CHANNELS) / 5, normal(CHANNELS) / 5
    if opset >= 17:
        return net("LayerNormalization", x, scale, shift, epsilon=1e-6)
    centred = net("Sub", x, reduced(net, "ReduceMean", x, -1, opset))
    variance = reduced(net, "ReduceMean", net("Pow", centred, np.float32(2)), -1, opset)
    root = net("Sqrt", net("Add", variance, np.float32(1e-6)))
    return net("Add", net("Mul", net("Div", centred, root), scale), shift)


def gelu(net, x, opset):
    if opset >= 20:
        return net("Gelu", x)
    inner = net("Add", net("Erf", net("Div", x, np.float32(2**0.5))), np.float32(1))
    return net("Mul", net("Mul", x, inner), np.float32(0.5))


def linear(net, x, outside, inside=CHANNELS):
    return net("Add", normal(outside) / 5, net("MatMul", x, normal(inside, outside) / inside**0.5))


def batch_of(net, x):
    """The size of the batch, as a vector of one number."""
    return net("Gather", net("Shape", x), np.array([0]), axis=0)


def target(net, x, *sizes):
    return net("Concat", batch_of(net, x), np.array(sizes), axis=0)


def attention(net, x):
    width = CHANNELS // HEADS
    whole = net("Reshape", linear(net, x, 3 * CHANNELS), target(net, x, TOKENS, 3, HEADS, width))
    turned = net("Transpose", whole, perm=[2, 0, 3, 1, 4])
    q, k, v = (net("Gather", turned, np.array(i), axis=0) for i in range(3))
    scores = net(
        "MatMul", net("Mul", q, np.float32(width**-0.5)), net("Transpose", k, perm=[0, 1, 3, 2])
    )
    mixed = net("MatMul", net("Softmax", scores, axis=-1), v)
    joined = net(
        "Reshape", net("Transpose", mixed, perm=[0, 2, 1, 3]), target(net, x, TOKENS, CHANNELS)
    )
    return linear(net, joined, CHANNELS)


def class_token(net, x, kind):
    token = normal(1, 1, CHANNELS)
    if kind == "expand":
        return net("Expand", token, target(net, x, 1, CHANNELS))
    if kind == "tile":
        return net("Tile", token, target(net, x, 1, 1))
    if kind == "legacy":  # as PyTorch's older exporter writes expand(batch, -1, -1)
        shape = target(net, x, -1, -1)
        ones = net("ConstantOfShape", np.array([3]), value=helper.make_tensor("one", 7, [1], [1]))
        is_open = net("Equal", shape, net("Mul", ones, np.array(-1)))
        return net("Expand", token, net("Where", is_open, ones, shape))
    return token  # a file of one example


def vit(opset, *, token="expand", batch=None, size=12):
    """A vision transformer of two blocks with a class token, and logits of its classes."""
    net, patch = Net(), size // SIDE
    maps = net(
        "Conv", "x", normal(CHANNELS, 3, patch, patch) / 4, normal(CHANNELS), strides=[patch, patch]
    )
    flat = net("Reshape", maps, np.array([0, CHANNELS, -1]))
    tokens = net("Transpose", flat, perm=[0, 2, 1])
    x = net("Concat", class_token(net, tokens, token), tokens, axis=1)
    x = net("Add", x, normal(1, TOKENS, CHANNELS))
    for _ in range(2):
        x = net("Add", x, attention(net, layer_norm(net, x, opset)))
        hidden = gelu(net, linear(net, layer_norm(net, x, opset), 2 * CHANNELS), opset)
        x = net("Add", x, linear(net, hidden, CHANNELS, 2 * CHANNELS))
    first = net("Gather", layer_norm(net, x, opset), np.array(0), axis=1)
    logits = net("Gemm", first, normal(5, CHANNELS), normal(5), transB=1)
    return net.model(logits, {"x": [batch, 3, size, size]}, opset)


def kinds(net):
    return [type(layer).__name__ for layer in net.layers]


@pytest.mark.parametrize("token", ["expand", "tile", "legacy"])
@pytest.mark.parametrize("opset", quick([11, 13, 17, 20, 22], 13, 20))
def test_vision_transformers(opset, token, tmp_path):
    images = normal(3, 3, 12, 12)
    net = check(vit(opset, token=token), images)
    assert kinds(net).count("LayerNormalization") == 5
    assert kinds(net).count("Dense") == 9
    assert kinds(net).count("Softmax") == 2
    functions = [layer.function for layer in net.layers if type(layer).__name__ == "Apply"]
    assert functions.count("gelu") == 2
    net.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(again(last(images)), net(last(images)))


def test_a_file_of_one_example_becomes_a_model_of_any_number():
    model, images = vit(17, token="as it is", batch=1), normal(3, 3, 12, 12)
    expected = np.concatenate([run(model, images[i : i + 1])[0] for i in range(3)])
    np.testing.assert_allclose(from_onnx(model)(last(images)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
@pytest.mark.parametrize("name", quick(list(METHODS), "grad_cam", "excitation_backprop"))
def test_methods_explain_a_converted_vision_transformer(name):
    images = last(normal(2, 3, 12, 12))
    maps = maps_of_opposites(METHODS[name], from_onnx(vit(13)), images)
    assert maps[0].shape[:3] == (2, 12, 12)
    assert np.isfinite(maps).all()
    assert np.abs(maps).max((0, 2, 3, 4)).all()


def gelu_by_tanh(net, x):
    cube = net("Mul", x, net("Mul", x, x))
    inner = net(
        "Mul", np.float32((2 / np.pi) ** 0.5), net("Add", x, net("Mul", np.float32(0.044715), cube))
    )
    return net("Mul", np.float32(0.5), net("Mul", x, net("Add", np.float32(1), net("Tanh", inner))))


def gelu_halved_first(net, x):
    inner = net("Add", np.float32(1), net("Erf", net("Mul", x, np.float32(0.5**0.5))))
    return net("Mul", net("Mul", np.float32(0.5), x), inner)


@pytest.mark.parametrize("write", [gelu_by_tanh, gelu_halved_first])
def test_spellings_of_gelu(write):
    net = Net()
    model = net.model(write(net, net("Relu", "x")), {"x": [None, 6]}, 17)
    assert kinds(check(model, 3 * normal(3, 6))) == ["InputLayer", "ReLU", "Apply"]


@pytest.mark.parametrize("change", ["0.4", "sin", "read"])
def test_what_is_almost_gelu_stays_what_it_is(change):
    net = Net()
    inner = net("Erf", net("Mul", "x", np.float32(0.7071 if change == "0.4" else 0.5**0.5)))
    inner = net("Sin", inner) if change == "sin" else inner
    product = net("Mul", "x", net("Add", inner, np.float32(1)))
    whole = net("Mul", product, np.float32(0.4 if change == "0.4" else 0.5))
    whole = net("Sub", whole, inner) if change == "read" else whole
    found = check(net.model(whole, {"x": [None, 6]}, 17), 3 * normal(3, 6))
    functions = [layer.function for layer in found.layers if type(layer).__name__ == "Apply"]
    assert ("gelu" in functions) == (change == "read")


@pytest.mark.parametrize("case", ["epsilon in the root", "other axis", "no scale", "scale in rows"])
def test_what_is_almost_layer_normalization_stays_what_it_is(case):
    net = Net()
    axis = 1 if case == "other axis" else -1
    centred = net("Sub", "x", net("ReduceMean", "x", axes=[axis], keepdims=1))
    square = net("Mul", centred, centred)
    root = net(
        "Sqrt", net("Add", net("ReduceMean", square, axes=[axis], keepdims=1), np.float32(0.1))
    )
    if case == "epsilon in the root":
        root = net("Add", root, np.float32(0.1))
    y = net("Div", centred, root)
    if case != "no scale":
        y = net("Mul", y, normal(4, 1) if case == "scale in rows" else normal(6))
    found = check(net.model(y, {"x": [None, 4, 6]}, 13), normal(3, 4, 6), channels_first=False)
    assert "LayerNormalization" not in kinds(found)


@few
@given(data=st.data())
def test_shapes_that_join_the_batch_with_other_axes(data):
    """Axes in any order; some neighbours become one, others are cut, then all is undone."""
    axes, size = data.draw(st.permutations(range(4)), "order"), {1: 2, 2: 6, 3: 4}
    rows = data.draw(st.integers(1, 3), "examples")
    start, stop = sorted(data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)), "joined"))
    is_open = data.draw(st.booleans(), "open")
    if not is_open:
        rows = 1 + rows % 2
    sizes = [size.get(axis, -1) for axis in axes]
    joined = sizes[start : stop + 1]
    one = -1 if -1 in joined else int(np.prod(joined))
    net = Net()
    turned = net("Transpose", "x", perm=axes)
    flat = net("Reshape", turned, np.array([*sizes[:start], one, *sizes[stop + 1 :]]))
    back = net("Reshape", net("Tanh", flat), np.array(sizes))
    y = net("Transpose", net("Mul", back, np.float32(2)), perm=np.argsort(axes).tolist())
    model = net.model(y, {"x": [None if is_open else rows, 2, 6, 4]}, 17)
    check(model, normal(rows, 2, 6, 4), channels_first=False)


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_windows_join_the_batch(batch):
    """As Swin's: windows of an image are examples of an attention; then they are an image again."""
    net = Net()
    n = -1 if batch is None else batch
    cut = net("Reshape", "x", np.array([n, 2, 3, 2, 3, 4]))
    windows = net("Transpose", cut, perm=[0, 1, 3, 2, 4, 5])
    tokens = net("Reshape", windows, np.array([-1 if batch is None else 4 * batch, 9, 4]))
    keys = net("Transpose", linear(net, tokens, 4, 4), perm=[0, 2, 1])
    scores = net("Softmax", net("MatMul", tokens, keys), axis=-1)
    mixed = net("MatMul", scores, linear(net, tokens, 4, 4))
    image = net("Reshape", mixed, np.array([n, 2, 2, 3, 3, 4]))
    y = net("Reshape", net("Transpose", image, perm=[0, 1, 3, 2, 4, 5]), np.array([n, 6, 6, 4]))
    model = net.model(net("Softmax", y, axis=-1), {"x": [batch, 6, 6, 4]}, 17)
    images = normal(batch or 3, 6, 6, 4)
    net = from_onnx(model)
    turned = images if net.input_shape[1:] == (6, 6, 4) else last(images)
    (expected,) = run(model, images)
    for rows in (len(images), 1):
        found = np.asarray(net(turned[:rows]))
        found = found if found.shape[1:] == (6, 6, 4) else np.moveaxis(found, -1, 1)
        np.testing.assert_allclose(found, expected[:rows], rtol=1e-4, atol=1e-5)


def test_heads_join_the_batch_behind_the_tokens():
    """As in PyTorch's nn.MultiheadAttention, whose first axis is that of the tokens."""
    net = Net()
    x = net("Transpose", "x", perm=[1, 0, 2])
    q, k, v = (
        net("Transpose", net("Reshape", linear(net, x, 6, 6), np.array([5, -1, 3])), perm=[1, 0, 2])
        for _ in range(3)
    )
    scores = net("Softmax", net("MatMul", q, net("Transpose", k, perm=[0, 2, 1])), axis=-1)
    mixed = net("Transpose", net("MatMul", scores, v), perm=[1, 0, 2])
    rows = net("Gemm", net("Reshape", mixed, np.array([-1, 6])), normal(6, 4), normal(4))
    y = net("Transpose", net("Reshape", rows, np.array([5, -1, 4])), perm=[1, 0, 2])
    model = net.model(y, {"x": [None, 5, 6]}, 17)
    check(model, normal(3, 5, 6), channels_first=False)


def test_what_mixes_examples_is_refused():
    for shape, perm in (([-1, 4], [1, 0, 2]), ([2, -1], [0, 1, 2])):
        net = Net()
        y = net(
            "Softmax", net("Reshape", net("Transpose", "x", perm=perm), np.array(shape)), axis=0
        )
        with pytest.raises(UnsupportedError, match="examples of the batch"):
            from_onnx(net.model(y, {"x": [None, 6, 4]}, 17))
    net = Net()
    y = net("Reshape", net("MatMul", "x", net("Transpose", "x", perm=[1, 0])), np.array([-1, 1]))
    with pytest.raises(UnsupportedError, match="a product"):
        from_onnx(net.model(y, {"x": [None, 6]}, 17))


def test_broadcasting():
    net, x = Net(), {"x": [None, 3, 1, 4]}
    y = net("Expand", "x", np.array([3, 5, 4]))
    y = net("Tile", y, np.array([1, 2, 1, 1]))
    y = net("Where", np.arange(20).reshape(5, 4) % 3 == 0, y, np.float32(-7))
    y = net("Where", np.array([[True], [False]] * 3).reshape(6, 1, 1), np.float32(2), y)
    check(net.model(net("Relu", net("Add", y, normal(1, 6, 5, 4))), x, 17), normal(2, 3, 1, 4))


@pytest.mark.parametrize(
    ("op", "second", "options"),
    [
        ("Gather", np.array([[0, 2], [1, 1]]), {"axis": 1}),
        ("Gather", np.array([[3], [-1]]), {"axis": 3}),
        ("Tile", np.array([1, 2, 1, 3]), {}),
    ],
)
def test_entries_at_rows_of_places(op, second, options):
    net = Net()
    maps = net("Conv", "x", normal(4, 3, 1, 1))
    check(
        net.model(net(op, maps, second, **options), {"x": [None, 3, 5, 4]}, 17), normal(2, 3, 5, 4)
    )


def test_places_by_several_indices():
    net = Net()
    turned = net("Transpose", net("Conv", "x", normal(4, 3, 1, 1)), perm=[2, 3, 0, 1])
    places = np.stack(np.meshgrid([0, 4, -1], [1, 3], indexing="ij"), -1)
    y = net("Transpose", net("GatherND", turned, places), perm=[2, 3, 0, 1])
    check(net.model(y, {"x": [None, 3, 5, 4]}, 17), normal(2, 3, 5, 4))


def test_views_by_strides_take_from_their_own_example():
    """PyTorch writes `as_strided` as places in all numbers of the batch."""
    net = Net()
    flat = net("Reshape", "x", np.array([-1]))
    steps = net("Range", np.array(0), net("Gather", net("Shape", "x"), np.array(0)), np.array(1))
    starts = net("Unsqueeze", net("Mul", steps, np.array(6)), np.array([1]))
    y = net("Gather", flat, net("Add", starts, np.array([[4, 0, 5]])), axis=0)
    check(net.model(y, {"x": [None, 6]}, 17), normal(3, 6))


def test_gather_elements_of_constants():
    """ONNX's reference implementation cannot do indices of fewer columns than the data."""
    net = Net()
    positions = net("GatherElements", np.arange(512)[None], np.arange(12)[None] % 5, axis=1)
    vectors = net("Gather", normal(600, 4), positions, axis=0)
    model = net.model(net("Relu", net("Add", "x", vectors)), {"x": [None, 12, 4]}, 17)
    check(model, normal(3, 12, 4), channels_first=False)


def test_fused_attention():
    """ONNX defines it by other operations, by which it is replaced."""
    net = Net()
    shape = np.array([0, 5, 2, 4])
    q, k, v = (
        net("Transpose", net("Reshape", linear(net, "x", 8), shape), perm=[0, 2, 1, 3])
        for _ in range(3)
    )
    for options in ({}, {"is_causal": 1}, {"scale": 0.3, "softcap": 2.0}):
        y = net("Attention", q, k, v, **options)
    joined = net("Reshape", net("Transpose", y, perm=[0, 2, 1, 3]), np.array([0, 5, 8]))
    model = net.model(joined, {"x": [None, 5, 8]}, 23)
    check(model, normal(3, 5, 8), channels_first=False)


@pytest.mark.parametrize("heads", [(2, 2), (4, 2)])
def test_fused_attention_of_rows_with_a_mask(heads):
    net, (queries, keys) = Net(), heads
    parts = [linear(net, "x", 4 * n) for n in (queries, keys, keys)]
    mask = np.where(np.arange(25).reshape(5, 5) % 4 == 3, -1e4, 0).astype("float32")
    y = net("Attention", *parts, mask, q_num_heads=queries, kv_num_heads=keys)
    check(net.model(y, {"x": [None, 5, 8]}, 23), normal(3, 5, 8), channels_first=False)
