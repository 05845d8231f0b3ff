"""late_interaction: the teacher compares token by token as it says, and one vector per text learns from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from builders import some_documents

from hfembed.embed import load_model
from hfembed.errors import StageError
from hfembed.hub import local_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

pytestmark = pytest.mark.xdist_group("train")

DOCUMENTS = [row["text"] for row in some_documents(12)]
COLUMNS: dict[str, list[Any]] = {"query": [row["title"] for row in some_documents(12)], "positive": DOCUMENTS}


@pytest.fixture(scope="module")
def guide(tiny_model: Path) -> SentenceTransformer:
    return load_model(local_model("guide", tiny_model))


def tokens_of(model: SentenceTransformer, text: str) -> tuple[list[int], np.ndarray]:
    """Read one text alone: its token ids and their unit vectors."""
    vectors = model.encode(text, output_value="token_embeddings").numpy()
    return model.tokenizer(text)["input_ids"], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_every_query_token_finds_its_nearest_in_the_document_and_rare_ones_weigh_more(guide: SentenceTransformer):
    from hfembed.train.tokens import Teacher

    teacher = Teacher.of(guide, guide, COLUMNS)
    queries = ["a gauge", COLUMNS["query"][3]]
    asked, found = teacher.read(queries), [teacher.read(DOCUMENTS[:3]), teacher.read(DOCUMENTS[3:8])]
    _, scores = teacher.compare(asked, found)  # of one length each, so padded
    for at, query in enumerate(queries):
        ids, vectors = tokens_of(guide, query)
        weights = teacher.rarity[ids].numpy()
        for place, document in enumerate(DOCUMENTS[:8]):
            nearest = (vectors @ tokens_of(guide, document)[1].T).max(axis=1)
            assert scores[at, place] == pytest.approx((nearest * weights).sum() / weights.sum(), abs=1e-5)


def test_a_token_of_every_document_weighs_less_than_one_of_few_and_an_unknown_one_like_one_seen_once(
    guide: SentenceTransformer,
):
    from hfembed.train.tokens import Teacher

    texts = ["wind and rain", "wind and snow", "wind and gauge", "wind"]
    rarity = Teacher.of(guide, guide, {"query": texts, "positive": texts}).rarity
    ids = {word: guide.tokenizer(word)["input_ids"][1] for word in ("wind", "and", "snow", "battery")}
    assert rarity[ids["wind"]] < rarity[ids["and"]] < rarity[ids["snow"]] == rarity[ids["battery"]]
    assert rarity.min() > 0


def test_both_of_its_scores_weigh_alike(guide: SentenceTransformer):
    from hfembed.train.tokens import Teacher

    teacher = Teacher.of(guide, guide, COLUMNS)
    whole, tokens = teacher.compare(teacher.read(COLUMNS["query"]), [teacher.read(DOCUMENTS)])
    for scores, (mean, deviation) in ((whole, teacher.whole), (tokens, teacher.tokens)):
        assert float(scores.mean()) == pytest.approx(mean, abs=1e-4)
        assert float(scores.std()) == pytest.approx(deviation, abs=1e-4)


def test_one_vector_per_text_learns_to_rank_like_the_tokens_and_the_teacher_stays_as_it_was(tiny_model: Path):
    import torch

    from hfembed.train.tokens import LateInteractionLoss

    model, guide = (load_model(local_model(name, tiny_model)) for name in ("model", "guide"))
    loss = LateInteractionLoss(model, guide, 0.05, COLUMNS)
    batch = [model.tokenize(COLUMNS["query"]), model.tokenize(DOCUMENTS)]
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.eval()  # no dropout: what is seen is what is learned
    seen = []
    for _ in range(40):
        value = loss([dict(features) for features in batch])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        seen.append(float(value.detach()))
    wanted = torch.softmax(loss.teacher.scores(batch[0], batch[1:]) / 0.25, dim=1)
    least = float(-(wanted * wanted.clamp(min=1e-12).log()).sum(1).mean())  # no model can do better than the teacher
    assert seen[-1] - least < 0.5 * (seen[0] - least)
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())


def test_a_teacher_that_cuts_texts_otherwise_is_refused_with_the_remedy(tiny_model: Path):
    from hfembed.train.tokens import Teacher

    model, other = (load_model(local_model(name, tiny_model)) for name in ("model", "other"))
    other.tokenizer.add_tokens(["hydrometeor"])
    with pytest.raises(StageError, match="same tokens") as refused:
        Teacher.of(model, other, COLUMNS)
    assert "train.teacher" in refused.value.hint
