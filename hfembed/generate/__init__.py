"""generate: make queries for documents, and split them into train, dev and test."""

from hfembed.generate.stage import generate

__all__ = ["generate"]
