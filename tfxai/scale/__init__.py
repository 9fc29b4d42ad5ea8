"""Datasets of any size, explained by an exported model in several processes, with Ray Data."""

import importlib.util

if importlib.util.find_spec("pyarrow") is None:
    raise ModuleNotFoundError("tfxai.scale needs PyArrow and Ray: pip install 'tfxai[ray]'")

from tfxai.scale.dataset import Summary, explain_dataset
from tfxai.scale.shard_folder import read

__all__ = ["Summary", "explain_dataset", "read"]
