"""Explain datasets of any size by an exported model, in several processes with Ray Data."""

from tfxai.scale.dataset import Summary, explain_dataset
from tfxai.scale.shards import read

__all__ = ["Summary", "explain_dataset", "read"]
