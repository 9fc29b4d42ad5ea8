"""A model is called once in a process; what is kept of it goes with it, and notices changes."""

import copy
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.methods import BUILDERS
from tests.networks import Subclassed, small_cnn, trained_like
from tests.thorough import quick
from tfxai.explaining.runner import Runner
from tfxai.metrics.scoring import score_function
from tfxai.models.architecture import GRAPHS
from tfxai.models.model_info import trace_info
from tfxai.models.shared_graphs import in_graph, model_graph

L = keras.layers
CALLED_UNDER_OTHER_WEIGHTS = ("noisegrad", "fusiongrad", "noisy_patterns")
"""Methods that call the model with noise on its weights, beside its own graph."""


class Calls(L.Layer):
    """Gives what it takes, and notes the shapes; a list of its own would be a change of it."""

    def __init__(self, note):
        super().__init__()
        self.note = note

    def call(self, x):
        self.note(x.shape)
        return x


def counted():
    """A small CNN, and the list of its calls since it was built."""
    keras.utils.set_random_seed(1)
    shapes = []
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, small_cnn()(Calls(shapes.append)(inputs)))
    shapes.clear()
    return model, shapes


def slopes(model, x, target):
    """The gradient of a logit, by a tape, for a model that ends in logits."""
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x, training=False)[:, target]
    return tape.gradient(score, x).numpy()


@pytest.mark.parametrize(
    "name",
    quick(
        sorted(set(BUILDERS) - set(CALLED_UNDER_OTHER_WEIGHTS)),
        *("gradient", "integrated_gradients", "guided_grad_cam", "rise", "igos", "caso"),
    ),
)
@pytest.mark.filterwarnings("ignore:.*(not converged|maps of)")
def test_all_explainers_of_a_model_call_it_once(name, images):
    model, calls = counted()
    explainer = BUILDERS[name](model)
    explainer(images[:2], 1)
    assert len(calls) == 1
    explainer.explain(images, verbose=0)
    BUILDERS[name](model)(images[2:], 0)
    tfxai.gradient(model)(images)
    tfxai.rise(model, masks=3)(images)
    assert len(calls) == 1


def test_metrics_the_benchmark_and_the_hessian_call_it_no_more(images):
    model, calls = counted()
    maps = tfxai.grad_cam(model)(images, 1).numpy()
    tfxai.metrics.insertion(model, images, maps, 1, score=tfxai.scores.logit, step=16)
    tfxai.hessian.hvp(model, images, images, 1)
    tfxai.grad_cam(model, layer=model.layers[-1].layers[1].name)(images, 1)
    tfxai.gradient(model, score=tfxai.scores.margin)(images, 1)
    tfxai.logits(model)(images)
    assert len(calls) == 1


def test_new_values_of_the_variables_are_read(images):
    model, calls = counted()
    old = tfxai.gradient(model)
    before = old(images, 1).numpy()
    for variable in model.variables:
        variable.assign(1.5 * variable + 0.01)
    clone = small_cnn()
    clone.set_weights(model.get_weights())
    fresh = tfxai.gradient(clone)
    after = fresh(images, 1).numpy()
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(old(images, 1), after)
    np.testing.assert_array_equal(tfxai.gradient(model)(images, 1), after)
    assert len(calls) == 1


class Switched(keras.Model):
    """A model that reads attributes of several kinds."""

    power = 1.0

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = L.Dense(4), L.Dense(3), L.Dense(3)
        self.flipped = False
        self.scales = {"all": [1.0, 2.0]}
        self._hidden = 1.0
        self.table = np.ones(3, np.float32)
        self.settings = Settings()
        self.shifted, self.set_shift = shifting()

    def build(self, shape):
        self.third.build((None, 4))

    def call(self, x):
        x = self.second(keras.ops.tanh(self.first(x))) * self.scales["all"][1] * self._hidden
        x = self.shifted(x**self.power * self.table) * self.settings.slope
        return -x if self.flipped else x


class Settings:
    """An object of the user's."""

    def __init__(self):
        self.slope = 1.0


def shifting():
    """A function, and one that changes a variable around it."""
    shift = 1.0

    def shifted(x):
        return x * shift

    def set_shift(value):
        nonlocal shift
        shift = value

    return shifted, set_shift


def flip(model):
    model.flipped = True


def scale(model):
    model.scales["all"][1] = 5.0


def hide(model):
    model._hidden = 3.0


def activate(model):
    model.first.activation = keras.activations.relu


def replace(model):
    model.second = model.third


def override(model):
    model.second.call = lambda x, training=None: x[:, :3] ** 2


def class_attribute(model):
    type(model).power = 3.0


def array(model):
    model.table[0] = 4.0


def closure(model):
    model.set_shift(2.0)


