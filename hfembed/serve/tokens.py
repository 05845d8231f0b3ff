"""Tokens: a text as the model reads it, made once, where the request is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfembed.serve.refusals import invalid

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONFIG = "tokenizer_config.json"
# Of ids that a client sends, the share that may not come back where what they spell is read again: a text that was
# cut within a word is spelled otherwise there.
LOST = 0.1
# Not every tokenizer file says how tokens are spelled; what this one makes of it tells.
PROBE = "Whatever isn't misspelled, tokenizers spell alike."


@dataclass(frozen=True, slots=True)
class Text:
    """One text as the model reads it. skipped: its first tokens that are a prompt and do not count; cut: it was longer."""

    ids: list[int]
    skipped: int = 0
    cut: bool = False


class Tokens:
    """The model's tokenizer; safe to use from several threads, since nothing in it changes."""

    def __init__(
        self, tokenizer: Tokenizer, limit: int | None, *, pad: int = 0, side: str = "right", pools_prompts: bool = True
    ) -> None:
        """Read at most `limit` tokens of a text, those around it included; cut from the `side` that the model cuts."""
        tokenizer.no_padding()
        if limit is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(limit, direction=side)
        self._tokenizer = tokenizer
        self._pools_prompts = pools_prompts
        self.limit = limit
        self.pad = pad
        self.vocabulary = int(tokenizer.get_vocab_size(with_added_tokens=True))
        self._side = side
        around = tokenizer.encode("a")
        first, last = _run_of(around.special_tokens_mask), _run_of(around.special_tokens_mask[::-1])
        self._opening, self._closing = around.ids[:first], around.ids[len(around.ids) - last :]
        self._spells = not self._lost([tokenizer.encode(PROBE, add_special_tokens=False).ids])[0]

    @classmethod
    def read(cls, file: Path, limit: int | None) -> Tokens:
        """Read a tokenizer.json."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
        config = file.parent / CONFIG
        written: dict[str, Any] = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
        named = written.get("pad_token")
        name = named.get("content") if isinstance(named, dict) else named
        pad = tokenizer.token_to_id(name) if name else None
        return cls(tokenizer, limit, pad=pad or 0, side=written.get("truncation_side", "right"))

    def read_texts(self, texts: Sequence[str], prompt: str = "") -> list[Text]:
        """Return texts as the model reads them, each after the prompt."""
        whole = [prompt + text for text in texts] if prompt else list(texts)
        skipped = self._length_of(prompt) if prompt and not self._pools_prompts else 0
        return [
            Text(encoding.ids, skipped, bool(encoding.overflowing))
            for encoding in self._tokenizer.encode_batch_fast(whole)
        ]

    def read_ids(self, texts: Sequence[Sequence[int]], prompt: str = "") -> list[Text]:
        """Return texts that come as the model's own tokens; with the tokens that it puts around a text or without."""
        before = self._opening + self._tokenizer.encode(prompt, add_special_tokens=False).ids
        skipped = 0 if self._pools_prompts else len(before)
        room = max(0, self.limit - len(before) - len(self._closing)) if self.limit else None
        bare = [self._bare(ids) for ids in texts]
        kept = [self._within(ids, room) for ids in bare]
        self._refuse_foreign(kept)
        return [
            Text(before + ids + self._closing, skipped, len(ids) < len(whole))
            for ids, whole in zip(kept, bare, strict=True)
        ]

    def _bare(self, ids: Sequence[int]) -> list[int]:
        first, last = len(self._opening), len(self._closing)
        bare = list(ids)
        bare = bare[first:] if first and bare[:first] == self._opening else bare
        return bare[:-last] if last and bare[-last:] == self._closing else bare

    def _within(self, ids: list[int], room: int | None) -> list[int]:
        if room is None or len(ids) <= room:
            return ids
        return ids[len(ids) - room :] if self._side == "left" else ids[:room]

    def _refuse_foreign(self, texts: Sequence[list[int]]) -> None:
        """Refuse ids of another model's tokenizer: they would give vectors of nonsense, and nobody would see it.

        What this tokenizer made of a text it makes again of the text that its tokens spell.
        """
        wrong = next((identity for ids in texts for identity in ids if not 0 <= identity < self.vocabulary), None)
        if wrong is None and not (self._spells and any(share > LOST for share in self._lost(texts))):
            return
        seen = f"{wrong} is none of its {self.vocabulary:,}" if wrong is not None else "they spell nothing"
        raise invalid(
            f"The ids in input are not this model's tokens: {seen}. Send the text itself "
            "(LangChain: check_embedding_ctx_length=False).",
            "input",
        )

    def _lost(self, texts: Sequence[list[int]]) -> list[float]:
        """Return the share of each text's tokens that are not there again when what they spell is read."""
        spelled = self._tokenizer.decode_batch(list(texts), skip_special_tokens=False)
        read = [Counter(found.ids) for found in self._tokenizer.encode_batch_fast(spelled, add_special_tokens=False)]
        return [
            1 - (Counter(ids) & found).total() / len(ids) if ids else 0.0
            for ids, found in zip(texts, read, strict=True)
        ]

    def _length_of(self, prompt: str) -> int:
        """Return how many tokens stand before a text that follows a prompt, as sentence-transformers counts them."""
        return len(self._tokenizer.encode(prompt).ids) - min(1, len(self._closing))


def _run_of(mask: Sequence[int]) -> int:
    """Return how many marks a mask begins with."""
    return next((at for at, marked in enumerate(mask) if not marked), len(mask))
