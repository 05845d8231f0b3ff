"""The reward of a query generator, and the guards that watch what it does with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from builders import keep_documents

from hfembed.generate.round_trip import Found
from hfembed.generator.candidates import ByMeaning, ByWords, choose_pool
from hfembed.generator.guards import WATCHED, first_raised, raised
from hfembed.generator.reward import PARTS, Rewards, agree, hard, is_of_type, keeps_format, measures, rt
from hfembed.generator.rows import is_question
from hfembed.generator.settings import Weights, make_grpo, make_sft
from hfembed.hub import local_model
from hfembed.recipe import LlmTask
from hfembed.run import Run

PASSAGE = "Anna found the old pump in the north well and mended its leaking seal with tar before the frost came."
NOWHERE = Found(101, -math.inf, 1.0)


def at(rank: int) -> Found:
    return Found(rank, 0.5, 0.4)


class Placed:
    """A retriever that puts every passage on one rank."""

    def __init__(self, found: Found) -> None:
        self.found = found

    def find(self, queries: Sequence[str], ids: Sequence[str]) -> list[Found]:
        return [self.found] * len(queries)


def score(*drafts: str, task: LlmTask = LlmTask.QUESTION, teacher: Found | None = None) -> list[dict[str, float]]:
    """Return the parts of each draft's reward, one token for each word."""
    found = Placed(teacher or at(1))
    rewards = Rewards(found, found, found, {"p": PASSAGE}, end=0)
    tokens = [[crc32(word.encode()) + 1 for word in draft.split()] + [0] for draft in drafts]
    parts = rewards.score(drafts, tokens, ["p"] * len(drafts), [task.value] * len(drafts))
    return [{name: values[place] for name, values in parts.items()} for place in range(len(drafts))]


def total(parts: dict[str, float]) -> float:
    weights = Weights().model_dump()
    return sum(weights[part] * parts[part] for part in PARTS)


# Ranks


def test_the_reward_is_one_on_rank_1_and_nothing_below_rank_10():
    assert rt(at(1)) == 1.0 and rt(at(3)) == 0.5
    assert rt(at(10)) == pytest.approx(1 / math.log2(11)) and rt(at(11)) == 0.0 and rt(NOWHERE) == 0.0
    assert [agree(at(1)), agree(at(10)), agree(at(11)), agree(NOWHERE)] == [1, 1, 0, 0]


def test_hard_is_paid_only_for_what_the_teacher_finds_well():
    assert hard(at(1), NOWHERE) == 1.0 and hard(at(3), at(4)) == 0.75
    assert hard(at(4), NOWHERE) == 0.0 and hard(at(1), at(1)) == 0.0


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Run, Any]:
    """Twelve documents, one of them there twice in other letters and blanks."""
    texts = [
        f"the {name} lies in the harbour of {place}"
        for name in ("brig", "cog", "dhow")
        for place in ("oran", "genoa", "bari", "faro")
    ]
    rows = [{"id": f"d{number}", "text": text} for number, text in enumerate(texts)]
    rows.append({"id": "twin", "text": "The BRIG lies  in the harbour of oran"})
    run = Run(tmp_path / "run")
    return run, keep_documents(run, rows)


def test_a_duplicate_of_the_passage_counts_as_the_passage(twins: tuple[Run, Any], tiny_model: Path):
    run, documents = twins
    pool = choose_pool(documents, {"d0"}, seed=1)
    by_meaning = ByMeaning(local_model("tiny", tiny_model), run.path("embeddings"), pool, _silent())
    query = "the brig lies in the harbour of oran"
    for retriever in (ByWords(pool), by_meaning):
        mine, twin, other = retriever.find([query] * 3, ["d0", "twin", "d5"])
        assert mine.rank == twin.rank == 1 and other.rank > 1


def test_a_query_without_a_word_of_any_document_is_found_nowhere(twins: tuple[Run, Any]):
    pool = choose_pool(twins[1], {"d0"}, seed=1)
    for query in ("zebra", "", "?", "the"):
        (found,) = ByWords(pool).find([query], ["d0"])
        assert rt(found) == 0 and agree(found) == 0


