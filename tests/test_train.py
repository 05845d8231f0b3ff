"""train: a map learned from zero, kept only as far as it helps, folded into plain weights."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Listener, run_until, some_documents, write_beir
from hypothesis import given
from hypothesis import strategies as st

from hfembed.embed import Role, unit
from hfembed.events import Events, Reporter, silent
from hfembed.hub import fingerprint_model
from hfembed.recipe import Phase
from hfembed.run import LAYOUT, Run
from hfembed.train.adapter import Map, Pairs, learn_map
from hfembed.train.fold import _features, append_dense
from hfembed.train.strength import choose_strength, score_map

pytestmark = pytest.mark.xdist_group("train")

WIDTH = 8
KINDS = ("title", "sentence", "keyword")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices are slower on two threads that fight for the same cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made_up(
    seed: int = 0, documents: int = 40, queries: int = 90, twist: float = 0.0
) -> tuple[np.ndarray, np.ndarray, Pairs]:
    """Return documents, groups and pairs; `twist` hides the answer behind a mirrored axis."""
    draw = np.random.default_rng(seed)
    vectors = unit(draw.normal(size=(documents, WIDTH)).astype(np.float32))
    positives = np.arange(queries) % documents
    noisy = vectors[positives] + 0.4 * draw.normal(size=(queries, WIDTH)).astype(np.float32)
    noisy[:, 0] += np.float32(twist)
    kinds = np.array([KINDS[n % 3] for n in range(queries)])
    return vectors, np.arange(documents), as_pairs(unit(noisy), positives, kinds)


def as_pairs(
    queries: np.ndarray, positives: np.ndarray, kinds: np.ndarray, negatives: np.ndarray | None = None
) -> Pairs:
    none = np.zeros((len(queries), 0), dtype=np.int64)
    weights = np.ones(len(queries), dtype=np.float32)
    return Pairs(queries, positives, kinds, none if negatives is None else negatives, positives[:, None], weights)


# The map


@given(seed=st.integers(0, 99))
def test_a_map_of_no_strength_is_the_identity(seed: int):
    draw = np.random.default_rng(seed)
    vectors = unit(draw.normal(size=(5, WIDTH)).astype(np.float32))
    learned = Map(draw.normal(size=(WIDTH, WIDTH)).astype(np.float32), 0.0)
    assert np.array_equal(learned.apply(vectors), vectors)
    assert np.array_equal(learned.matrix(), np.eye(WIDTH, dtype=np.float32))


@given(seed=st.integers(0, 99), strength=st.floats(0, 1))
def test_a_map_applied_is_its_matrix_and_gives_unit_vectors(seed: int, strength: float):
    draw = np.random.default_rng(seed)
    vectors = unit(draw.normal(size=(5, WIDTH)).astype(np.float32))
    learned = Map(0.2 * draw.normal(size=(WIDTH, WIDTH)).astype(np.float32), strength)
    assert np.allclose(learned.apply(vectors), unit(vectors @ learned.matrix()), atol=1e-5)
    assert np.allclose(np.linalg.norm(learned.apply(vectors), axis=1), 1, atol=1e-5)


def test_training_lowers_the_loss_and_finds_what_is_twisted():
    documents, groups, pairs = made_up(twist=1.5)
    learned, losses = learn_map(pairs, documents, groups, [Phase(steps=40, learning_rate=1e-2)], 0)
    assert len(losses) == 40 and np.mean(losses[-5:]) < np.mean(losses[:5]) and np.isfinite(learned.weights).all()
    assert score_map(learned, pairs, documents) > score_map(Map(learned.weights, 0.0), pairs, documents) + 0.02


def test_one_seed_gives_the_same_weights_and_another_others():
    documents, groups, pairs = made_up()
    weights = [
        learn_map(pairs, documents, groups, [Phase(steps=5, batch_size=16)], seed)[0].weights for seed in (1, 1, 2)
    ]
    assert np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[0], weights[2])


def test_a_map_of_low_rank_is_the_nearest_to_the_whole_one_and_changes_no_other_direction():
    documents, groups, pairs = made_up(twist=1.5)
    whole = learn_map(pairs, documents, groups, [Phase(steps=20, learning_rate=1e-2)], 0)[0].weights
    low = learn_map(pairs, documents, groups, [Phase(steps=20, learning_rate=1e-2, rank=2)], 0)[0].weights
    values = np.linalg.svd(whole, compute_uv=False)
    assert np.linalg.matrix_rank(low, tol=1e-5) == 2 < np.linalg.matrix_rank(whole, tol=1e-5)
    assert np.linalg.norm(whole - low) == pytest.approx(np.sqrt((values[2:] ** 2).sum()), rel=1e-3)


def test_every_phase_trains_on_what_the_one_before_left():
    documents, groups, pairs = made_up()
    one, losses = learn_map(pairs, documents, groups, [Phase(steps=3)], 0)
    two, more = learn_map(pairs, documents, groups, [Phase(steps=3), Phase(steps=4)], 0)
    assert len(more) == 7 and more[:3] == losses and not np.array_equal(one.weights, two.weights)


def test_near_duplicates_of_the_positive_are_no_negatives():
    documents = unit(np.eye(4, WIDTH, dtype=np.float32))
    documents[1] = documents[0]  # a copy of the answer
    pairs = as_pairs(documents[:1], np.array([0]), np.array(["title"]))
    phase = [Phase(steps=1, temperature=0.05)]
    _, apart = learn_map(pairs, documents, np.array([0, 1, 2, 3]), phase, 0)
    _, together = learn_map(pairs, documents, np.array([0, 0, 2, 3]), phase, 0)
    assert apart[0] == pytest.approx(math.log(2), abs=1e-3) and together[0] == pytest.approx(0, abs=1e-3)


def test_the_other_answers_of_a_query_are_no_negatives():
    documents = unit(np.eye(4, WIDTH, dtype=np.float32))
    documents[1] = documents[0]  # answers the same query
    alone = as_pairs(documents[:1], np.array([0]), np.array(["multi_hop"]))
    phase = [Phase(steps=1, temperature=0.05)]
    _, losses = learn_map(replace(alone, answers=np.array([[0, 1]])), documents, np.arange(4), phase, 0)
    assert losses[0] == pytest.approx(0, abs=1e-3)


def test_a_row_without_weight_is_never_learned_from():
    documents, groups, pairs = made_up()
    misled = replace(pairs, queries=np.concatenate([pairs.queries[:45], -pairs.queries[45:]]))
    weights = np.repeat([1, 0], 45).astype(np.float32)
    first, _ = learn_map(replace(misled, weights=weights), documents, groups, [Phase(steps=5, batch_size=16)], 0)
    second, _ = learn_map(replace(pairs, weights=weights), documents, groups, [Phase(steps=5, batch_size=16)], 0)
    assert np.array_equal(first.weights, second.weights)


def test_a_drawn_pool_always_holds_the_answer_and_the_mined_negatives():
    documents, groups, pairs = made_up(documents=400, queries=400)
    hard = unit(pairs.queries[:, None, :])  # documents that are the queries themselves: the hardest there are
    whole = np.concatenate([documents, hard[:, 0]])
    groups = np.arange(len(whole))
    mined = as_pairs(pairs.queries, pairs.positives, pairs.kinds, np.arange(400)[:, None] + 400)
    phase = [Phase(steps=1, pool=16, batch_size=4)]
    _, without = learn_map(pairs, whole, groups, phase, 0)
    _, with_mined = learn_map(mined, whole, groups, phase, 0)
    assert with_mined[0] > without[0] + 0.5 and np.isfinite(without).all()


# The strength


def left_out(dev: Pairs, train: Pairs, documents: np.ndarray, groups: np.ndarray, report: Any = None) -> Any:
    phases = [Phase(steps=30, learning_rate=1e-2)]
    return choose_strength(train, dev, documents, groups, phases, 0, report or silent())


def test_the_strength_is_chosen_on_kinds_the_map_was_not_trained_on():
    """Every kind is twisted its own way: each helps itself and hurts the others, so nothing may be kept."""
    documents, groups, pairs = made_up(queries=240)
    queries = pairs.queries.copy()
    for number, kind in enumerate(KINDS):
        queries[pairs.kinds == kind, number] += 2.5
    pairs = replace(pairs, queries=unit(queries))
    choice = left_out(pairs, pairs, documents, groups)
    families = {"names", "statements", "keywords"}
    assert {name.split(",")[0] for name in choice.gains} == families and set(choice.gains) == set(choice.base)
    own, _ = learn_map(pairs, documents, groups, [Phase(steps=30, learning_rate=1e-2)], 0)
    own_gain = score_map(own, pairs, documents) - score_map(Map(own.weights, 0.0), pairs, documents)
    strengths = choice.gains["names, documents not learned from"]
    means = {float(s): np.mean([gain[s] for gain in choice.gains.values()]) for s in strengths}
    assert means[max(means)] < own_gain
    unseen = [gain[str(choice.strength)] for name, gain in choice.gains.items() if "not learned" in name]
    assert len(unseen) == 3 and choice.strength <= max(means, key=lambda s: (round(means[s], 10), -s))
    assert np.mean(unseen) > -0.02


def test_a_strength_that_serves_documents_it_has_not_learned_from_worse_is_not_taken():
    """What is learned helps documents of training, however they are asked for, and hurts all others."""
    documents, groups, pairs = made_up(queries=240)
    queries = pairs.queries.copy()
    queries[pairs.positives < 20, 0] += 2.5
    half = pairs.positives < 20
    twisted = replace(pairs, queries=unit(queries))
    train, dev = twisted.where(half), twisted.where(~half)
    phases = [Phase(steps=60, learning_rate=1e-2)]
    choice = choose_strength(train, dev, documents, groups, phases, 0, silent())
    seen, unseen = (
        np.mean([gain["0.625"] for name, gain in choice.gains.items() if ("not learned" in name) is new])
        for new in (False, True)
    )
    assert seen > 0.02 and unseen < -0.02 and choice.strength < 0.625


def test_what_helps_every_kind_is_kept_and_what_helps_none_is_not():
    documents, groups, pairs = made_up(queries=240, twist=1.5)
    assert left_out(pairs, pairs, documents, groups).strength > 0
    clean = replace(pairs, queries=documents[pairs.positives])  # the base is perfect
    choice = left_out(clean, clean, documents, groups)
    assert choice.strength == 0 and set(choice.base.values()) == {1.0}


def test_with_one_kind_alone_the_step_is_cautious_and_said():
    documents, groups, pairs = made_up(queries=90, twist=1.5)
    alone = replace(pairs, kinds=np.array(["title"] * 90))
    heard = Listener()
    choice = left_out(alone, alone, documents, groups, Reporter("train", Events(listeners=[heard])))
    assert choice.strength <= 0.5 and max(map(float, choice.gains["names, documents not learned from"])) == 0.5
    assert any("one way of asking" in message for message in heard.messages("warning"))


def test_kinds_with_few_dev_queries_have_no_say():
    documents, groups, pairs = made_up(queries=90)
    few = np.array([n for n in range(90) if KINDS[n % 3] != "keyword" or n < 9])
    choice = left_out(pairs.where(np.isin(np.arange(90), few)), pairs, documents, groups)
    assert not any("keywords" in name for name in choice.gains) and choice.gains


# Dense


def test_the_dense_layer_is_the_map_exactly(tiny_model: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    base = SentenceTransformer(str(tiny_model), device="cpu")
    learned = Map(0.1 * np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32), 0.5)
    texts = ["the alternator warning light", "no charge at idle"]
    expected = learned.apply(base.encode(texts))
    append_dense(base, learned).save_pretrained(str(tmp_path / "dense"), create_model_card=False)
    loaded = SentenceTransformer(str(tmp_path / "dense"), device="cpu")
    assert [type(module).__name__ for module in loaded] == ["Transformer", "Pooling", "Normalize", "Dense", "Normalize"]
    assert np.allclose(loaded.encode(texts), expected, atol=1e-5)


# Prompts in the fold


def tokens(model: Any, text: str) -> list[int]:
    ids: list[int] = model.tokenizer(text)["input_ids"]
    return ids


@pytest.mark.parametrize("name", ["document", "passage"])
def test_the_fold_reads_texts_with_the_prompts_they_will_be_encoded_with(tiny_model: Path, name: str):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.prompts = {"query": "search this: ", name: "the text says: "}
    batch = _features(model, [("alternator", Role.QUERY), ("alternator", Role.DOCUMENT)])["input_ids"].tolist()
    for ids, prompt in zip(batch, ("search this: ", "the text says: "), strict=True):
        expected = tokens(model, prompt + "alternator")
        assert ids[: len(expected)] == expected


# The stage

CHEAP = (
    "train.phases.0.steps=4", "train.fold.min_cosine=0.5", "train.fold.max_ndcg_loss=1",
    "train.fold.max_documents=12", "train.fold.max_queries=12",
)  # fmt: skip


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Make a run up to mine; each test goes on in a copy of it."""
    folder = tmp_path_factory.mktemp("mined")
    corpus = write_beir(folder / "beir", some_documents(30))
    run_until(folder / "run", corpus, "mine", *CHEAP, base=tiny_model)
    return folder


