"""The reward of a query: its passage is found by it, it is a query of the type asked for, and it is no copy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hfembed.generate.filters import copied_share, refers_to_source, runs_of
from hfembed.generate.round_trip import Found
from hfembed.generator.rows import is_question
from hfembed.recipe import LlmTask
from hfembed.text import words_of

# Below this rank a passage is not found; only what the teacher finds this well may be called hard.
FOUND, FOUND_WELL = 10, 3
SHORTEST, LONGEST = 4, 32
# A query may share so much of its wording with the passage: names are what they are.
FREE_COPYING = 0.3
MOST_KEYWORDS, MOST_TITLE_WORDS, LEAST_CLAIM_WORDS = 8, 16, 4
SENTENCE_END = re.compile(r"[.!\u3002]\s*$")

PARTS = ("rt", "agree", "hard", "format", "copying", "repetition")
Text = str | list[dict[str, str]]
RewardFunction = Callable[..., list[float]]


class Retriever(Protocol):
    """Something that ranks the pool."""

    def find(self, queries: Sequence[str], ids: Sequence[str]) -> list[Found]:
        """Return where each query's own passage stands."""


def rt(found: Found) -> float:
    """Return 1 on rank 1, less below, and nothing from rank 11 on."""
    return 1 / math.log2(1 + found.rank) if found.within(FOUND) else 0.0


def agree(found: Found) -> float:
    """Return 1 where a second retriever, which is nothing like the first, finds the passage, too."""
    return float(found.within(FOUND))


def hard(teacher: Found, base: Found) -> float:
    """Return how far the base misses what the teacher finds; nothing where the teacher hardly finds it."""
    if not teacher.within(FOUND_WELL):
        return 0.0
    return 1.0 - (1 / base.rank if base.score > -math.inf else 0.0)


def keeps_format(text: str, tokens: int, task: LlmTask, passage_words: Sequence[str]) -> float:
    """Return 1 for one line of 4 to 32 tokens that is of the type asked for and does not speak of its passage."""
    words = text.strip()
    one_line = bool(words) and "\n" not in words
    good = one_line and SHORTEST <= tokens <= LONGEST and is_of_type(words, task)
    return float(good and not refers_to_source(words, passage_words))


def is_of_type(text: str, task: LlmTask) -> bool:
    """Tell whether a text looks like what its type says."""
    count, asks, ends = len(text.split()), is_question(text), bool(SENTENCE_END.search(text))
    if task in (LlmTask.QUESTION, LlmTask.MULTI_HOP):
        return asks
    if task is LlmTask.CLAIM:
        return not asks and count >= LEAST_CLAIM_WORDS
    if task in (LlmTask.KEYWORD, LlmTask.TITLE):
        return not asks and not ends and count <= (MOST_KEYWORDS if task is LlmTask.KEYWORD else MOST_TITLE_WORDS)
    return True


def copying(share: float) -> float:
    """Return how much of a query is copied, beyond what may be."""
    return max(0.0, share - FREE_COPYING)


@dataclass(frozen=True)
class Passage:
    """What of a passage a query is held against."""

    words: tuple[str, ...]
    runs: frozenset[tuple[str, ...]]

    @classmethod
    def of(cls, text: str) -> Passage:
        """Take a text apart."""
        return cls(tuple(words_of(text)), runs_of(text))


class Rewards:
    """Scores drafts, all parts of one batch at once, and logs beside the rewards what the guards look at."""

    def __init__(
        self, teacher: Retriever, words: Retriever, base: Retriever, passages: Mapping[str, str], end: int
    ) -> None:
        """Rank by `teacher`, `words` and `base`. passages: texts by id. end: the token that ends a query."""
        self._teacher, self._words, self._base, self._end = teacher, words, base, end
        self._texts = passages
        self._passages: dict[str, Passage] = {}
        self._last: tuple[Any, dict[str, list[float]]] | None = None

    def functions(self) -> list[RewardFunction]:
        """Return one reward function for each of PARTS, as TRL calls them."""
        return [self._function(part) for part in PARTS]

    def score(
        self, drafts: Sequence[str], tokens: Sequence[Sequence[int]], ids: Sequence[str], types: Sequence[str]
    ) -> dict[str, list[float]]:
        """Return every part of the reward of each draft; and what is measured beside: `copied`, `first`, `found`."""
        from trl.rewards import get_repetition_penalty_reward

        by_meaning, by_words = self._teacher.find(drafts, ids), self._words.find(drafts, ids)
        by_base = by_meaning if self._base is self._teacher else self._base.find(drafts, ids)
        passages = [self._passage(name) for name in ids]
        shares = [copied_share(draft, passage.runs) for draft, passage in zip(drafts, passages, strict=True)]
        bare = [[token for token in row if token != self._end] for row in tokens]
        rows = zip(drafts, bare, types, passages, strict=True)
        return {
            "rt": [rt(found) for found in by_meaning],
            "agree": [agree(found) for found in by_words],
            "hard": [hard(teacher, base) for teacher, base in zip(by_meaning, by_base, strict=True)],
            "format": [keeps_format(draft, len(row), LlmTask(task), source.words) for draft, row, task, source in rows],
            "copying": [copying(share) for share in shares],
            "repetition": get_repetition_penalty_reward(3, -1.0)(bare),
            "copied": shares,
            "first": [float(found.within(1)) for found in by_meaning],
            "found": [float(found.within(FOUND)) for found in by_meaning],
        }

    def _function(self, part: str) -> RewardFunction:
        def reward(
            prompts: Any, completions: Sequence[Text], completion_ids: Sequence[Sequence[int]],
            doc_id: Sequence[str], type: Sequence[str], log_metric: Callable[[str, float], None], **_: Any,
        ) -> list[float]:  # fmt: skip
            drafts = [text_of(completion) for completion in completions]
            asked = (drafts, [list(row) for row in completion_ids], list(doc_id), list(type))
            if self._last is None or self._last[0] != asked:
                self._last = (asked, self.score(drafts, completion_ids, doc_id, type))
                for name, value in measures(drafts, list(zip(doc_id, type, strict=True)), self._last[1]).items():
                    log_metric(name, value)
            return self._last[1][part]

        reward.__name__ = part
        return reward

    def _passage(self, name: str) -> Passage:
        if name not in self._passages:
            self._passages[name] = Passage.of(self._texts[name])
        return self._passages[name]


def text_of(completion: Text) -> str:
    """Return the words of a completion, which is a turn of a talk for some models."""
    return (completion if isinstance(completion, str) else completion[-1]["content"]).strip()


def measures(
    drafts: Sequence[str], groups: Sequence[object], scored: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Return what the guards look at that TRL does not log by itself. groups: equal for drafts of one prompt."""
    by_group: dict[object, list[str]] = {}
    for draft, group in zip(drafts, groups, strict=True):
        by_group.setdefault(group, []).append(" ".join(words_of(draft)))
    return {
        "hit@1": _mean(scored["first"]),
        "hit@10": _mean(scored["found"]),
        "agree": _mean(scored["agree"]),
        "copied": _mean(scored["copied"]),
        "unique": _mean([len(set(own)) / len(own) for own in by_group.values()]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
