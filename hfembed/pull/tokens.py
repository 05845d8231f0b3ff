"""How the base model cuts a text into tokens; needs neither torch nor the model's weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hfembed.batches import gather
from hfembed.hub import TokenizerSource

# What the tokenizer gives for a text takes a hundred times the room of the text.
BATCH_CHARS = 200_000


class BaseTokenizer:
    """Counts tokens as the base model does."""

    def __init__(self, source: TokenizerSource) -> None:
        """Remember where the tokenizer is; it is read when it is first asked."""
        self.name = source.name
        self.limit = source.max_tokens
        self._source = source

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._source.file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def special(self) -> int:
        """How many tokens are put around every text."""
        return int(self._tokenizer.num_special_tokens_to_add(is_pair=False))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, those around it included."""
        counts: list[int] = []
        for batch in gather(texts, len, BATCH_CHARS):
            counts += (len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(batch))
        return counts

    def starts(self, text: str) -> npt.NDArray[np.int64]:
        """Return where in a text its tokens start."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return np.fromiter((start for start, _ in offsets), np.int64, len(offsets))
