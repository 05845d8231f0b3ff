"""Heads: scores as they are defined, losses as they are published, files that every reader understands, and search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from builders import some_documents

from hfembed.embed import Precision, Role, load_model
from hfembed.errors import ModelError, RecipeError
from hfembed.heads import has_heads, load_heads, read_weights
from hfembed.heads.files import write_heads
from hfembed.heads.search import read_texts, search
from hfembed.hub import local_model
from hfembed.recipe import Distill, Head, Heads, SelfDistill, TrainMethod, Tuning, make_recipe
from hfembed.train.heads import warnings_of_heads
from hfembed.train.part import write_model

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

pytestmark = pytest.mark.xdist_group("train")

ALL = Heads(sparse=True, multi_vector=True)
ROWS = some_documents(12)
QUERIES, DOCUMENTS = [row["title"] for row in ROWS], [row["text"] for row in ROWS]


@pytest.fixture
def model(tiny_model: Path) -> SentenceTransformer:
    """A tiny model with heads that have learned something."""
    import torch

    from hfembed.heads.module import add_heads, heads_of

    made = add_heads(load_model(local_model("tiny", tiny_model)), ALL)
    heads = heads_of(made)
    assert heads is not None and heads.sparse_linear is not None and heads.colbert_linear is not None
    torch.manual_seed(1)
    torch.nn.init.normal_(heads.sparse_linear.weight)
    torch.nn.init.normal_(heads.colbert_linear.weight)
    return made


def read(model: SentenceTransformer, texts: list[str]) -> dict[str, Any]:
    from hfembed.encoder import tokens_of

    found: dict[str, Any] = model(tokens_of(model, texts))
    return found


def phase(**values: Any) -> Tuning:
    return Tuning.model_validate({"method": TrainMethod.FULL, "loss": "m3", "temperature": 0.02, **values})


def by_hand() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return a query of two tokens and two documents, the second of which ends in padding."""
    import torch

    query = {
        "sentence_embedding": torch.tensor([[1.0, 0.0]]),
        "input_ids": torch.tensor([[2, 7, 8]]),
        "token_weights": torch.tensor([[0.0, 0.5, 1.0]]),
        "token_vectors": torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]),
        "token_vector_mask": torch.tensor([[True, True]]),
    }
    documents = {
        "sentence_embedding": torch.tensor([[0.6, 0.8], [0.0, 2.0]]),
        "input_ids": torch.tensor([[2, 7, 7, 9], [2, 8, 0, 0]]),
        "token_weights": torch.tensor([[0.0, 0.2, 0.9, 3.0], [0.0, 0.4, 0.0, 0.0]]),
        "token_vectors": torch.tensor([[[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]], [[0.0, -1.0], [1.0, 0.0], [0.0, 1.0]]]),
        "token_vector_mask": torch.tensor([[True, True, True], [True, False, False]]),
    }
    return query, documents


def test_scores_are_those_of_the_definition_and_fused_is_their_weighted_sum():
    from hfembed.heads.scores import fused, scores_of

    query, documents = by_hand()
    scores = scores_of(query, documents, ALL.used())
    assert scores[Head.DENSE][0].tolist() == pytest.approx([0.6, 0.0])
    # Token 7 stands twice in the first document and counts with its larger weight; 9 is not asked for.
    assert scores[Head.SPARSE][0].tolist() == pytest.approx([0.5 * 0.9, 1.0 * 0.4])
    # The best cosine of each query token, by the number of tokens; padding, though equal, is never found.
    assert scores[Head.MULTI_VECTOR][0].tolist() == pytest.approx([(1.0 + 0.8) / 2, (0.0 - 1.0) / 2])
    wanted = [0.6 + 0.3 * 0.45 + 0.9, 0.0 + 0.3 * 0.4 - 0.5]
    assert fused(scores, ALL.used())[0].tolist() == pytest.approx(wanted)


def test_padding_and_special_tokens_weigh_nothing_and_the_first_token_has_no_vector(model: SentenceTransformer):
    found = read(model, ["the pump leaks", "the pump of unit 3 leaks after six hours of work"])
    ids, weights = found["input_ids"], found["token_weights"]
    special = set(model.tokenizer.all_special_ids)
    silent = np.isin(ids.numpy(), list(special))
    assert silent.any() and (weights.detach().numpy()[silent] == 0).all() and (weights > 0).any()
    assert found["token_vectors"].shape[1] == ids.shape[1] - 1
    assert found["token_vector_mask"].sum(1).tolist() == (found["attention_mask"].sum(1) - 1).tolist()
    alone = read(model, ["the pump leaks"])
    heard = int(alone["attention_mask"].sum())
    assert np.allclose(alone["token_weights"][0].detach(), weights[0, :heard].detach(), atol=1e-5)


