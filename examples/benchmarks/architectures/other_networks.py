"""Small networks of sequences, text, tables, volumes and several inputs."""

import keras
from image_networks import SIZE, Positions, attention_block, softmax
from network import Network

import tfxai

L = keras.layers
ops = keras.ops
STEPS = (10, 4)
WORDS = 30
NO_POSITIONS = "no activation has positions: the inputs are a table"
TABLE = {"grad_cam": NO_POSITIONS, "guided_grad_cam": NO_POSITIONS}
STATE = "the only activation of the steps is a loop's own state, which gives its last value alone"
RECURRENT = {"grad_cam": STATE, "guided_grad_cam": STATE}


def sequential(shape, *layers, units=3):
    """Layers, made by functions, one after the other, and a dense head."""

    def build(head):
        inputs = keras.Input(shape)
        x = inputs
        for layer in layers:
            x = layer()(x)
        return keras.Model(inputs, L.Dense(units, activation=softmax(head))(x))

    return build


def transformer(head):
    inputs = keras.Input(STEPS)
    x = attention_block(Positions()(L.Dense(8)(inputs)))
    return keras.Model(inputs, L.Dense(3, activation=softmax(head))(L.GlobalAveragePooling1D()(x)))


class Loop(L.Layer):
    """A dense layer in a while loop of TensorFlow."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inside = L.Dense(4, activation="tanh")

    def build(self, shape):
        self.inside.build(shape)

    def call(self, x):
        return ops.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, self.inside(y)), (0, x))[1]

    def compute_output_shape(self, shape):
        return shape


def sequence_to_sequence(head):
    inputs = keras.Input(STEPS)
    x = L.GRU(6, return_sequences=True)(inputs)
    return keras.Model(inputs, L.TimeDistributed(L.Dense(3, activation=softmax(head)))(x))


def of_fourth_step(score):
    return tfxai.scores.position(3, score)


def text(*layers):
    def build(head):
        inputs = keras.Input((8,), dtype="int32")
        x = L.Embedding(WORDS, 6, mask_zero=True)(inputs)
        for layer in layers:
            x = layer()(x)
        return keras.Model(inputs, L.Dense(3, activation=softmax(head))(x))

    return build


def bag_of_words(head):
    return text(L.GlobalAveragePooling1D)(head)


def text_transformer(head):
    inputs = keras.Input((8,), dtype="int32")
    x = attention_block(Positions()(L.Embedding(WORDS, 8)(inputs)))
    return keras.Model(inputs, L.Dense(3, activation=softmax(head))(L.GlobalAveragePooling1D()(x)))


def two_inputs_by_name(head):
    image, row = keras.Input(SIZE, name="zz_image"), keras.Input((5,), name="aa_row")
    x = L.Flatten()(L.Conv2D(4, 3, strides=2, activation="relu")(image))
    x = L.Concatenate()([x, L.Dense(6, activation="relu")(row)])
    x = L.Dense(8, activation="relu")(x)
    return keras.Model({"zz_image": image, "aa_row": row}, L.Dense(3, activation=softmax(head))(x))


def two_inputs_in_a_list(head):
    left, right = keras.Input((6, 6, 2), name="right"), keras.Input((6, 6, 2), name="left")
    shared = L.Conv2D(4, 3, activation="relu")
    x = L.Flatten()(shared(left) - 0.5 * shared(right))
    return keras.Model([left, right], L.Dense(3, activation=softmax(head))(x))


def normalised_table(head):
    inputs = keras.Input((7,))
    x = L.Normalization(mean=[0.1] * 7, variance=[2.0] * 7)(inputs)
    x = L.Dense(12, activation="relu")(x)
    x = L.BatchNormalization()(L.Dense(12, activation="relu")(x))
    return keras.Model(inputs, L.Dense(3, activation=softmax(head))(x))


def wide_and_deep(head):
    """Give a table with products of features, and a gate."""
    inputs = keras.Input((6,))
    deep = L.Dense(8, activation="selu")(inputs)
    gate = L.Dense(8, activation="sigmoid")(inputs)
    crossed = ops.reshape(inputs[:, :, None] * inputs[:, None, :], (-1, 36))
    x = L.Concatenate()([deep * gate, crossed])
    return keras.Model(inputs, L.Dense(3, activation=softmax(head))(x))


def regressor_of_tables(head):
    inputs = keras.Input((6,))
    x = L.Dense(8, activation="tanh")(L.Dense(8, activation="relu")(inputs))
    return keras.Model(inputs, L.Dense(1)(x))


def volumes(head):
    inputs = keras.Input((6, 6, 6, 2))
    x = L.Conv3D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = L.GlobalAveragePooling3D()(L.Conv3D(6, 2, activation="relu")(x))
    return keras.Model(inputs, L.Dense(3, activation=softmax(head))(x))


def films(head):
    inputs = keras.Input((4, 8, 8, 2))
    x = L.Flatten()(L.ConvLSTM2D(3, 3, padding="same")(inputs))
    return keras.Model(inputs, L.Dense(3, activation=softmax(head))(x))


IDS = "token ids are looked up in a table: there is no slope at them, nor noise or a path"
NO_SLOPES = dict.fromkeys(
    (
        *(
            "gradient",
            "gradient_times_input",
            "integrated_gradients",
            "integrated_gradients, midpoint",
        ),
        *("expected_gradients", "smoothgrad", "smoothgrad_squared", "vargrad", "adaptgrad"),
        *("noisegrad", "fusiongrad", "cafo", "caso", "guided_backprop", "deconvnet"),
        *("pattern_net", "pattern_attribution", "pattern_guided_integrated_gradients"),
        *("guided_grad_cam", "igos", "meaningful_perturbation"),
    ),
    IDS,
)


def of_text(build, undefined=None):
    others = undefined or {}
    return Network(build, (8,), "text", vocabulary=WORDS, undefined=NO_SLOPES | others)


NETWORKS = {
    "LSTM": Network(sequential(STEPS, lambda: L.LSTM(6)), STEPS, "sequences", undefined=RECURRENT),
    "GRU": Network(sequential(STEPS, lambda: L.GRU(6)), STEPS, "sequences", undefined=RECURRENT),
    "LSTM, unrolled": Network(
        sequential(STEPS, lambda: L.LSTM(6, unroll=True)),
        STEPS,
        "sequences",
        undefined=RECURRENT,
    ),
    "bidirectional": Network(
        sequential(
            STEPS,
            lambda: L.Bidirectional(L.LSTM(4, return_sequences=True)),
            lambda: L.Bidirectional(L.GRU(4)),
        ),
        STEPS,
        "sequences",
    ),
    "RNN of cells": Network(
        sequential(STEPS, lambda: L.RNN([L.LSTMCell(4), L.GRUCell(5), L.SimpleRNNCell(4)])),
        STEPS,
        "sequences",
        undefined=RECURRENT,
    ),
    "Conv1D": Network(
        sequential(
            STEPS,
            lambda: L.Conv1D(6, 3, activation="relu"),
            lambda: L.MaxPooling1D(2),
            lambda: L.Conv1D(6, 2, activation="relu"),
            lambda: L.Flatten(),
        ),
        STEPS,
        "sequences",
    ),
    "dilated, causal Conv1D": Network(
        sequential(
            STEPS,
            lambda: L.Conv1D(6, 2, padding="causal", dilation_rate=2, activation="swish"),
            lambda: L.SeparableConv1D(6, 3, padding="same", activation="relu"),
            lambda: L.GlobalMaxPooling1D(),
        ),
        STEPS,
        "sequences",
    ),
    "transformer encoder": Network(transformer, STEPS, "sequences"),
    "while loop": Network(sequential((4,), Loop), (4,), "tables", undefined=TABLE),
    "sequence to sequence": Network(
        sequence_to_sequence,
        STEPS,
        "sequences",
        part=of_fourth_step,
        rows=lambda outputs: outputs[:, 3],
    ),
    "text, bag of words": of_text(bag_of_words),
    "text, LSTM": of_text(text(lambda: L.LSTM(6)), RECURRENT),
    "text, Conv1D": of_text(text(lambda: L.Conv1D(6, 3, activation="relu"), L.GlobalMaxPooling1D)),
    "text, transformer": of_text(text_transformer),
    "two inputs, dict": Network(
        two_inputs_by_name, {"zz_image": SIZE, "aa_row": (5,)}, "several inputs"
    ),
    "two inputs, list": Network(two_inputs_in_a_list, [(6, 6, 2), (6, 6, 2)], "several inputs"),
    "table, batch norm": Network(normalised_table, (7,), "tables", undefined=TABLE),
    "table, gates and products": Network(wide_and_deep, (6,), "tables", undefined=TABLE),
    "table, regressor": Network(
        regressor_of_tables, (6,), "tables", undefined=TABLE, targets=(1, 0, 1, 1, 0)
    ),
    "volumes": Network(volumes, (6, 6, 6, 2), "volumes"),
    "films, ConvLSTM": Network(films, (4, 8, 8, 2), "volumes"),
}