def inside(model):
    model.settings.slope = 7.0


CHANGES = [flip, scale, hide, activate, replace, override, class_attribute, array, closure, inside]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_traced_again(change):
    keras.utils.set_random_seed(3)
    x = np.array([[3.0, -1.0, 0.5, 0.1], [0.0, 0.0, -2.0, 9.0]])
    model = Switched()
    np.testing.assert_allclose(
        tfxai.gradient(model)(x, 2), slopes(model, x, 2), rtol=1e-4, atol=1e-6
    )
    change(model)
    np.testing.assert_allclose(
        tfxai.gradient(model)(x, 2), slopes(model, x, 2), rtol=1e-4, atol=1e-6
    )


def test_training_and_compiling_do_not_count_as_changes(images):
    model, calls = counted()
    tfxai.gradient(model)(images, 1)
    model.compile("adam", "mse")
    model.fit(images, np.zeros([5, 5]), epochs=1, verbose=0)
    model.predict(images, verbose=0)
    model.trainable = False
    calls.clear()
    tfxai.smoothgrad(model, samples=2)(images, 1)
    assert calls == []


def test_what_is_kept_ends_with_the_model(images):
    model, _ = counted()
    explainer = tfxai.integrated_gradients(model, steps=3)
    explainer(images, 1)
    gone = weakref.ref(model)
    del model, explainer
    gc.collect()
    assert gone() is None