def test_heads_rank_from_the_first_step_on(tiny_model: Path):
    """The sparse head begins with equal weights, the multi-vector head with the tokens' own vectors."""
    from hfembed.heads.module import add_heads

    fresh = add_heads(load_model(local_model("tiny", tiny_model)), ALL)
    found = read(fresh, ["the pump leaks"])
    assert set(np.round(found["token_weights"].detach().numpy().ravel(), 5)) == {0.0, 0.25}
    own = found["token_embeddings"][0, 1:].detach().numpy()
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    assert np.allclose(found["token_vectors"][0].detach(), own, atol=1e-6)


def test_all_heads_together_teach_each_once_it_is_time_and_are_not_moved_by_it(model: SentenceTransformer):
    import torch

    from hfembed.train.m3 import M3SelfDistillLoss

    loss = M3SelfDistillLoss(
        model.eval(), phase(negatives=1, self_distill={"after": 0.5, "temperature": 0.1}), steps=10
    )
    texts = [read(model, part) for part in (QUERIES[:4], DOCUMENTS[:4], DOCUMENTS[4:8])]
    scores = loss.compare(texts)
    assert scores[Head.DENSE].shape == (4, 8)
    right = torch.arange(4)
    cross = torch.nn.functional.cross_entropy
    together = scores[Head.DENSE] + 0.3 * scores[Head.SPARSE] + scores[Head.MULTI_VECTOR]
    ranking = (
        cross(scores[Head.DENSE] / 0.02, right)
        + cross(together / 0.02, right)
        + 0.1 * cross(scores[Head.SPARSE] / 0.02, right)
        + cross(scores[Head.MULTI_VECTOR] / 0.02, right)
    ) / 4
    loss.step = 4
    assert float(loss.of(texts)) == pytest.approx(float(ranking), rel=1e-5)
    loss.step = 5
    teacher = torch.softmax(together / 0.1, dim=1)
    taught = sum(
        share * -(teacher * torch.log_softmax(scores[head] / 0.1, dim=1)).sum(1).mean()
        for head, share in ((Head.DENSE, 1), (Head.SPARSE, 0.1), (Head.MULTI_VECTOR, 1))
    )
    assert float(loss.of(texts)) == pytest.approx(float((ranking + taught / 3) / 2), rel=1e-5)
    free = {head: found.detach() for head, found in scores.items()}
    moved = together.detach().requires_grad_(True)
    assert not loss.taught(free, moved).requires_grad  # what teaches is held still


def test_without_in_batch_a_row_has_its_own_documents_only(model: SentenceTransformer):
    from hfembed.train.m3 import M3SelfDistillLoss

    loss = M3SelfDistillLoss(model.eval(), phase(negatives=1, in_batch=False), steps=1)
    texts = [read(model, part) for part in (QUERIES[:3], DOCUMENTS[:3], DOCUMENTS[3:6])]
    others = [read(model, part) for part in (QUERIES[:1], DOCUMENTS[:1], DOCUMENTS[3:4])]
    scores, alone = loss.compare(texts), loss.compare(others)
    for head in Head:
        assert scores[head].shape == (3, 2)
        assert np.allclose(scores[head][0].detach(), alone[head][0].detach(), atol=1e-5)


def test_keeping_near_the_teacher_costs_nothing_where_nothing_has_moved(model: SentenceTransformer):
    import torch

    from hfembed.train.m3 import SimilarityDistillLoss

    settings = phase(loss="similarity_distill", distill=Distill(keep=0.0).model_dump())
    loss = SimilarityDistillLoss(model.eval(), settings, steps=10)
    with torch.no_grad():
        vectors = [read(model, part)["sentence_embedding"] for part in (QUERIES[:4], DOCUMENTS[:4])]
    from hfembed.encoder import tokens_of

    features = [tokens_of(model, part) for part in (QUERIES[:4], DOCUMENTS[:4])]
    labels = torch.stack(vectors, dim=1)
    assert float(loss([dict(part) for part in features], labels)) == pytest.approx(0.0, abs=1e-6)
    turned = torch.roll(labels, 1, dims=0)
    assert float(loss([dict(part) for part in features], turned)) > 0.01
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert float(loss.of(one, other)) == pytest.approx(1.0 + 2.0)  # cosine, and squared distance; alone all is alike


