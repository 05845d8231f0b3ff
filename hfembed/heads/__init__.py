"""heads: what a text becomes beside its one vector - a weight and a vector for every token - and how scores add up.

The forms are those of M3-Embedding (arXiv:2402.03216): `dense` compares two vectors, `sparse` adds up the weights of
the tokens that two texts share, `multi_vector` looks for every token of a query the nearest token of a document.
"""

from hfembed.heads.files import FUSED, has_heads, headed, load_heads, read_weights

__all__ = ["FUSED", "has_heads", "headed", "load_heads", "read_weights"]
