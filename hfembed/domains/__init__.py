"""domains: where a model of a given size has most to gain, by mteb's results, and which corpora lie there."""

from hfembed.domains.headroom import Domain, TaskHeadroom
from hfembed.domains.rank import By, Found, rank_domains

__all__ = ["By", "Domain", "Found", "TaskHeadroom", "rank_domains"]
