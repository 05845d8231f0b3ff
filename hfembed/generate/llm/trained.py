"""A trained generator: it is shown passages and the type of query that is wanted, and writes one, as plain text.

`hfembed generator` trains it with the very prompts that are made here, so that it is asked as it was taught.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hfembed.corpus import join_title
from hfembed.errors import ModelError, RecipeError, choices
from hfembed.events import Reporter
from hfembed.generate.llm.desk import Desk, Unit
from hfembed.generate.llm.local import LocalModel
from hfembed.generate.llm.messages import Ask, Reply, Request
from hfembed.generate.llm.shapes import Listing, Wording
from hfembed.generate.query import Query
from hfembed.hub import ModelSource
from hfembed.recipe import Generate, GenerateMethod, Llm, LlmTask, QueryKind
from hfembed.run import GENERATOR_LAYOUT
from hfembed.stage import Job

INSTRUCTION = (
    "Write one search query of the given type that the passage answers, in the words of somebody who has not read it."
)
QUERIES = Listing("queries", Wording)
# Drafts of one request have chances of their own; a request that is tried again has other ones.
MOST_DRAFTS = 1_000


class Asking(BaseModel):
    """How a trained generator is asked: what for, in which words, and in how many tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal[1] = 1
    instruction: str = INSTRUCTION
    types: tuple[LlmTask, ...] = Field(min_length=1)
    prompt_tokens: int = Field(ge=16)
    query_tokens: int = Field(ge=4)

    def prompt(self, tokenizer: Any, task: LlmTask, passages: Sequence[str]) -> str:
        """Return the words of a prompt, with as much of each passage as fits."""
        frame = len(self._ids(tokenizer, self._words(task, ["" for _ in passages])))
        room = max(1, (self.prompt_tokens - frame) // len(passages))
        return self._words(task, [_cut(tokenizer, passage, room) for passage in passages])

    def ids(self, tokenizer: Any, task: LlmTask, passages: Sequence[str]) -> list[int]:
        """Return the tokens of a prompt, as TRL makes them of the same words."""
        return self._ids(tokenizer, self.prompt(tokenizer, task, passages))

    def _words(self, task: LlmTask, passages: Sequence[str]) -> str:
        # It ends with no blank: a query begins with one, so that no token reaches over the border.
        shown = "\n".join(f"Passage: {passage}" for passage in passages)
        return f"{self.instruction}\nType: {task}\n{shown}\nQuery:"

    def _ids(self, tokenizer: Any, words: str) -> list[int]:
        if not tokenizer.chat_template:
            plain: list[int] = tokenizer(words)["input_ids"]
            return plain
        text = tokenizer.apply_chat_template(as_chat(words), tokenize=False, add_generation_prompt=True)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


class TrainedModel(LocalModel):
    """A trained generator on this machine; the queries of one request are drafts of one prompt."""

    def __init__(self, settings: Llm, source: ModelSource, report: Reporter, asking: Asking) -> None:
        """Use the generator of `source`; it is loaded when the first request comes."""
        super().__init__(settings, source, report)
        # It may be trained again and stand in the same place: what an earlier one wrote is not its answer.
        self.name = f"{source.name}@{source.fingerprint[:8]}"
        self._asking = asking

    def submit(self, number: int, request: Request) -> None:
        """Keep a request until a batch is full; a query is as long as those that it learned from."""
        super().submit(number, replace(request, max_tokens=self._asking.query_tokens))

    def _prompt(self, request: Request) -> list[int]:
        passages = [message["content"] for message in request.messages]
        return self._asking.ids(self._loaded[0], LlmTask(request.task), passages)

    def _generate(self, requests: list[Request], prompts: list[list[int]], rooms: list[int]) -> list[Reply]:
        drafts = [
            (replace(request, seed=request.seed * MOST_DRAFTS + number), prompt, room)
            for request, prompt, room in zip(requests, prompts, rooms, strict=True)
            for number in range(request.count)
        ]
        written: list[Reply] = []
        for start in range(0, len(drafts), self.room):
            part = drafts[start : start + self.room]
            written += super()._generate([one[0] for one in part], [one[1] for one in part], [one[2] for one in part])
        waiting = iter(written)
        return [_as_json([next(waiting) for _ in range(request.count)]) for request in requests]


def find_asking(job: Job) -> Asking | None:
    """Return how the recipe's model is asked, if it is a trained generator."""
    settings = job.recipe.generate
    if settings.method is not GenerateMethod.MODEL or settings.llm.model is None:
        return None
    return read_asking(job.sources.writer.path, job.sources.writer.name)


def read_asking(folder: Path, name: str) -> Asking | None:
    """Return how the model in a folder is asked, if hfembed trained it to write queries."""
    file = folder / GENERATOR_LAYOUT.about
    if not file.is_file():
        return None
    try:
        return Asking.model_validate(json.loads(file.read_text(encoding="utf-8"))["asking"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise ModelError(
            f"'{GENERATOR_LAYOUT.about}' of '{name}' does not say how this generator is asked.",
            "It may be of a newer hfembed; hfembed generator sft trains one.",
        ) from error


def choose_tasks(
    asking: Asking, wanted: Mapping[LlmTask, int], settings: Generate, report: Reporter
) -> dict[LlmTask, int]:
    """Return what a trained generator can be asked for of what is wanted, and say what it cannot do."""
    found = {task: count for task, count in wanted.items() if task in asking.types}
    if not found:
        raise RecipeError(
            f"The generator was taught to write {choices(asking.types)}, but is asked for {choices(wanted)}.",
            f"--set generate.llm.tasks.{asking.types[0]}=3",
        )
    if left_out := [task for task in wanted if task not in found]:
        report.note(f"the generator was not taught to write {choices(left_out)}: left out")
    if settings.filters.judge is not None and not settings.filters.round_trip.enabled:
        report.note(
            "a trained generator judges no queries; generate.filters.round_trip.enabled=true drops those that do not "
            "find their documents"
        )
    return found


def write_trained(desk: Desk, unit: Unit) -> Generator[Ask, Any, list[Query]]:
    """Write all queries of a unit with a trained generator."""
    passages = [join_title(passage.title, passage.text) for passage in desk.passages(unit)]
    messages = tuple({"role": "user", "content": passage} for passage in passages)
    made: list[Query] = []
    for task, count in unit.tasks.items():
        answer = yield Ask(task.value, messages, QUERIES.schema(), QUERIES.read, count)
        if answer is not None:
            items, bad = answer
            desk.dropped["malformed"] += bad
            made += [desk.query(unit, item.query, QueryKind(task.value)) for item in items]
    return made


def as_chat(words: str) -> list[dict[str, str]]:
    """Return a prompt for a model that talks in turns."""
    return [{"role": "user", "content": words}]


def _as_json(drafts: Sequence[Reply]) -> Reply:
    """Return the drafts as the answer that was asked for; one that was cut off is no query."""
    lines = ["" if draft.cut else draft.text.strip().partition("\n")[0].strip() for draft in drafts]
    text = json.dumps({QUERIES.name: [{"query": line} for line in lines]}, ensure_ascii=False)
    return Reply(text, sum(draft.tokens_in for draft in drafts), sum(draft.tokens_out for draft in drafts))


def _cut(tokenizer: Any, text: str, room: int) -> str:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return text if len(ids) <= room else str(tokenizer.decode(ids[:room], skip_special_tokens=True)).strip()