def test_the_files_are_what_flagembedding_reads_and_the_folder_is_a_plain_model(
    model: SentenceTransformer, tmp_path: Path
):
    import torch
    from sentence_transformers import SentenceTransformer as Plain

    from hfembed.heads.module import heads_of, without_heads

    before = read(model, DOCUMENTS[:3])
    heads = without_heads(model)
    assert heads is not None and heads_of(model) is None
    write_model(model, tmp_path / "model")
    write_heads(heads, tmp_path / "model")
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert {"sparse_linear.pt", "colbert_linear.pt", "sparse_linear.safetensors", "colbert_linear.safetensors"} <= names
    sparse, colbert = (
        torch.load(tmp_path / "model" / f"{name}_linear.pt", weights_only=True) for name in ("sparse", "colbert")
    )
    assert sparse["weight"].shape == (1, 32) and colbert["weight"].shape == (32, 32)
    plain = Plain(str(tmp_path / "model"), device="cpu")
    assert [type(module).__name__ for module in plain] == ["Transformer", "Pooling", "Normalize"]
    assert np.allclose(plain.encode(DOCUMENTS[:3]), before["sentence_embedding"].detach(), atol=1e-6)
    assert has_heads(tmp_path / "model") and read_weights(tmp_path / "model")[Head.SPARSE] == 0.3
    again = read(load_heads(str(tmp_path / "model")), DOCUMENTS[:3])
    assert np.allclose(again["token_weights"].detach(), before["token_weights"].detach(), atol=1e-6)
    assert np.allclose(again["token_vectors"].detach(), before["token_vectors"].detach(), atol=1e-6)


def test_a_model_without_heads_and_a_broken_file_of_them_are_said_so(tiny_model: Path, tmp_path: Path):
    import shutil

    with pytest.raises(ModelError, match="has no heads"):
        load_heads(str(tiny_model))
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "heads.json").write_text(json.dumps({"weights": {"dense": 1.0, "sparse": 0.3}}))
    (tmp_path / "model" / "sparse_linear.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        load_heads(str(tmp_path / "model"))


def test_search_finds_by_every_head_what_comparing_everything_finds(model: SentenceTransformer, tmp_path: Path):
    import torch

    from hfembed.heads.scores import fused, scores_of

    documents = read_texts(model, DOCUMENTS, Role.DOCUMENT, Precision.FP32, tmp_path / "documents")
    queries = read_texts(model, QUERIES[:5], Role.QUERY, Precision.FP32, tmp_path / "queries")
    with torch.no_grad():
        wanted: dict[str, Any] = dict(scores_of(read(model, QUERIES[:5]), read(model, DOCUMENTS), ALL.used()))
    wanted["fused"] = fused(wanted, ALL.used())
    for at, found in enumerate(search(queries, documents, ALL.used(), len(DOCUMENTS))):
        assert found.rows.tolist() == list(range(len(DOCUMENTS)))
        for head, scores in found.scores.items():
            assert np.allclose(scores, wanted[head][at], atol=2e-3), head
    few = next(search(queries, documents, ALL.used(), 2))
    near = set(np.argsort(-wanted[Head.DENSE][0].numpy())[:2]) | set(np.argsort(-wanted[Head.SPARSE][0].numpy())[:2])
    assert set(few.rows.tolist()) == near


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["train.heads.sparse=true"], "has the method adapter"),
        (["train.phases=[{method: full, loss: m3}]"], "the model is to have none"),
        (
            ["train.heads.sparse=true", "train.phases=[{method: full, loss: m3, dimensions: [8]}]"],
            "vectors of one length",
        ),
    ],
)
def test_heads_that_could_not_learn_are_refused_by_the_recipe(settings: list[str], said: str):
    with pytest.raises(RecipeError, match=said):
        make_recipe(settings=settings)


def test_heads_need_vectors_of_one_length(tiny_model: Path):
    from hfembed.heads.module import add_heads
    from hfembed.recipe import Encoder

    source = local_model("tiny", tiny_model).used_as(Encoder(normalize=False, similarity="dot"))
    with pytest.raises(ModelError, match="lengths of their own"):
        add_heads(load_model(source), ALL)


def looks(*entries: dict[str, float]) -> list[dict[str, float]]:
    healthy = {
        "heads_dense": 0.5, "heads_sparse": 0.4, "heads_multi_vector": 0.5, "heads_fused": 0.55, "sparse_active": 0.5,
        "sparse_largest": 0.3, "teacher_sure": 0.6, "disagreement": 0.2,
    }  # fmt: skip
    return [healthy | entry for entry in entries]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (looks({}, {"sparse_active": 0.01}), "sparse head has died"),
        (looks({}, {"teacher_sure": 0.999}), "sure of one document"),
        (looks({}, {"disagreement": 0.3}, {"disagreement": 0.5}), "disagree more and more"),
        (looks({}, {"heads_fused": 0.49}), "no better .* than dense alone"),
    ],
)
def test_what_goes_wrong_with_heads_is_said_with_a_remedy(log: list[dict[str, float]], said: str):
    (sentence,) = warnings_of_heads(log)
    import re

    assert re.search(said, sentence) and sentence.endswith((".", "weights"))
    assert list(warnings_of_heads(looks({}, {}))) == [] == list(warnings_of_heads([{"loss": 1.0}]))


def test_the_share_of_steps_before_teaching_is_a_setting():
    assert SelfDistill().after == 0.1 and phase(self_distill={"enabled": False}).self_distill.enabled is False
