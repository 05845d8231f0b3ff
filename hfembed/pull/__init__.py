"""pull: bring a corpus into the run."""

from hfembed.pull.documents import read_corpus
from hfembed.pull.stage import pull

__all__ = ["pull", "read_corpus"]
