"""Text about nothing teaches nothing: the base is kept, and it is said why."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from builders import run_until, write_jsonl

from hfembed import pipeline
from hfembed.run import LAYOUT, Run
from hfembed.train.coherence import Coherence

DOCUMENTS = 110
# Words that a tiny tokenizer has no trouble with.
WORDS = [
    first + second for first in ("sto", "bri", "lam", "ket", "dur", "fen") for second in ("ne", "ck", "po", "la", "s")
]
QUICK = ("train.phases=[{steps: 4, batch_size: 16}]", "train.fold.min_cosine=0.001", "train.fold.max_ndcg_loss=1")


def drawn_anew(draw: random.Random) -> str:
    """Every word is drawn by itself."""
    return " ".join(draw.choices(WORDS, k=30))


def about_three_words(draw: random.Random) -> str:
    """A document says the same from its beginning to its end."""
    return " ".join(draw.choices(draw.sample(WORDS, 3), k=30))


def train_on(folder: Path, base: Path, write: Callable[[random.Random], str], *settings: str) -> tuple[Run, str]:
    """Run on such documents until train; return the run and what was warned of."""
    draw = random.Random(7)
    rows = [{"_id": f"d{number}", "title": "", "text": write(draw) + "."} for number in range(DOCUMENTS)]
    corpus = write_jsonl(folder / "corpus.jsonl", rows)
    run, _ = run_until(folder / "run", corpus, "train", *QUICK, *settings, base=base)
    events = [json.loads(line) for line in run.path(LAYOUT.events).read_text(encoding="utf-8").splitlines()]
    return run, " ".join(event["message"] for event in events if event["kind"] == "warning")


def test_chance_is_told_from_more_than_chance():
    assert not Coherence(found=12, documents=256, chance=10.0).holds
    assert not Coherence(found=24, documents=256, chance=10.0).holds
    assert Coherence(found=40, documents=256, chance=10.0).holds


def test_a_few_documents_can_tell_nothing():
    assert Coherence(found=0, documents=99, chance=0.0).holds


def test_of_random_text_nothing_is_kept_and_it_is_said_why(tmp_path: Path, tiny_model: Path):
    run, warned = train_on(tmp_path, tiny_model, drawn_anew)
    facts = pipeline.manifests(run)["train"].facts
    assert facts["fold"]["kind"] == "base" and facts["choice"]["strength"] == 0.0
    assert facts["coherence"]["holds"] is False and facts["coherence"]["documents"] == DOCUMENTS
    assert "about nothing" in warned and "train.strength" in warned


def test_a_strength_that_the_user_wishes_is_kept_all_the_same(tmp_path: Path, tiny_model: Path):
    run, warned = train_on(tmp_path, tiny_model, drawn_anew, "train.strength=0.5")
    facts = pipeline.manifests(run)["train"].facts
    assert facts["fold"]["kind"] != "base" and facts["coherence"] is None
    assert "about nothing" not in warned


def test_documents_that_are_about_something_are_learned_from(tmp_path: Path, tiny_model: Path):
    run, warned = train_on(tmp_path, tiny_model, about_three_words)
    facts = pipeline.manifests(run)["train"].facts
    assert facts["coherence"]["holds"] is True, facts["coherence"]
    assert "about nothing" not in warned
