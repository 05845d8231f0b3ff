"""What is asked of a language model, and what is made of its answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import keep_documents, recipe_for
from llm_process import as_rows

from hfembed.corpus import Documents
from hfembed.errors import RecipeError
from hfembed.events import silent
from hfembed.generate.llm.bundles import bundle
from hfembed.generate.llm.desk import Desk, Unit, stands_in
from hfembed.generate.llm.journal import Journal
from hfembed.generate.llm.messages import NoReply, Reply, Request, UnusableError
from hfembed.generate.llm.parse import read_json
from hfembed.generate.llm.prompts import Prompts, prompts_folder
from hfembed.generate.llm.runner import Runner
from hfembed.generate.llm.shapes import Question, plain_schema
from hfembed.generate.llm.spend import Spend
from hfembed.generate.llm.tasks import mix, write_unit
from hfembed.generate.query import Query, Split
from hfembed.recipe import LlmTask, QueryKind, Questions
from hfembed.run import LAYOUT, Run

# Answers


@pytest.mark.parametrize(
    "text",
    [
        '{"queries": [{"query": "a"}]}',
        'Sure! Here you are:\n```json\n{"queries": [{"query": "a"}]}\n```\nAnything else?',
        '<think>{"queries": []} or not?</think>{"queries": [{"query": "a"}]}',
        '{"queries": [{"query": "a"},]}',
        "{'queries': [{'query': 'a'}]}",
        '{"queries": [{"query": "a"}',
    ],
)
def test_json_is_found_in_what_models_write_around_it(text: str):
    assert read_json(text)[0] == {"queries": [{"query": "a"}]}


@pytest.mark.parametrize("text", ["", "I cannot do that.", "<think>so long that it never ends", "42", "{}"[:1]])
def test_an_answer_without_json_is_of_no_use(text: str):
    with pytest.raises(UnusableError):
        read_json(text)


def test_a_schema_is_closed_and_without_references():
    schema = plain_schema(Question)
    text = json.dumps(schema)
    assert "$ref" not in text and "minLength" not in text and schema["additionalProperties"] is False
    assert schema["required"] == list(schema["properties"])
    assert schema["properties"]["hops"]["items"]["additionalProperties"] is False


class Scripted:
    """A writer that says what it is told to, one answer after the other for each task."""

    name, room, requests = "scripted", 2, 0

    def __init__(self, **answers: Any) -> None:
        self.answers = {task: list(said) if isinstance(said, list) else [said] for task, said in answers.items()}
        self.asked: list[Request] = []
        self._waiting: list[tuple[int, Request]] = []

    def submit(self, number: int, request: Request) -> None:
        self.asked.append(request)
        self._waiting.append((number, request))

    def wait(self) -> None:
        """Everything is answered at once."""

    def collect(self) -> list[tuple[int, Reply | NoReply]]:
        waiting, self._waiting = self._waiting, []
        return [(number, self._say(request)) for number, request in waiting]

    def _say(self, request: Request) -> Reply | NoReply:
        said = self.answers[request.task]
        answer = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(answer, Reply | NoReply):
            return answer
        return Reply(answer if isinstance(answer, str) else json.dumps(answer), 100, 50)

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def converse(
    folder: Path, tasks: dict[LlmTask, int], rows: tuple[int, ...] = (0,), settings: Sequence[str] = (), **answers: Any
) -> tuple[list[Query], Desk, Scripted, Counter[str]]:
    """Have one unit of work done by a scripted writer."""
    documents = keep_documents(Run(folder), as_rows(4))
    recipe = recipe_for("unused", "generate.filters.judge=null", *settings)
    desk = Desk(recipe.generate, documents, Prompts(), "scripted")
    writer, journal = Scripted(**answers), Journal(folder / LAYOUT.answers)
    runner = Runner(writer, journal, Spend(recipe.generate.llm, 0.0), recipe.generate.llm, silent())
    unit = Unit(0, rows, Split.TRAIN, tasks)
    (talk,) = runner.run([(0, write_unit(desk, unit))], 1, "pieces")
    journal.close()
    return talk.queries, desk, writer, +(desk.dropped + runner.tally.dropped)


def a_question(**changes: Any) -> dict[str, Any]:
    good = {
        "question": "Why does the pump leak?", "answer": "wear", "complexity": 3, "query_type": "Structural",
        "reasoning_type": "causal", "documents": [1], "hops": [{"number": 1, "documents": [1], "summary": "s"}],
    }  # fmt: skip
    return {**good, **changes}


def test_questions_that_break_the_rules_are_dropped_each_for_its_reason(tmp_path: Path):
    hop = {"number": 1, "documents": [1], "summary": "s"}
    said = [
        a_question(),
        a_question(documents=[2], hops=[{**hop, "documents": [2]}]),
        a_question(documents=[]),
        a_question(hops=[]),
        a_question(complexity=1),
        a_question(hops=[hop] * 4),
        {"question": "half of one"},
    ]
    queries, desk, _, dropped = converse(tmp_path, {LlmTask.QUESTION: 7}, question={"questions": said})
    assert [query.text for query in queries] == ["Why does the pump leak?"]
    assert queries[0].details["query_type"] == "structural" and desk.hops == {1: 1}
    assert dropped == {"unknown_document": 2, "hops_do_not_match": 1, "too_easy": 1, "wrong_hops": 1, "malformed": 1}


def test_a_question_from_a_bundle_has_the_documents_that_its_hops_use(tmp_path: Path):
    hops = [{"number": at, "documents": [at], "summary": "s"} for at in (1, 2)]
    both, one = a_question(documents=[2, 1], hops=hops), a_question(question="And alone?")
    said = {"questions": [both, one, both]}
    queries, _, _, dropped = converse(tmp_path, {LlmTask.MULTI_HOP: 2}, rows=(3, 1), multi_hop=said)
    assert [(query.kind, query.rows) for query in queries] == [
        (QueryKind.MULTI_HOP, (3, 1)),
        (QueryKind.QUESTION, (3,)),
    ]
    assert dropped == {"not_asked_for": 1}


def test_an_answer_of_no_use_is_asked_for_again_with_another_seed_and_then_given_up(tmp_path: Path):
    good = {"queries": [{"query": "pump leaks"}]}
    queries, _, writer, _ = converse(tmp_path / "a", {LlmTask.KEYWORD: 1}, keyword=["nonsense", good])
    assert [query.text for query in queries] == ["pump leaks"] and len({request.seed for request in writer.asked}) == 2
    queries, _, writer, dropped = converse(tmp_path / "b", {LlmTask.KEYWORD: 1}, keyword="nonsense")
    assert queries == [] and dropped == {"no_answer_no_json": 1} and len(writer.asked) == 4
    queries, _, writer, _ = converse(tmp_path / "b", {LlmTask.KEYWORD: 1}, keyword=good)
    assert queries == [] and writer.asked == []  # four answers of no use stay four when the run goes on


def test_a_request_without_an_answer_is_dropped_and_asked_again_the_next_time(tmp_path: Path):
    queries, _, _, dropped = converse(tmp_path, {LlmTask.KEYWORD: 1}, keyword=NoReply("timeout"))
    assert queries == [] and dropped == {"no_answer_timeout": 1}
    queries, _, _, _ = converse(tmp_path, {LlmTask.KEYWORD: 1}, keyword={"queries": [{"query": "pump leaks"}]})
    assert len(queries) == 1


def test_what_was_cut_off_is_used_as_far_as_it_is_whole(tmp_path: Path):
    torn = Reply('{"queries": [{"query": "pump leaks"}, {"query": "pump le', 100, 50, cut=True)
    queries, _, _, dropped = converse(tmp_path / "a", {LlmTask.KEYWORD: 2}, keyword=torn)
    assert [query.text for query in queries] == ["pump leaks"] and dropped == {"malformed": 1}
    unsaid = Reply('{"queries": [{"query": "pump leaks"}, {"query": "pump le', 100, 50)  # the server does not say
    assert len(converse(tmp_path / "b", {LlmTask.KEYWORD: 2}, keyword=unsaid)[0]) == 1
    first = Reply('{"queries": [{"query": "pump le', 100, 50, cut=True)
    whole = {"queries": [{"query": "pump leaks"}]}
    queries, _, writer, _ = converse(tmp_path / "c", {LlmTask.KEYWORD: 1}, keyword=[first, whole])
    assert [query.text for query in queries] == ["pump leaks"]
    assert writer.asked[1].max_tokens == 2 * writer.asked[0].max_tokens


def test_every_string_of_an_entity_map_stands_in_its_document(tmp_path: Path):
    names = ("pump", "unit 0", "Pump station", "code1000")
    joined = [("pump", "part of", "unit 0"), ("pump", "beside", "Pump station"), ("pump", "has", "valve")]
    said = {
        "entities": [{"name": name, "type": "thing"} for name in names],
        "relations": [{"head": a, "relation": r, "tail": b} for a, r, b in joined],
    }
    queries, desk, _, dropped = converse(tmp_path, {LlmTask.ENTITY_MAP: 3}, entity_map=said)
    assert [query.text for query in queries] == [
        "pump, unit 0, code1000; pump | part of | unit 0", "pump | part of | ?",
    ]  # fmt: skip
    assert dropped == {"entity_not_in_source": 1, "relation_of_no_entities": 2} and desk.seen["entities"] == 4


def test_a_name_stands_in_a_text_as_whole_words_only():
    text = "The pump of unit 10 (type f(x)) leaks; 水泵漏水。"
    assert all(stands_in(name, text) for name in ("pump", "unit 10", "10", "(type f(x))", "水泵"))
    assert not any(stands_in(name, text) for name in ("Pump", "pum", "1", "0", "nit 10", "pumps"))


def test_definitions_and_triples_bring_distinct_negatives_and_only_what_the_document_names(tmp_path: Path):
    wrong = [f"Another thing {at} does that." for at in range(5)]
    defined = {"term": "Marker word0", "definition": "A label.", "query": "what is on the label"}
    said = [{**defined, "negatives": [*wrong, wrong[0]]}, {**defined, "term": "gasket", "negatives": wrong},
            {**defined, "negatives": ["A label"]}]  # fmt: skip
    queries, _, _, dropped = converse(tmp_path / "a", {LlmTask.DEFINITION: 3}, definition={"definitions": said})
    assert [query.negatives for query in queries] == [tuple(wrong)] and queries[0].details["term"] == "Marker word0"
    assert dropped == {"term_not_in_source": 1, "no_negatives": 1}
    triple = {
        "head": "pump",
        "relation": "leaks after",
        "tail": "3 hours",
        "query": "when does it fail",
        "negatives": wrong,
    }
    said = [triple, {**triple, "tail": "4 hours"}]
    queries, _, _, dropped = converse(tmp_path / "b", {LlmTask.TRIPLE: 2}, triple={"triples": said})
    assert len(queries) == 1 and queries[0].details["triple"] == "pump | leaks after | 3 hours"
    assert dropped == {"entity_not_in_source": 1}


def verdict(number: int, overall: float, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "relevance": 8,
        "accuracy": 8,
        "context_support": 8,
        "clarity": 7,
        "overall": overall,
        **more,
    }


def test_the_judge_scores_every_query_and_finds_negatives_that_answer(tmp_path: Path):
    wrong = [f"Another thing {at} does that." for at in range(5)]
    triple = {
        "head": "pump",
        "relation": "leaks after",
        "tail": "3 hours",
        "query": "when does it fail",
        "negatives": wrong,
    }
    verdicts = [verdict(2, 4.5), verdict(1, 9, wrong_negatives=[2, 77])]
    queries, _, writer, dropped = converse(
        tmp_path, {LlmTask.TRIPLE: 1, LlmTask.KEYWORD: 1}, settings=["generate.filters.judge=7"],
        triple={"triples": [triple]}, keyword={"queries": [{"query": "pump"}]}, judge={"verdicts": verdicts},
    )  # fmt: skip
    assert [query.score for query in queries] == [9, 4.5] and queries[0].negatives == (wrong[0], *wrong[2:])
    assert queries[0].details["judge_clarity"] == "7" and dropped == {"negative_that_answers": 1}
    asked = writer.asked[-1].messages[-1]["content"]
    assert "Query 1 (triple, document 1): when does it fail" in asked and "Negative 5:" in asked


def test_a_judge_that_miscounts_is_asked_again_and_then_its_queries_go(tmp_path: Path):
    said = {"keyword": {"queries": [{"query": "pump"}, {"query": "leak"}]}, "judge": {"verdicts": [verdict(1, 9)]}}
    queries, _, writer, dropped = converse(
        tmp_path, {LlmTask.KEYWORD: 2}, settings=["generate.filters.judge=7"], **said
    )
    assert queries == [] and dropped == {"not_judged": 2, "no_answer_wrong_count": 1}
    assert sum(request.task == "judge" for request in writer.asked) == 4


def test_artifacts_reach_the_prompt_of_the_questions(tmp_path: Path):
    item = {"kind": "Process", "text": "replacing a part", "description": "before the flight", "importance": "high"}
    _, _, writer, _ = converse(
        tmp_path, {LlmTask.QUESTION: 1}, settings=["generate.llm.questions.artifacts=true"],
        artifacts={"artifacts": [item]}, question={"questions": [a_question()]},
    )  # fmt: skip
    assert [request.task for request in writer.asked] == ["artifacts", "question"]
    assert "- process: replacing a part (before the flight)" in writer.asked[1].messages[-1]["content"]


def test_kinds_of_reasoning_come_as_often_as_the_recipe_says():
    shares = Questions().reasoning
    asked = Counter(kind for turn in range(60) for kind in mix(shares, 3, 3 * turn))
    assert len(asked) == 6 and set(asked.values()) == {30} and "visual" not in asked


# Prompts


def test_every_task_has_a_prompt_that_can_be_filled_in_and_speaks_of_json(tmp_path: Path):
    names = {task.value for task in LlmTask} | {"judge", "artifacts", "query_map"}
    assert set(Prompts().texts()) == names == {file.stem for file in prompts_folder().iterdir()}
    for text in Prompts().texts().values():
        assert text.count("\n---\n") == 1 and "JSON only" in text


def test_prompts_that_cannot_be_used_are_named(tmp_path: Path):
    with pytest.raises(RecipeError, match="which is no folder"):
        Prompts(str(tmp_path / "none"))
    with pytest.raises(RecipeError, match="holds no prompt"):
        Prompts(str(tmp_path))
    (tmp_path / "questoin.txt").write_text("x")
    with pytest.raises(RecipeError, match="Did you mean 'question'"):
        Prompts(str(tmp_path))
    (tmp_path / "questoin.txt").rename(tmp_path / "question.txt")
    (tmp_path / "question.txt").write_text("{{ documnets }}")
    with pytest.raises(RecipeError, match=r"'documnets' is undefined. Known names: count, documents"):
        Prompts(str(tmp_path)).messages("question", {"documents": [], "count": 1})


# Bundles


def some_chunks() -> Documents:
    texts = {
        "a1": "alpha rotor seal", "a2": "beta rotor valve", "a3": "gamma rotor hinge", "b": "zircon pump in winter",
        "c": "zircon pump in spring", "d": "zircon pump in winter time", "e": "quiet garden", "f": "zircon shaft",
    }  # fmt: skip
    groups = {"d": "b"}
    ids = list(texts)
    documents = [identity[0] if identity[0] == "a" else identity for identity in ids]
    return Documents(ids, [""] * len(ids), list(texts.values()), [groups.get(i, i) for i in ids], documents)


def test_bundles_are_of_one_source_or_of_shared_words_and_never_of_near_duplicates():
    documents = some_chunks()
    made = bundle(documents, range(8), [Split.TRAIN] * 8, 2)
    named = [{documents.ids[row] for row in rows} for rows in made]
    assert {"a1", "a2"} in named and {"b", "d"} not in named
    assert any("zircon" in documents.bodies[min(rows)] for rows in made)
    flat = [row for rows in made for row in rows]
    assert len(flat) == len(set(flat)) and 6 not in flat


def test_a_bundle_is_of_one_split():
    documents = some_chunks()
    splits = [Split.TRAIN, Split.TEST] * 4
    for rows in bundle(documents, range(8), splits, 2):
        assert len({splits[row] for row in rows}) == 1
    assert all(len(rows) == 3 for rows in bundle(documents, range(8), [Split.TRAIN] * 8, 3))
