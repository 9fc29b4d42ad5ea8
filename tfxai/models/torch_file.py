"""Reads a legacy ``torch.save`` file of tensors (before PyTorch 1.6) with numpy alone.

The file is a pickle. The unpickler builds ordered dicts of tensors and refuses everything else.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from os import PathLike
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_TYPES: dict[str, type[np.generic]] = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}

_DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    MemoryError,
)
"""The errors that unpickling a damaged or hostile file can raise."""


class _Tensor(NamedTuple):
    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors and ordered dicts, and refuses anything else."""

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.types: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError(f"refused to build {module}.{name}")

    def persistent_load(self, pid: Any) -> str:
        _, kind, key, _, _, _ = pid
        if kind not in _TYPES:
            raise pickle.UnpicklingError(f"refused a storage of type {kind}")
        self.types.setdefault(key, kind)
        return key


def read(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict by name.

    Raises:
        ValueError: the file is not of this format, is damaged, or holds anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    except _DAMAGED as e:
        raise ValueError(f"{path} is not a readable file of PyTorch tensors: {e}") from e


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    for expected in (_MAGIC, _PROTOCOL):
        if _TensorUnpickler(file).load() != expected:
            raise pickle.UnpicklingError("not a legacy torch.save file")
    _TensorUnpickler(file).load()  # the byte order and sizes of the machine that wrote it
    unpickler = _TensorUnpickler(file)
    tensors = unpickler.load()
    if not isinstance(tensors, dict):
        raise pickle.UnpicklingError(f"holds a {type(tensors).__name__}, not a state dict")
    keys = _TensorUnpickler(file).load()
    storages = {key: _read_storage(file, _TYPES[unpickler.types[key]]) for key in keys}
    return {name: _view(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def _read_storage(file: BinaryIO, dtype: type[np.generic]) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    size = count * np.dtype(dtype).itemsize
    data = file.read(size)
    if len(data) != size:
        raise EOFError("the file ends within a tensor")
    return np.frombuffer(data, dtype)


def _rebuild_tensor(storage: str, offset: int, shape: tuple, strides: tuple, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _view(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    if 0 in tensor.shape:
        return np.empty(tensor.shape, storage.dtype)
    last = tensor.offset + sum(
        (n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)
    )
    if last >= storage.size or min(tensor.strides, default=0) < 0 or tensor.offset < 0:
        raise EOFError("a tensor reaches beyond its storage")
    strides = [s * storage.itemsize for s in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides).copy()