def test_copies_and_files_of_a_model_do_not_take_its_graph_along(images, tmp_path):
    model = small_cnn()
    expected = tfxai.gradient(model)(images, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for other in (loaded, copy.deepcopy(model)):
        assert GRAPHS not in vars(other)
        np.testing.assert_array_equal(tfxai.gradient(other)(images, 1), expected)


def test_scores_of_the_user_are_not_kept(images):
    """They may refer to what changes: a global variable, or one around them."""
    factor = 1.0

    @tfxai.scores.on_logits
    def scaled(logits, targets):
        return factor * logits[:, 0]

    model = small_cnn()
    once = tfxai.gradient(model, score=scaled)(images, 0)
    factor = 3.0
    again = tfxai.gradient(model, score=scaled)(images, 0)
    np.testing.assert_allclose(again, 3 * once, rtol=1e-4, atol=1e-6)
    tfxai.gradient(model)(images, 0)
    assert list(model_graph(model, tf.constant(images))._shared) == [
        ("gradient", tfxai.scores.logit)
    ]


def test_an_operation_with_a_gradient_of_its_own_is_called_again():
    @tf.custom_gradient
    def backwards(x):
        return x, lambda cotangent: -cotangent

    @tf.custom_gradient
    def backwards_swish(x, beta):
        return x * tf.sigmoid(beta * x), lambda cotangent: (-cotangent, None)

    def like_swish(x):
        return backwards_swish(x, tf.constant(1.0))

    x = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
    for function in (backwards, like_swish):
        model = keras.Sequential([keras.Input((2,)), L.Dense(3), L.Lambda(function), L.Dense(2)])
        assert not model_graph(model, tf.constant(x)).is_copyable
        np.testing.assert_allclose(tfxai.gradient(model)(x, 1), slopes(model, x, 1), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_float16"])
@pytest.mark.parametrize(
    "swish", [tf.nn.silu, keras.ops.silu, lambda x: tf.nn.silu(x, 3.0), tf.function(tf.nn.silu)]
)
def test_the_swish_of_tensorflow_is_copied(swish, dtype):
    """Its own gradient is the ordinary one; a function of its own is called, as others are."""
    keras.utils.set_random_seed(5)
    options = {"bias_initializer": "normal", "dtype": dtype}
    layers = [L.Dense(3, **options), L.Lambda(swish, dtype=dtype), L.Dense(2, **options)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    x = np.array([[1.0, 2.0], [3.0, -1.0], [-9.0, 80.0]])
    graph = model_graph(model, tf.constant(x, "float64" if dtype == "float64" else "float32"))
    assert graph.is_copyable == (swish is not tf_function_swish(swish))
    rtol = {"float32": 1e-5, "float64": 1e-12, "mixed_float16": 5e-3}[dtype]
    np.testing.assert_allclose(tfxai.gradient(model)(x, 1), slopes(model, x, 1), rtol=rtol)


def tf_function_swish(swish):
    return swish if hasattr(swish, "get_concrete_function") else None


def test_the_second_derivative_of_a_copied_swish():
    layer = L.Activation("swish", dtype="float64")
    model = keras.Sequential([keras.Input((1,), dtype="float64"), layer])

    @tf.function(autograph=False)
    def curvature(x):
        forward, _ = in_graph(model, x, inline=True)
        return tf.gradients(tf.gradients(forward.outputs, [x]), [x])[0]

    x = np.array([[-3.0], [-0.4], [0.0], [2.5]])
    s = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(curvature(x), s * (1 - s) * (2 + x * (1 - 2 * s)), atol=1e-12)
    assert not any(
        o.type == "IdentityN" for o in curvature.get_concrete_function(x).graph.get_operations()
    )


def test_normalisations_are_folded_in_networks_with_swish():
    keras.utils.set_random_seed(6)
    layers = [L.Conv2D(4, 3), L.BatchNormalization(), L.Activation("swish"), L.Flatten()]
    model = keras.Sequential([keras.Input((6, 6, 2)), *layers, L.Dense(3)])
    trained_like(model)
    model.set_weights([np.abs(w) + 0.1 for w in model.get_weights()])
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype("float32")
    copier = model_graph(model, tf.constant(x))._copier
    assert copier.has_normalizations
    np.testing.assert_allclose(tfxai.gradient(model)(x, 1), slopes(model, x, 1), rtol=2e-4)


def test_models_that_share_layers_have_graphs_of_their_own(images):
    inner = small_cnn()
    body = keras.Model(inner.input, inner.layers[-2].output)
    outer = keras.Sequential([keras.Input((8, 8, 3)), L.Rescaling(2.0), body, L.Dense(2)])
    alone = tfxai.gradient(body)(images, 1)
    np.testing.assert_allclose(
        tfxai.gradient(outer)(images, 1), slopes(outer, images, 1), rtol=1e-4
    )
    np.testing.assert_array_equal(tfxai.gradient(body)(images, 1), alone)


def test_sizes_that_a_model_leaves_open_share_a_graph():
    calls = []
    inputs = keras.Input((None, None, 3))
    features = L.Conv2D(4, 3, activation="relu")(Calls(calls.append)(inputs))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(features)))
    calls.clear()
    rng = np.random.default_rng(0)
    for shape in ((2, 9, 7, 3), (1, 5, 12, 3)):
        x = rng.normal(size=shape).astype("float32")
        np.testing.assert_allclose(tfxai.gradient(model)(x, 1), slopes(model, x, 1), atol=1e-6)
        calls.pop()  # the call of `slopes`
    assert len(calls) == 1


def test_layers_that_a_model_makes_at_its_first_call_are_known(images):
    class Lazy(keras.Model):
        def build(self, shape):
            self.features = L.Conv2D(4, 3, activation="relu", name="features")
            self.logits = L.Dense(2)

        def call(self, x):
            return self.logits(keras.ops.mean(self.features(x), (1, 2)))

    model = Lazy()
    tfxai.gradient(model)(images, 1)
    maps = tfxai.grad_cam(model, layer="features", upsample=None)(images, 1)
    assert maps.shape == (5, 6, 6, 1)


def test_probabilities_of_a_subclassed_model_are_refused_without_another_call(images):
    model = Subclassed(L.Flatten(), L.Dense(3), lambda x: keras.ops.exp(x) / 1e9)
    tfxai.gradient(model)(images, 1)
    normalised = Subclassed(
        L.Flatten(), L.Dense(3), keras.ops.exp, lambda x: x / keras.ops.sum(x, -1, keepdims=True)
    )
    with pytest.raises(ValueError, match="outputs are probabilities"):
        tfxai.gradient(normalised)(images, 1)


def test_threads_trace_one_after_the_other(images):
    model, calls = counted()
    with ThreadPoolExecutor(4) as threads:
        maps = list(threads.map(lambda _: tfxai.gradient(model)(images, 1).numpy(), range(8)))
    for other in maps[1:]:
        np.testing.assert_array_equal(other, maps[0])
    assert len(calls) == 1
    assert not any("call" in vars(layer) for layer in model._flatten_layers())


def test_gradients_flow_through_a_map_to_the_weights():
    x = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
    model = keras.Sequential([keras.Input((2,)), L.Dense(3, "tanh"), L.Dense(2)])
    explainer = tfxai.gradient(model)
    norms = []
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(explainer(x, 0) ** 2)
        norms.append(float(tf.norm(tape.gradient(loss, model.layers[0].kernel.value))))
    inner = tf.constant(x)
    with tf.GradientTape() as tape, tf.GradientTape() as first:
        first.watch(inner)
        score = model(inner)[:, 0]
        loss = tf.reduce_sum(first.gradient(score, inner) ** 2)
    expected = float(tf.norm(tape.gradient(loss, model.layers[0].kernel.value)))
    np.testing.assert_allclose(norms, [expected] * 2, rtol=1e-4)


def test_the_size_of_an_example_is_known_where_shapes_are_open():
    inputs = keras.Input((None, None, 3))
    x = L.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    size = trace_info(model, tf.TensorSpec([None, 64, 64, 3])).bytes_per_row
    assert size > 4 * 64 * 64 * 16 * 2  # of the convolution and of the ReLU


@pytest.mark.parametrize("context", ["strategy", "stateless"])
def test_logits_are_looked_for_within_scopes(context):
    x = np.array([[1.0, -2.0]], np.float32)
    model = keras.Sequential([keras.Input((2,)), L.Dense(3, "tanh"), L.Dense(2)])
    scope = keras.StatelessScope()
    if context == "strategy":
        scope = tf.distribute.OneDeviceStrategy("CPU:0").scope()
    with scope:
        maps = tfxai.gradient(model)(x, 1)
        scores, *_ = score_function(model, None, x)
        np.testing.assert_allclose(scores(x, np.array([1])), model(x)[:, 1], rtol=1e-6)
    np.testing.assert_allclose(maps, slopes(model, x, 1), rtol=1e-5)


class Returns(L.Layer):
    """Gives something beside the graph: a constant, a weight, nothing."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.table = kind, tf.ones([3])
        self.weight = self.add_weight(shape=(3,), initializer="ones")

    def call(self, x=None):
        return {"constant": self.table, "weight": self.weight, "nothing": None}[self.kind]


@pytest.mark.parametrize("kind", ["constant", "weight", "nothing"])
def test_layers_and_outputs_that_are_no_tensors_of_the_graph(kind):
    class Beside(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.beside = L.Dense(3), Returns(kind)

        def call(self, x):
            beside = self.beside(x)
            logits = self.dense(x)
            return (logits if beside is None else logits * beside), beside

    model, x = Beside(), np.array([[1.0, -2.0]], np.float32)
    maps = tfxai.gradient(model, score=lambda outputs, targets: outputs[0][:, 1])(x, 0)
    np.testing.assert_allclose(maps[0], model.dense.kernel[:, 1], rtol=1e-5)


def test_operations_that_wait_for_the_input_are_copied():
    def waiting(x):
        with tf.control_dependencies([x]):
            return tf.identity(x) * 2

    model = Subclassed(waiting, L.Dense(3))
    x = np.array([[1.0, -2.0]], np.float32)
    np.testing.assert_allclose(tfxai.gradient(model)(x, 1), slopes(model, x, 1), rtol=1e-5)


def test_another_thread_may_run_the_model_meanwhile(images):
    model, stop = small_cnn(), threading.Event()

    def serve():
        while not stop.is_set():
            model(images)

    server = threading.Thread(target=serve)
    server.start()
    try:
        maps = tfxai.grad_cam(model, layer=model.layers[1].name)(images, 1)
    finally:
        stop.set()
        server.join()
    expected = tfxai.grad_cam(model, layer=model.layers[1].name)(images, 1)
    np.testing.assert_array_equal(maps, expected)


def test_clipped_probabilities_are_refused():
    inputs = keras.Input((2,))
    p = L.ReLU(1.0)(L.Dense(1)(inputs))
    model = keras.Model(inputs, L.Concatenate()([p, 1 - p]))
    with pytest.raises(ValueError, match="outputs are probabilities"):
        tfxai.gradient(model)(np.ones([1, 2]), 0)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_after_tracing_as_it_was_before(enabled, images):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        explainer = tfxai.gradient(small_cnn())
        explainer(images, 1)
        assert gc.isenabled() == enabled
        with pytest.raises(ValueError, match="NaN"):
            explainer(np.full_like(images, np.nan), 1)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_a_call_with_targets_reads_no_scores(images, monkeypatch):
    asked = []
    read = Runner.read
    monkeypatch.setattr(Runner, "read", lambda self, x: asked.append(x) or read(self, x))
    explainer = tfxai.gradient(small_cnn())
    explainer(images, 1)
    assert not asked
    explainer(images)
    explainer.explain(images, 1, verbose=0)
    assert asked


class CompiledByXLA(L.Layer):
    """The way to XLA that docs/speed.md gives."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.compiled = tf.function(model, jit_compile=True, autograph=False)

    def call(self, x):
        return self.compiled(x, training=False)


@pytest.mark.parametrize(
    "name",
    quick(
        ["gradient", "integrated_gradients", "smoothgrad", "rise", "occlusion", "igos", "caso"],
        *("gradient", "integrated_gradients", "rise"),
    ),
)
def test_a_model_that_xla_compiles_has_the_same_maps(name, images):
    model = small_cnn()
    inputs = keras.Input(model.input_shape[1:])
    compiled = keras.Model(inputs, CompiledByXLA(tfxai.logits(model))(inputs))
    maps, expected = (BUILDERS[name](m)(images, [0, 1, 2, 0, 1]) for m in (compiled, model))
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