def test_a_large_corpus_is_ranked_by_a_draw_with_all_that_is_near_the_passages(tmp_path: Path):
    rows = [
        {"id": f"d{number}", "text": f"ship{number % 10} word{number} in port", "document": f"book{number // 4}"}
        for number in range(80)
    ]
    documents = keep_documents(Run(tmp_path), rows)
    pool = choose_pool(documents, {"d5"}, seed=3, whole=40, drawn=10, similar=8)
    assert {"d4", "d5", "d6", "d7"} <= set(pool.place)  # its own book
    assert {"d15", "d25", "d35"} <= set(pool.place)  # the same rare word
    assert 10 < len(pool.texts) <= 10 + 4 + 8
    assert pool.place == choose_pool(documents, {"d5"}, seed=3, whole=40, drawn=10, similar=8).place
    assert len(choose_pool(documents, {"d5"}, seed=3, whole=80).texts) == 80


# What a query looks like


def test_copying_the_passage_scores_below_a_paraphrase_of_equal_rank():
    copied, own = score(
        "did Anna find the old pump in the north well and mended its leaking seal?",
        "who repaired the water lifter that dripped, and with what?",
    )
    assert copied["rt"] == own["rt"] == 1 and copied["format"] == own["format"] == 1
    assert copied["copying"] == pytest.approx(copied["copied"] - 0.3) and copied["copied"] > 0.5
    assert own["copied"] == own["copying"] == 0 and total(copied) < total(own)


def test_the_parts_add_up_to_the_weights_of_the_design():
    (best,) = score("who repaired the water lifter that dripped?")
    assert total(best) == pytest.approx(1.0 + 0.5 + 0.3 * 0 + 0.2)
    (worst,) = score("tar tar tar tar tar tar tar tar", teacher=NOWHERE)
    assert worst["repetition"] == pytest.approx(-(1 - 1 / 6)) and total(worst) == worst["repetition"]


@pytest.mark.parametrize(
    ("text", "tokens", "task", "good"),
    [
        ("who mended the seal?", 5, LlmTask.QUESTION, True),
        ("who mended the seal?", 3, LlmTask.QUESTION, False),
        ("who mended the seal?", 33, LlmTask.QUESTION, False),
        ("who mended\nthe seal?", 6, LlmTask.QUESTION, False),
        ("", 4, LlmTask.QUESTION, False),
        ("the seal was mended", 5, LlmTask.QUESTION, False),
        ("who is mentioned in the passage?", 8, LlmTask.QUESTION, False),
        ("what does the text above say?", 8, LlmTask.QUESTION, False),
        ("leaking seal pump", 4, LlmTask.KEYWORD, True),
        ("who mended the seal?", 5, LlmTask.KEYWORD, False),
        ("The seal was mended with tar.", 8, LlmTask.KEYWORD, False),
        ("The seal was mended with tar.", 8, LlmTask.CLAIM, True),
        ("was the seal mended with tar?", 8, LlmTask.CLAIM, False),
    ],
)
def test_the_format_is_one_line_of_the_type_asked_for(text: str, tokens: int, task: LlmTask, good: bool):
    assert keeps_format(text, tokens, task, PASSAGE.lower().split()) == float(good)


def test_a_question_is_told_by_its_mark_or_its_first_word():
    assert is_question("pump broken?") and is_question("how to mend a seal") and is_question("何ですか\uff1f")
    assert not is_question("pump seal tar") and not is_of_type("pump seal tar", LlmTask.QUESTION)


