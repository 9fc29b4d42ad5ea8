"""`Explainer`: a keras.Model that maps the inputs of a model to attributions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.baseline_functions import savable
from tfxai.core.named_inputs import as_given
from tfxai.core.provenance import readable
from tfxai.core.synonyms import with_keyword_hints
from tfxai.core.types import Tensors
from tfxai.explaining.explanation import Explanation
from tfxai.explaining.method import Method
from tfxai.explaining.preparation import Preparation, is_concrete
from tfxai.explaining.recording import Recorder
from tfxai.explaining.replicas import mirrored
from tfxai.explaining.runner import Runner
from tfxai.explaining.waiting import somebody_waits
from tfxai.models import keras_graph
from tfxai.rules.report import Report


class Answer(NamedTuple):
    """All results of an explainer for a batch."""

    attributions: Tensors
    """The maps, in the structure of the inputs."""
    diagnostics: dict[str, Tensors]
    """What the method knows of the maps' accuracy, by name."""
    scores: tf.Tensor
    """The explained score of each example, ``[B]``."""
    targets: tf.Tensor
    """The explained classes, ``[B]``."""


@keras.saving.register_keras_serializable("tfxai")
class Explainer(keras.Model):
    """Explains a model; made by the builders, such as `tfxai.integrated_gradients`.

    An Explainer maps inputs ``[B, ...]`` to attributions, alone or as a layer of another model. It
    predicts, is saved and is exported like any Keras model. `explain` gives numpy arrays with a
    record. The explained model is shared, never changed or copied.

    Args:
        base: the Keras model, or the explainer that this one builds upon.
        method: what to run.
        builder: the function that made this explainer, registered with Keras; needed for saving.
        options: all other arguments of the builder, by name.
    """

    def __init__(
        self,
        base: keras.Model,
        method: Method,
        *,
        builder: Callable[..., Explainer],
        options: dict[str, Any],
    ):
        super().__init__(name=builder.__name__, dtype=keras_graph.float_type(method.model))
        self.supports_jit = False
        self.base = base
        self.method = method
        self.learnt = method.learnt  # Keras saves layers that are attributes.
        self._builder = builder
        self._options = dict(options)
        class_names = getattr(base, "class_names", None)
        self.class_names = tuple(class_names) if class_names else None
        self._runner = Runner(method, self.compute_dtype)
        self._preparation = Preparation(self.name, self._runner)

    @property
    def model(self) -> keras.Model:
        """The explained model."""
        return self.method.model

    @property
    def _declared(self) -> Tensors | None:
        """The inputs that the explained model declares; None if it declares none."""
        return keras_graph.declared_inputs(self.model)

    @property
    def settings(self) -> dict[str, Any]:
        """The method and its options as text; "base" has those of the explainer built upon."""
        own = {"method": self._builder.__name__, **readable(self._options)}
        return {**own, "base": self.base.settings} if isinstance(self.base, Explainer) else own

    def on(self, model: keras.Model) -> Explainer:
        """Build the same method, with the same options, on another model.

        Args:
            model: a Keras model.

        Example:
            >>> import tfxai
            >>> first, second = (keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
            ...                  for _ in range(2))
            >>> tfxai.smoothgrad(first, samples=7).on(second).settings["samples"]
            7
        """
        base = self.base.on(model) if isinstance(self.base, Explainer) else model
        return self._builder(base, **self._options)

    @with_keyword_hints
    def __call__(
        self, inputs: Tensors, targets: Any = None, *, seed: Any = 0, training: bool | None = None
    ) -> Any:
        """Compute attributions.

        Args:
            inputs: ``[B, ...]`` as the model takes them, or a dict, tuple or list of arrays. Dicts
                are matched by name, even if the model declares a list of inputs; lists follow
                `model.inputs`. Integers are cast to floating point.
            targets: a class index or name for all examples, or one for each example, ``[B]``; the
                default is the predicted class. For a one-unit head, 1 explains the output itself
                and 0 its negative.
            seed: an integer; methods without random numbers ignore it.
            training: Keras passes it to the layers of a model; it is ignored, since the model is
                explained as it predicts.

        Returns:
            The attributions: a tensor, or tensors in the structure of the inputs.

        Raises:
            TypeError: inputs or targets of a wrong type.
            ValueError: a wrong shape, an empty batch, NaN or infinite inputs, a target out of
                range, or a model that gives no logits.
        """
        del training
        if is_concrete(inputs):
            # Checked before Keras is called, which would wrap the errors.
            checks.seed(seed)
            quiet = not somebody_waits()
            targets = self._preparation.prepare(
                inputs, targets, self.class_names, scores=False, quiet=quiet
            )
        elif isinstance(targets, str):
            targets = checks.class_index(targets, self.class_names)
        with checks.assertions_as_errors(self.name):
            return super().__call__(inputs, targets=targets, seed=seed)

    def build(self, inputs_shape: Any) -> None:
        """Do nothing, since all variables are the model's.

        Keras exports those arguments of `call` whose shapes are named here: the inputs alone.
        """
        self.built = True

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
    ) -> None:
        """Export the maps of the predicted classes as Keras does; `tfxai.export` offers more."""
        specs = self._declared
        if specs is not None and not self.built:
            # Keras exports only models that have been called, with the shapes of that call.
            batch.accepted_example(specs, lambda inputs: self(inputs, 0))
        super().export(filepath, format, verbose, input_signature)

    def call(self, inputs: Tensors, targets: Any = None, seed: Any = 0) -> Tensors:
        """Compute attributions of tensors within the graph that is being built."""
        given_inputs, inputs = inputs, self._runner.cast(inputs)
        if targets is None:
            targets, _ = self._runner.read(inputs)(inputs, self._runner.predicted(inputs))
        else:
            targets = _targets_of_rows(targets, inputs)
        result = self._runner.attribute(inputs)(inputs, targets, checks.seed(seed))
        return as_given(result.attributions, given_inputs, self._declared)

    def answer(self, inputs: Tensors, targets: tf.Tensor, seed: Any) -> Answer:
        """Compute within a graph all results that `explain` records; used for serving.

        Args:
            inputs: tensors ``[B, ...]``.
            targets: int32 ``[B]``; a number below 0 stands for the predicted class.
            seed: as in `__call__`.

        Returns:
            An `Answer`.
        """
        given_inputs, inputs = inputs, self._runner.cast(inputs)
        classes = self._runner.classes(inputs)
        if classes is not None:
            is_class = targets < classes
            targets = checks.asserted(targets, is_class, "targets: expected a class below", classes)
        targets, scores = self._runner.read(inputs)(inputs, targets)
        result = self._runner.attribute(inputs)(inputs, targets, checks.seed(seed))
        maps = as_given(result.attributions, given_inputs, self._declared)
        return Answer(maps, result.diagnostics, scores, targets)

    @with_keyword_hints
    def explain(
        self,
        inputs: Tensors,
        targets: Any = None,
        *,
        batch_size: int | str = "auto",
        verbose: int = 1,
        seed: int = 0,
    ) -> Explanation:
        """Explain any number of examples in batches that fit into memory, and keep a record.

        If both the model and the explainer were built within the scope of a
        `tf.distribute.MirroredStrategy`, all its devices explain. Only one device does while the
        moving averages differ between the devices, as they do after training by this strategy
        until the model is saved and loaded.

        Args:
            inputs: numpy arrays or eager tensors in a structure as in `__call__`; or a batched
                `tf.data.Dataset` of inputs, or of pairs (inputs, labels), which is read once.
                Labels are not used as targets.
            targets: as in `__call__`.
            batch_size: how many examples to explain at once; "auto" takes as many as fit into
                the memory (`tfxai.core.memory`). Apart from rounding, the result does not depend
                on it. It is halved when memory runs out. Batches of a dataset are cut to it, but
                not joined.
            verbose: 0 to print no messages and no progress bar.
            seed: as in `__call__`.

        Returns:
            An `Explanation` of all examples. A UserWarning is given for maps that show nothing,
            because they are constant or not finite, and for maps whose stated error is too large
            for a reader to trust.

        Raises:
            TypeError, ValueError: as in `__call__`; a dataset that is empty, endless or not
                batched.
        """
        if batch_size != "auto":
            checks.positive_integer("batch_size", batch_size)
        strategy = mirrored(self.distribute_strategy, self.model)
        recorder = Recorder(self._preparation, self.settings, self.class_names, seed, strategy)
        record = recorder.explain(inputs, targets, batch_size, verbose)
        for message in recorder.warnings(record):
            # Level 3 is the line that called `explain`: `with_keyword_hints` is around it.
            warnings.warn(f"{self.name}: {message}", stacklevel=3)
        return record

    def rule_report(self, inputs: Tensors | None = None) -> Report:
        """List the operations of the model whose gradients this method replaces, and how.

        Args:
            inputs: an example; needed for a model that declares no inputs.

        Returns:
            Rows of (operation, kind, description), printed as a table.

        Raises:
            ValueError: the method has no rule, so that all its gradients are ordinary ones.
        """
        if self.method.report is None:
            raise ValueError(f"{self.name} has no rule: it replaces no gradient")
        if inputs is not None:
            self._preparation.check(inputs)
            return self.method.report(self._runner.specs(self._runner.cast(inputs)))
        declared = self._declared
        if declared is None:
            raise ValueError("rule_report: this model declares no inputs; pass an example")
        return self.method.report(self._runner.specs(declared))

    def get_config(self) -> dict[str, Any]:
        """Give the builder, its first argument and its options, as Keras saves them."""
        serialize = keras.saving.serialize_keras_object
        return {
            "builder": serialize(self._builder),
            "base": serialize(self.base),
            "options": serialize(savable(self._options)),
            "class_names": list(self.class_names) if self.class_names else None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Explainer:
        """Build a saved explainer again, by its builder."""
        deserialize = keras.saving.deserialize_keras_object
        builder = deserialize(config["builder"])
        explainer = builder(deserialize(config["base"]), **deserialize(config["options"]))
        class_names = config["class_names"]
        explainer.class_names = tuple(class_names) if class_names else None
        return explainer


def _targets_of_rows(targets: Any, inputs: Tensors) -> tf.Tensor:
    """Give targets of any integer type, ``[B]`` or one for all examples, as int32 ``[B]``."""
    targets = tf.reshape(tf.cast(targets, tf.int32), [-1])
    return tf.broadcast_to(targets, [tf.shape(tf.nest.flatten(inputs)[0])[0]])
