"""Guards: what tells that a generator learns to please the reward instead of writing better queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Log = Sequence[Mapping[str, float]]

# Fewer steps tell nothing; beginning and end are means over so many, or a quarter of what there is.
MIN_STEPS, WINDOW = 8, 10
NO_SIGNAL, LEAST_UNIQUE, LEAST_ENTROPY = 0.5, 0.5, 0.3
MORE_COPYING, DRIFT, MOST_CLIPPED = 0.1, 0.5, 0.2
# hit@1 has risen by so much, and what BM25 finds by less than so much.
RISE, FLAT = 0.05, 0.01

WATCHED = (
    "reward", "hit@1", "hit@10", "agree", "copied", "unique", "entropy", "kl", "completions/mean_length",
    "completions/clipped_ratio", "frac_reward_zero_std",
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """What was measured in the beginning and what is measured now."""

    start: Mapping[str, float]
    now: Mapping[str, float]

    def rise(self, name: str) -> float:
        """Return by how much something has risen."""
        return self.now[name] - self.start[name]


@dataclass(frozen=True)
class Guard:
    """What is looked for, and what to say and do when it is seen."""

    name: str
    raised: Callable[[Span], bool]
    sentence: Callable[[Span], str]


def _collapses(span: Span) -> bool:
    return span.now["unique"] < LEAST_UNIQUE or span.now["entropy"] < LEAST_ENTROPY * span.start["entropy"]


def _drifts(span: Span) -> bool:
    start = span.start["completions/mean_length"]
    return abs(span.rise("completions/mean_length")) > DRIFT * start


GUARDS = (
    Guard(
        "no_signal",
        lambda span: span.now["frac_reward_zero_std"] > NO_SIGNAL,
        lambda span: f"In {span.now['frac_reward_zero_std']:.0%} of the groups all queries earn the same, so nothing is "
        "learned from them. Let queries differ more: --set temperature=1.2, or --set generations=16.",
    ),
    Guard(
        "collapse",
        _collapses,
        lambda span: f"The generator says the same again and again ({span.now['unique']:.0%} of the queries of a prompt "
        f"are distinct, entropy {span.start['entropy']:.2f} -> {span.now['entropy']:.2f}). Hold it more firmly to where "
        "it started: --set beta=0.1, or fewer steps.",
    ),
    Guard(
        "copying",
        lambda span: span.rise("copied") > MORE_COPYING,
        lambda span: f"Queries copy more and more from their passage ({span.start['copied']:.0%} -> "
        f"{span.now['copied']:.0%} of their runs of four words). Let that cost more: --set weights.copying=-1.",
    ),
    Guard(
        "length",
        _drifts,
        lambda span: f"Queries have changed their length by more than half "
        f"({span.start['completions/mean_length']:.0f} -> {span.now['completions/mean_length']:.0f} tokens): look at "
        "some. --set weights.format=0.5 or --set beta=0.1 holds them.",
    ),
    Guard(
        "clipped",
        lambda span: span.now["completions/clipped_ratio"] > MOST_CLIPPED,
        lambda span: f"{span.now['completions/clipped_ratio']:.0%} of the queries find no end and are not learned from. "
        "Teach it longer first: hfembed generator sft --set epochs=4, or --set query_tokens=96.",
    ),
    Guard(
        "one_retriever",
        lambda span: span.rise("hit@1") > RISE and span.rise("agree") < FLAT,
        lambda span: f"The teacher finds more ({span.start['hit@1']:.0%} -> {span.now['hit@1']:.0%} on rank 1), BM25 does "
        f"not ({span.start['agree']:.0%} -> {span.now['agree']:.0%}): the queries may please that one retriever alone. "
        "Let the second count more: --set weights.agree=1, or name another teacher: --set teacher=MODEL.",
    ),
)  # fmt: skip


def span_of(log: Log) -> Span:
    """Return beginning and now of what was logged: means over up to ten steps, over a quarter of few."""
    steps = [entry for entry in log if "reward" in entry]
    width = max(1, min(WINDOW, len(steps) // 4))
    return Span(_means(steps[:width]), _means(steps[-width:]))


def raised(log: Log) -> dict[str, str]:
    """Return the guards that are raised, each with its sentence; none before there is enough to go by."""
    if sum("reward" in entry for entry in log) < MIN_STEPS:
        return {}
    span = span_of(log)
    return {guard.name: guard.sentence(span) for guard in GUARDS if guard.raised(span)}


def first_raised(log: Log) -> dict[str, dict[str, Any]]:
    """Return at which step each guard was first raised, and what was to be said of it then."""
    found: dict[str, dict[str, Any]] = {}
    for stop in range(1, len(log) + 1):
        for name, sentence in raised(log[:stop]).items():
            found.setdefault(name, {"step": log[stop - 1]["step"], "sentence": sentence})
    return found


def _means(entries: Log) -> dict[str, float]:
    """Return the mean of all that was logged; what is watched and never was, such as KL without beta, is 0."""
    names = {*WATCHED, *(name for entry in entries for name in entry)}
    found = {name: [entry[name] for entry in entries if entry.get(name) is not None] for name in names}
    return {name: sum(values) / len(values) if values else 0.0 for name, values in found.items()}