def load(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def trained(folder: Path, mined: Path, base: Path, *settings: str, **options: Any) -> tuple[Run, dict[str, Any], Any]:
    shutil.copytree(mined / "run", folder / "run")
    run, worked = run_until(folder / "run", mined / "beir", "train", *CHEAP, *settings, base=base, **options)
    assert worked == ["train"]
    return run, run.manifests("model")["train"].facts, load(run.path(LAYOUT.model))


def test_a_folded_model_is_a_plain_transformer_with_finite_weights_and_only_its_last_layer_changed(
    tmp_path: Path, mined: Path, tiny_model: Path
):
    run, facts, model = trained(tmp_path, mined, tiny_model, "train.strength=1", "train.phases.0.learning_rate=0.01")
    assert facts["fold"]["kind"] == "folded" and facts["fold"]["cosine"] > 0.5
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling", "Normalize"]
    before, after = load(tiny_model).state_dict(), model.state_dict()
    assert list(before) == list(after)
    changed = [name for name in before if not np.array_equal(before[name].numpy(), after[name].numpy())]
    assert changed and all(".layer.1." in name for name in changed)
    assert all(np.isfinite(value.numpy()).all() for value in after.values())
    assert len(facts["losses"]) == 4 and np.isfinite(facts["losses"]).all()
    assert run.manifests("model")["train"].counts["steps"] == 4
    again, _, _ = trained(
        tmp_path / "again", mined, tiny_model, "train.strength=1", "train.phases.0.learning_rate=0.01"
    )
    assert fingerprint_model(again.path(LAYOUT.model)) == fingerprint_model(run.path(LAYOUT.model))


@pytest.mark.parametrize("gate", ["train.fold.min_cosine=1", "train.fold.max_ndcg_loss=0"])
def test_a_fold_that_misses_its_gate_falls_back_to_the_dense_layer_and_says_so(
    tmp_path: Path, mined: Path, tiny_model: Path, gate: str, monkeypatch: pytest.MonkeyPatch
):
    from hfembed.train import mapped

    measured = {"cosine": 0.99, "ndcg@10": 0.4 if "ndcg" in gate else 0.6, "map_ndcg@10": 0.5}
    monkeypatch.setattr(mapped, "_measure_fold", lambda *_: dict(measured))
    heard = Listener()
    _, facts, model = trained(tmp_path, mined, tiny_model, "train.strength=1", gate, listeners=[heard])
    assert facts["fold"]["kind"] == "dense"
    assert "Dense" in [type(module).__name__ for module in model]
    assert any("Only sentence-transformers applies it" in message for message in heard.messages("warning"))
    before, after = load(tiny_model)[0].state_dict(), model[0].state_dict()
    assert before and all(np.array_equal(before[name].numpy(), after[name].numpy()) for name in before)


def test_no_strength_gives_the_base_back(tmp_path: Path, mined: Path, tiny_model: Path):
    heard = Listener()
    _, facts, model = trained(tmp_path, mined, tiny_model, "train.strength=0", listeners=[heard])
    assert facts["fold"]["kind"] == "base"
    before, after = load(tiny_model).state_dict(), model.state_dict()
    assert all(np.array_equal(before[name].numpy(), after[name].numpy()) for name in before)


def test_the_strength_chosen_is_kept_with_what_it_was_chosen_from(tmp_path: Path, mined: Path, tiny_model: Path):
    run, facts, _ = trained(tmp_path, mined, tiny_model)
    choice = facts["choice"]
    assert 0 <= choice["strength"] <= 1 and choice["gain_by_left_out_family"] and choice["base_ndcg@10"]
    assert json.loads((run.path("model") / "modules.json").read_text(encoding="utf-8"))
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in run.path("model").rglob("*.safetensors"))


def test_a_fixed_strength_is_not_said_to_be_chosen(tmp_path: Path, mined: Path, tiny_model: Path):
    heard = Listener()
    trained(tmp_path, mined, tiny_model, "train.strength=0.5", listeners=[heard])
    assert not any("left out" in message for message in heard.messages("note"))
