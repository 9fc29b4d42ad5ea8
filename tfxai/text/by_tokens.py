"""Explanations of token ids: any method at the output of the embedding, one number a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.named_inputs import leaf_names
from tfxai.core.tracing import any_batch_specs
from tfxai.core.types import Attribution, Result, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.explainer import Explainer
from tfxai.explaining.method import Method
from tfxai.models import keras_graph
from tfxai.models.embedding_cut import EmbeddingEncoder, EmbeddingHead
from tfxai.models.held_inputs import HoldingModel
from tfxai.models.model_info import ModelInspector
from tfxai.models.shared_graphs import outputs_of
from tfxai.models.token_embedding import token_embedding
from tfxai.rules.extensions import Extensions
from tfxai.rules.report import Report

REDUCTIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "sum": lambda maps: tf.reduce_sum(maps, -1),
    "norm": lambda maps: tf.norm(maps, axis=-1),
}
"""How the numbers of a token's vector become one."""
VECTOR_MAPS = "vector_attributions"
"""The diagnostic with the maps of the vectors."""


@builder
def by_tokens(explainer: keras.Model, *, reduce: str | None = None) -> Method:
    """Explain token ids by an explainer of the model behind its embedding.

    It is what `tfxai.embedded(model).explained_by(explainer)` gives; see there.

    Args:
        explainer: an Explainer of an `EmbeddingHead`.
        reduce: "sum" or "norm" (L2) over the numbers of a token's vector; None takes the norm of
            slopes, and the sum of all else.

    Raises:
        TypeError, ValueError: `explainer` does not explain such a model, or `reduce` is unknown.
    """
    checks.one_of("reduce", reduce, (None, *REDUCTIONS))
    if not isinstance(explainer, Explainer) or not isinstance(explainer.model, EmbeddingHead):
        raise TypeError(
            f"explained_by: expected an explainer of text.head, as tfxai.gradient(text.head), "
            f"got {getattr(explainer, 'name', explainer)!r}"
        )
    inner, head = explainer.method, explainer.model
    reduced = REDUCTIONS[reduce or ("norm" if inner.slopes else "sum")]
    embedding = token_embedding(head.model, head.cut.layer)
    encoder = EmbeddingEncoder(head.model, head.cut)
    extensions = None if inner.extensions is None else Extensions()

    def method_for(inputs: Tensors, targets: tf.Tensor) -> Method:
        """Give the method on the head that holds the inputs of the examples."""
        return explainer.on(HoldingModel(head, inputs, targets)).method

    def build(rows: int) -> Attribution:
        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            vectors, is_padding = vectors_to_move(encoder, inputs)
            method = method_for(inputs, targets)
            numbers = tf.range(tf.shape(targets)[0])
            maps, diagnostics = method.build(rows)(vectors, numbers, seed)
            if extensions is not None and method.extensions is not None:
                extensions.include(method.extensions)
            if maps.shape.rank != 3:
                raise ValueError(
                    f"{explainer.name} gives maps of shape {maps.shape}: expected some for each "
                    "token, [batch, tokens, size]"
                )
            maps = tf.where(is_padding[..., None], tf.zeros_like(maps), maps)
            return Result(reduced(maps), {**diagnostics, VECTOR_MAPS: maps})

        return attribute

    def check(inputs: Tensors) -> None:
        if inner.check is not None:
            inner.check(vectors_to_move(encoder, inputs)[0])

    def report(specs: Tensors) -> Report:
        return batch.accepted_example(specs, report_of)

    def report_of(examples: Tensors) -> Report:
        vectors = any_batch_specs(vectors_to_move(encoder, examples)[0])
        of_head = method_for(examples, tf.zeros([1], tf.int32)).report
        assert of_head is not None  # the same method as `inner`
        return of_head(vectors)

    return inner._replace(
        inspector=ModelInspector(head.model),
        build=build,
        # Arrays are counted in numbers of the inputs, of which each is a vector here.
        arrays_per_example=(inner.arrays_per_example + 2) * encoder.size,
        report=None if inner.report is None else report,
        extensions=extensions,
        like=None,
        # Rules know the products of an attention by the length of the text.
        needs_size=inner.needs_size or inner.report is not None,
        slopes=False,
        select=lambda values: _part(values, embedding.source, head.model),
        check=check,
        final="token ids cannot be moved: build the other method upon that of text.head, and "
        "explain the tokens by the result: text.explained_by(tfxai.smoothgrad(tfxai.gradient("
        "text.head)))",
    )


def vectors_to_move(encoder: EmbeddingEncoder, inputs: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the vectors that a method may move, in the type of the inputs, and which are padding.

    At padding, where the head does not look at them, stands the vector of the first other token, so
    that the range of the vectors is that of the text.
    """
    embedded = outputs_of(encoder, inputs)
    vectors = tf.cast(embedded["vectors"], batch.dtype(inputs))
    is_padding = embedded["is_padding"]
    first = tf.argmin(tf.cast(is_padding, tf.int32), 1)
    of_first = tf.gather(vectors, first, axis=1, batch_dims=1)[:, None]
    return tf.where(is_padding[..., None], of_first, vectors), is_padding


def _part(values: Tensors, name: str, model: keras.Model) -> Any:
    """Give the part of an input, by its name, of values in the structure of the inputs."""
    names = leaf_names(values, keras_graph.declared_inputs(model))
    return tf.nest.flatten(values)[names.index(name)]
