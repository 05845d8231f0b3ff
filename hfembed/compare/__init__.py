"""compare: one query or many, one corpus, several models side by side."""

from hfembed.compare.contender import BASE, BM25, HYBRID, INDEX, TUNED, Contender, base_of, read_contenders
from hfembed.compare.corpus import OnDisk, Readable, Searched, cache_folder, read_documents
from hfembed.compare.library import Library
from hfembed.compare.rankings import Hit, Ranking, compare, rank, to_json

__all__ = [
    "BASE",
    "BM25",
    "HYBRID",
    "INDEX",
    "TUNED",
    "Contender",
    "Hit",
    "Library",
    "OnDisk",
    "Ranking",
    "Readable",
    "Searched",
    "base_of",
    "cache_folder",
    "compare",
    "rank",
    "read_contenders",
    "read_documents",
    "to_json",
]
