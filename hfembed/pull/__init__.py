"""pull: bring a corpus into the run."""

from hfembed.pull.stage import pull, read_corpus

__all__ = ["pull", "read_corpus"]
