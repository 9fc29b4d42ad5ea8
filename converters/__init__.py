"""ONNX and PyTorch models rebuilt as Keras models, with a certificate of how close the two are.

The folder stands at the top of the repository, beside ``tfxai/``, because the importer is a project
of its own: of tfxai it knows only ``tfxai.models.converted_layers``, the layers that its models are
saved and loaded with. It is installed and imported as ``tfxai.converters``; its files import each
other relatively, so that they do not depend on that name. It needs the extra ``tfxai[onnx]``.
"""

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
