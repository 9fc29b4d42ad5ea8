"""Explanations while a model is trained: pictures of fixed images, and metrics in Keras's logs.

Nothing about the training changes: neither weights, optimizer state nor random numbers. The time
that the callbacks take is in the logs, as ``explanation_seconds``.
"""

from tfxai.callbacks.explanation_callback import ExplanationCallback
from tfxai.callbacks.metric_callback import MetricCallback

__all__ = ["ExplanationCallback", "MetricCallback"]