def test_all_parts_of_a_batch_are_scored_once_and_what_guards_look_at_is_logged():
    class Counting(Placed):
        calls = 0

        def find(self, queries: Sequence[str], ids: Sequence[str]) -> list[Found]:
            Counting.calls += 1
            return super().find(queries, ids)

    logged: dict[str, float] = {}
    rewards = Rewards(Counting(at(2)), Placed(at(20)), Placed(NOWHERE), {"p": PASSAGE}, end=0)
    chat = [[{"role": "assistant", "content": text}] for text in ("who mended it?", "Who mended it", "what leaked?")]
    for function, part in zip(rewards.functions(), PARTS, strict=True):
        assert function.__name__ == part
        values = function(
            prompts=[], completions=chat, completion_ids=[[5, 6, 7, 8, 0]] * 3, doc_id=["p"] * 3,
            type=["question"] * 3, log_metric=logged.__setitem__, log_extra=None, trainer_state=None,
        )  # fmt: skip
        assert len(values) == 3
    assert Counting.calls == 1
    assert logged == {"hit@1": 0, "hit@10": 1, "agree": 0, "copied": 0, "unique": pytest.approx(2 / 3)}


def test_what_is_distinct_is_counted_prompt_by_prompt():
    scored = {name: [0.0] * 4 for name in ("first", "found", "agree", "copied")}
    assert measures(["a", "a", "b", "c"], ["p", "p", "q", "q"], scored)["unique"] == 0.75


# Guards


def course(steps: int = 20, **ends: tuple[float, float]) -> list[dict[str, float]]:
    """Return a log in which everything stays as it is but for what goes from here to there."""
    calm = {
        "reward": 1.0, "hit@1": 0.4, "hit@10": 0.7, "agree": 0.6, "copied": 0.1, "unique": 0.9, "entropy": 2.0,
        "kl": 0.01, "completions/mean_length": 12.0, "completions/clipped_ratio": 0.02, "frac_reward_zero_std": 0.1,
    }  # fmt: skip
    assert set(calm) == set(WATCHED)
    log = []
    for step in range(steps):
        moved = {name: low + (high - low) * step / (steps - 1) for name, (low, high) in ends.items()}
        log.append({**calm, **{name.replace("__", "/"): value for name, value in moved.items()}, "step": step + 1})
    return log


def test_guards_are_quiet_while_all_goes_well():
    assert raised(course(reward=(0.5, 1.2), **{"hit@1": (0.3, 0.5)}, agree=(0.5, 0.7))) == {}


@pytest.mark.parametrize(
    ("ends", "guard", "remedy"),
    [
        ({"frac_reward_zero_std": (0.2, 0.8)}, "no_signal", "temperature=1.2"),
        ({"unique": (0.9, 0.2)}, "collapse", "beta=0.1"),
        ({"entropy": (2.0, 0.2)}, "collapse", "beta=0.1"),
        ({"copied": (0.1, 0.4)}, "copying", "weights.copying=-1"),
        ({"completions__mean_length": (12.0, 30.0)}, "length", "weights.format=0.5"),
        ({"completions__mean_length": (12.0, 3.0)}, "length", "beta=0.1"),
        ({"completions__clipped_ratio": (0.0, 0.5)}, "clipped", "query_tokens=96"),
        ({"hit@1": (0.3, 0.6)}, "one_retriever", "weights.agree=1"),
    ],
)
def test_each_guard_is_raised_by_its_own_sign_with_a_remedy(ends: Any, guard: str, remedy: str):
    found = raised(course(**ends))
    assert set(found) == {guard} and remedy in found[guard]
    first = first_raised(course(**ends))[guard]
    assert 8 <= first["step"] <= 20 and remedy in first["sentence"]


def test_a_remedy_that_a_guard_names_is_a_setting():
    sentences = " ".join(first_raised(course(**{"hit@1": (0.3, 0.6)}, copied=(0, 0.5), unique=(0.9, 0.1)))[name]["sentence"]
                         for name in ("copying", "collapse", "one_retriever"))  # fmt: skip
    assert make_grpo(["weights.copying=-1", "beta=0.1", "weights.agree=1"]).weights.agree == 1
    assert all(setting in sentences for setting in ("weights.copying=-1", "beta=0.1", "weights.agree=1"))
    assert make_sft(["epochs=4", "query_tokens=96"]).query_tokens == 96


def test_a_few_steps_raise_nothing():
    assert raised(course(steps=7, unique=(0.1, 0.1))) == {} and first_raised([]) == {}


def _silent() -> Any:
    from hfembed.events import silent

    return silent()
