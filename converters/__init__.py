"""Models from elsewhere, as Keras models that one can trust; needs the extra ``tfxai[onnx]``."""

try:
    import onnx as _onnx  # noqa: F401
    import onnxruntime as _onnxruntime  # noqa: F401
except ImportError as error:
    raise ImportError("tfxai.converters needs more: pip install 'tfxai[onnx]'") from error

from .certificate import Certificate, certify
from .onnx_file import from_onnx
from .onnx_graph import UnsupportedError
from .torch_module import from_torch

__all__ = ["Certificate", "UnsupportedError", "certify", "from_onnx", "from_torch"]
