"""train: learn a map on cached embeddings, and fold it into the model's weights."""

from hfembed.train.stage import train

__all__ = ["train"]
