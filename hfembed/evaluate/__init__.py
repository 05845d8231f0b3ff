"""evaluate: base, tuned and BM25 on the held-out test, through mteb, with a verdict."""

from hfembed.evaluate.stage import evaluate

__all__ = ["evaluate"]
