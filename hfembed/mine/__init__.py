"""mine: find documents that look right for a query and are not."""

from hfembed.mine.stage import mine

__all__ = ["mine"]
