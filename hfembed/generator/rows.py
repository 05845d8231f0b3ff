"""What a generator learns from: the queries that a run kept for training, and the passages that they are about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from hfembed.errors import RunError, StageError, choices
from hfembed.generate.llm.trained import Asking, as_chat
from hfembed.generate.stage import draw
from hfembed.recipe import LlmTask, QueryKind
from hfembed.run import LAYOUT, Run
from hfembed.text import words_of

# What people ask has no type of its own; this tells a question from a search by words.
ASKING = (
    "who whom whose what which when where why how is are was were do does did can could should would will may has have "
    "wer wen wem welche welcher welches wann wo warum wie kann ist sind qui que quoi quel quelle quand pourquoi comment"
)
ASKING_WORDS = frozenset(ASKING.split())
QUESTION_MARK = re.compile(r"[?\uff1f\u061f]\s*$")
# What a generator can be asked for; an entity map is no query.
TYPES = tuple(task for task in LlmTask if task is not LlmTask.ENTITY_MAP)
COLUMNS = ["query_id", "query", "positive", "positive_id", "kind"]


@dataclass(frozen=True)
class Example:
    """A query that was kept, its type, and the passages that answer it, with their ids."""

    query: str
    type: LlmTask
    ids: tuple[str, ...]
    passages: tuple[str, ...]


def read_examples(run: Run, types: Sequence[LlmTask] | None = None) -> tuple[list[Example], Counter[str]]:
    """Return the training queries of a run that have a type that can be asked for, and the kinds that are left out."""
    file = run.path(LAYOUT.pairs)
    if not file.is_file():
        raise RunError(
            f"'{run.folder}' holds no queries to learn from: generate is not done.", f"hfembed generate {run.folder}"
        )
    by_query: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(file, columns=COLUMNS).to_pylist():
        by_query.setdefault(row["query_id"], []).append(row)
    examples, left_out = [], Counter[str]()
    for rows in by_query.values():
        task = _type_of(rows[0]["kind"], rows[0]["query"])
        if task is None or (types is not None and task not in types):
            left_out[rows[0]["kind"]] += 1
            continue
        for part in [rows] if task is LlmTask.MULTI_HOP else [[row] for row in rows]:
            ids, passages = zip(*((row["positive_id"], row["positive"]) for row in part), strict=True)
            examples.append(Example(rows[0]["query"], task, ids, passages))
    if not examples:
        raise StageError(
            f"No query of '{run.folder}' has one of the types {choices(types or TYPES)}; it holds {choices(left_out)}.",
            f"hfembed generate {run.folder} --set generate.kinds.keyword=4",
        )
    return examples, left_out


def completion_rows(examples: Sequence[Example], asking: Asking, tokenizer: Any) -> list[dict[str, Any]]:
    """Return the rows of TRL's SFT: a prompt, and the query that is to follow."""
    rows = []
    for example in examples:
        words = asking.prompt(tokenizer, example.type, example.passages)
        answer: Any = f" {example.query}"
        if tokenizer.chat_template:
            answer = [{"role": "assistant", "content": example.query}]
        rows.append({"prompt": as_chat(words) if tokenizer.chat_template else words, "completion": answer})
    return rows


def fits(query: str, query_tokens: int, tokenizer: Any) -> bool:
    """Tell whether a query and its end are short enough to be taught."""
    return len(tokenizer(query, add_special_tokens=False)["input_ids"]) < query_tokens


def prompt_rows(
    examples: Sequence[Example], asking: Asking, tokenizer: Any, count: int, seed: int
) -> list[dict[str, Any]]:
    """Return the rows of TRL's GRPO: a prompt, the passage that it shows and the type it asks for.

    Every type that a passage has a query of is asked for; multi_hop is not, as its reward would be that of
    several passages.
    """
    wanted: dict[str, dict[LlmTask, str]] = {}
    for example in examples:
        if example.type in asking.types and example.type is not LlmTask.MULTI_HOP:
            wanted.setdefault(example.ids[0], {})[example.type] = example.passages[0]
    rows = []
    for name in draw(sorted(wanted), count, seed):
        for task, passage in wanted[name].items():
            words = asking.prompt(tokenizer, task, [passage])
            prompt = as_chat(words) if tokenizer.chat_template else words
            rows.append({"prompt": prompt, "doc_id": name, "type": task.value})
    return rows


def is_question(text: str) -> bool:
    """Tell whether a text asks: by its mark, or by its first word."""
    return bool(QUESTION_MARK.search(text)) or (words_of(text) or [""])[0] in ASKING_WORDS


def _type_of(kind: str, query: str) -> LlmTask | None:
    if kind == QueryKind.LABELLED:
        return LlmTask.QUESTION if is_question(query) else LlmTask.KEYWORD
    return LlmTask(kind) if kind in TYPES else None
