"""Small ONNX models, and whether Keras models of them agree with onnxruntime."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, shape_inference

import tfxai
from tfxai.converters import from_onnx

RANDOM = np.random.default_rng(0)


METHODS = {
    "integrated_gradients": lambda m: tfxai.integrated_gradients(m, steps=8),
    "grad_cam": tfxai.grad_cam,
    "guided_backprop": tfxai.guided_backprop,
    "excitation_backprop": tfxai.excitation_backprop,
    "noisegrad": lambda m: tfxai.noisegrad(m, samples=2),
    "caso": lambda m: tfxai.caso(m, lambda1=1e-5),
}
"""Methods of each kind, for imported networks."""


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def proto(nodes, inputs, constants=(), *, outputs=("y",), opset=17, domains=()):
    """A model of nodes (as `helper.make_node` gives them), inputs and constants by name."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in dict(constants).items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid("", opset),
            *(helper.make_opsetid(d, 1) for d in domains),
        ],
        ir_version=10,
    )
    return shape_inference.infer_shapes(model)


def one(op, inputs, constants=(), *, opset=17, names=None, outputs=("y",), **attributes):
    """A model of one node; `names` are its inputs where they are not all, in order."""
    given = names or [*inputs, *dict(constants)]
    node = helper.make_node(op, given, list(outputs), name="node", **attributes)
    return proto([node], inputs, constants, outputs=outputs, opset=opset)


def run(model, *arrays):
    """What onnxruntime computes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(zip((i.name for i in session.get_inputs()), arrays, strict=True)))


def last(array):
    """Channels behind space, for images of any rank."""
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array


def maps_of_opposites(build, net, inputs):
    """Maps of class 0, and of class 1, which is made its opposite: an explanation of either.

    Grad-CAM's ReLU may remove the whole map of one of them, not of both.
    """
    kernel, *bias = net.layers[-1].get_weights()
    kernel[:, 1] = -kernel[:, 0]
    net.layers[-1].set_weights([kernel, *bias])
    explainer = build(net)
    return [explainer.explain(inputs, target, verbose=0).attributions for target in (0, 1)]


def check(model, *arrays, channels_first=True, tolerance=1e-5, input_shape=None):
    """Import a model, and compare all its outputs with onnxruntime's; give the Keras model.

    The examples are compared all at once, and the first one alone.
    """
    net = from_onnx(model, input_shape=input_shape)
    turned = last if channels_first else (lambda x: x)
    inputs = [turned(x) for x in arrays]
    expected = run(model, *arrays)
    for rows in (len(inputs[0]), 1):
        batch = [x[:rows] for x in inputs]
        found = net(batch if len(batch) > 1 else batch[0])
        found = found if isinstance(found, list | tuple) else [found]
        for x, whole in zip(found, expected, strict=True):
            y = whole[:rows]
            views = [view for view in (y, last(y)) if view.shape == tuple(x.shape)]
            assert views, (x.shape, y.shape)
            error = min(np.abs(x - view).max(initial=0) for view in views)
            assert error <= tolerance * max(np.abs(y).max(initial=0), 1)
    return net
