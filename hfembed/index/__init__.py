"""index: a corpus on disk that answers queries by meaning, by words and by both; `hfembed search` asks it.

It lies in LanceDB, an embedded database: a folder that needs no server, holds vectors and a full-text index, and
takes changed documents without being built anew.
"""

from hfembed.index.build import Built, Settings, build_index
from hfembed.index.manifest import Mode
from hfembed.index.search import Hit, Index

__all__ = ["Built", "Hit", "Index", "Mode", "Settings", "build_index"]
