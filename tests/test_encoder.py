"""A plain language model becomes an encoder: where its texts end, what stands before them, how vectors are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Listener
from decoders import POSITIONS, make_decoder

from hfembed.embed import Embedder, Precision, Role, encode, load_model, of_unit_length, unit
from hfembed.encoder import (
    DECODER,
    is_decoder,
    keeps_lengths,
    last_tokens,
    lost_ends,
    open_encoder,
    padding_cosine,
    positions_of,
)  # fmt: skip
from hfembed.errors import ModelError, RecipeError, StageError
from hfembed.events import Events, Reporter
from hfembed.hub import local_model
from hfembed.ranking import top_documents
from hfembed.recipe import Encoder, Similarity, TokenPooling, make_recipe
from hfembed.stage import Sources, locate_encoder, model_folder
from hfembed.train.adapter import Map, Pairs, learn_map
from hfembed.train.losses import GroupedInfoNCELoss, make_loss
from hfembed.train.part import write_model

KINDS = ("gpt_neox", "llama", "gpt2")
TEXTS = ["a pump", "the left main pump leaks", "pump " * 30 + "leaks", "flaps", "a long text about valves " * 60]


@pytest.fixture(scope="module", params=KINDS)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_decoder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def neox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_decoder(tmp_path_factory.mktemp("neox"), "gpt_neox")


def opened(folder: Path, **settings: Any) -> Any:
    return open_encoder(folder, Encoder(**settings)).to("cpu")


# The end of a text


def test_short_full_and_longer_texts_all_end_in_the_end_token_also_in_what_is_saved(decoder: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    model = opened(decoder)
    write_model(model, tmp_path / "saved")
    saved = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    lengths = {len(model.tokenizer(" a" * count)["input_ids"]): count for count in range(1, 2 * POSITIONS)}
    full = [" a" * lengths[size] for size in range(POSITIONS - 2, POSITIONS + 3) if size in lengths]
    assert len(full) > 2
    for read in (model, saved):
        assert set(last_tokens(read, [*TEXTS, *full, ""])) == {read.tokenizer.eos_token_id}
        assert read.max_seq_length == POSITIONS and read.tokenize(TEXTS)["input_ids"].shape[1] == POSITIONS
        assert read.tokenizer.padding_side == model.tokenizer.padding_side


def test_a_text_gives_the_same_vector_alone_and_beside_longer_ones(decoder: Path):
    model = opened(decoder)
    assert padding_cosine(model, TEXTS) > 0.999 and lost_ends(model, TEXTS) is None


def test_a_model_that_adds_positions_is_padded_on_the_right_and_noticed_where_it_is_not(tmp_path: Path):
    model = opened(make_decoder(tmp_path, "gpt2"))
    assert model.tokenizer.padding_side == "right"
    model.tokenizer.padding_side = "left"
    said = lost_ends(model, TEXTS)
    assert said is not None and "Pad on the right" in said


def test_what_a_tokenizer_puts_before_a_text_stays(tmp_path: Path):
    ids = opened(make_decoder(tmp_path, "gpt2")).tokenizer("a pump")["input_ids"]
    assert ids[0] == 1 and ids[-1] == 2 and ids.count(2) == 1


def test_a_model_whose_texts_do_not_end_is_told_of_with_the_remedy(neox: Path, tmp_path: Path):
    model = opened(neox)
    model.tokenizer.add_eos_token = False
    said = lost_ends(model, TEXTS)
    assert said is not None and "encoder.pooling=lasttoken" in said and said.startswith("10 of 10 texts")
    heard = Listener()
    made = Embedder(local_model("cut", neox), tmp_path, Reporter("mine", Events(listeners=[heard])), lambda _: model)
    made.documents(TEXTS)
    assert any("do not end in the end-of-text token" in message for message in heard.messages("warning"))


def test_a_model_without_an_end_token_is_refused(neox: Path, tmp_path: Path):
    import json
    import shutil

    from hfembed.errors import ModelError

    shutil.copytree(neox, tmp_path / "endless")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = tmp_path / "endless" / name
        values = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**values, "eos_token": None}), encoding="utf-8")
    with pytest.raises(ModelError, match="no end-of-text token"):
        opened(tmp_path / "endless")


# What a plain language model becomes


def test_it_takes_the_last_tokens_vector_as_it_is_and_compares_by_dot_product(decoder: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    assert is_decoder(decoder)
    model = opened(decoder)
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling"] and keeps_lengths(model)
    vectors = encode(model, TEXTS, Role.DOCUMENT, Precision.FP32)
    assert not of_unit_length(vectors)
    write_model(model, tmp_path / "saved")
    saved = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert saved.similarity_fn_name == "dot" and saved.prompts == model.prompts and not is_decoder(tmp_path / "saved")
    assert np.allclose(saved.encode_document(TEXTS), vectors, atol=1e-5)
    hidden = model[0](model.tokenize(["Represent this passage\npassage: a pump"]))["token_embeddings"][0]
    assert np.allclose(hidden[-1].detach().numpy(), vectors[0], atol=1e-5)


def test_the_instruction_stands_before_queries_and_nowhere_else(neox: Path, tmp_path: Path):
    model = opened(neox, instruction="Find the part")
    query, document = encode(model, ["a pump"], Role.QUERY, Precision.FP32), model.encode_document(["a pump"])
    assert np.allclose(query, model.encode(["Find the part\nQuery: a pump"]), atol=1e-5)
    assert np.allclose(document, model.encode(["Represent this passage\npassage: a pump"]), atol=1e-5)
    other = opened(neox, instruction="Find something else")
    assert np.allclose(other.encode_document(["a pump"]), document, atol=1e-5)
    assert not np.allclose(other.encode_query(["a pump"]), query, atol=1e-3)


def test_an_encoder_is_no_decoder_and_stays_what_it_was(tiny_model: Path):
    assert not is_decoder(tiny_model)
    model = opened(tiny_model)
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling", "Normalize"]
    assert not keeps_lengths(model) and lost_ends(model, TEXTS) is None


def test_an_encoder_that_closes_its_texts_needs_no_other_end(tiny_model: Path):
    model = opened(tiny_model, pooling=TokenPooling.LAST)
    assert lost_ends(model, TEXTS) is None and set(last_tokens(model, TEXTS)) == {model.tokenizer.sep_token_id}
    assert model.tokenizer("a pump")["input_ids"] == opened(tiny_model).tokenizer("a pump")["input_ids"]


def test_a_recipe_changes_how_any_base_is_used(tiny_model: Path):
    wanted = Encoder(
        pooling=TokenPooling.CLS, normalize=False, similarity=Similarity.DOT, max_length=16,
        instruction="Find it", query_prompt="{instruction}: ", document_prompt="",
    )  # fmt: skip
    model = open_encoder(tiny_model, wanted).to("cpu")
    assert keeps_lengths(model) and model.max_seq_length == 16 and model.prompts["query"] == "Find it: "
    first = model[0](model.tokenize(["a pump"]))["token_embeddings"][0, 0]
    assert np.allclose(encode(model, ["a pump"], Role.DOCUMENT, Precision.FP32)[0], first.detach().numpy(), atol=1e-5)
    scaled = open_encoder(tiny_model, Encoder(pooling=TokenPooling.CLS)).to("cpu")
    assert of_unit_length(encode(scaled, TEXTS, Role.DOCUMENT, Precision.FP32))


def test_a_base_used_in_another_way_is_another_model_to_the_run(tiny_model: Path):
    def source(*settings: str) -> Any:
        return Sources(make_recipe(settings=settings, options={"base": str(tiny_model)})).base

    plain, told = source(), source("encoder.instruction=Find it", "encoder.query_prompt='{instruction} '")
    assert plain == local_model(plain.name, plain.path) and "encoder" not in plain.to_json()
    assert told.fingerprint != plain.fingerprint and told.to_json()["encoder"]["instruction"] == "Find it"
    assert load_model(told).prompts["query"] == "Find it "


def test_an_unknown_pooling_is_answered_with_the_known_ones():
    with pytest.raises(RecipeError, match="'mean', 'cls' or 'lasttoken'"):
        make_recipe(settings=["encoder.pooling=last"])


# Lengths


class Scaled:
    """A model of two documents: the one that points the way of the query is short."""

    def __init__(self, similarity: str) -> None:
        import torch

        self.device, self.similarity_fn_name = torch.device("cpu"), similarity

    def __iter__(self) -> Any:
        return iter(())

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        import torch

        return torch.tensor([[2.0, 0.0]] * len(texts))

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        import torch

        return torch.tensor([{"near": [1.0, 0.0], "long": [6.0, 6.0]}[text] for text in texts])


def test_by_dot_product_a_long_vector_comes_first_and_by_cosine_the_near_one(tmp_path: Path):
    first = {}
    for similarity in ("dot", "cosine"):
        model: Any = Scaled(similarity)
        made = Embedder(local_model_of(similarity, tmp_path), tmp_path / "store", load=lambda _, model=model: model)
        documents = np.asarray(made.documents(["near", "long"]))
        first[similarity] = int(top_documents(np.asarray(made.queries(["q"])), documents, 1)[0, 0])
        assert of_unit_length(documents) == (similarity == "cosine")
    assert first == {"dot": 1, "cosine": 0}


def local_model_of(name: str, folder: Path) -> Any:
    from hfembed.hub import ModelSource

    return ModelSource(name, folder, None, name)


def some_pairs(length: float) -> tuple[Pairs, Any, Any]:
    draw = np.random.default_rng(0)
    documents = unit(draw.normal(size=(40, 8)).astype(np.float32))
    queries = unit(documents + 0.5 * draw.normal(size=documents.shape).astype(np.float32))
    lengths = 1.0 if length == 1.0 else draw.uniform(1, length, size=(40, 1))
    documents, queries = (documents * lengths).astype(np.float32), (queries * length).astype(np.float32)
    rows = np.arange(40)
    kinds = np.array(["title"] * 40)
    return Pairs(queries, rows, kinds, rows[:, None], rows[:, None], np.ones(40, np.float32)), documents, rows


def test_a_map_leaves_lengths_alone_where_they_count_and_learns_all_the_same():
    from hfembed.recipe import Phase

    moved = Map(np.eye(2, dtype=np.float32), 0.5)
    assert np.allclose(moved.apply(np.array([[3.0, 0.0], [0.0, 5.0]], np.float32)), [[4.5, 0], [0, 7.5]])
    assert np.allclose(moved.apply(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)), [[1, 0], [0, 1]])
    for length in (1.0, 30.0):
        pairs, documents, groups = some_pairs(length)
        learned, losses = learn_map(pairs, documents, groups, [Phase(steps=200, learning_rate=1e-2, batch_size=32)], 1)
        assert np.mean(losses[-40:]) < 0.9 * np.mean(losses[:40]) and np.isfinite(learned.weights).all()


# Losses


def features(model: Any, *columns: list[str]) -> list[Any]:
    return [model.tokenize(texts) for texts in columns]


def test_a_loss_compares_by_dot_product_where_the_model_does(neox: Path):
    import torch

    from hfembed.recipe import Tuning

    model = opened(neox).eval()
    queries, documents, others = ["pump", "valve"], ["the pump leaks", "a valve"], ["hinge", "fuse"]
    vectors = [torch.tensor(model.encode(texts)) for texts in (queries, documents, others)]
    everything = vectors[0] @ torch.cat(vectors[1:]).T
    wanted = torch.nn.functional.cross_entropy(everything, torch.arange(2))
    for more in ({}, {"mini_batch": 1}):
        loss = make_loss(model, Tuning(method="full", temperature=1.0, **more), None, {}, 1)
        assert float(loss(features(model, queries, documents, others), None)) == pytest.approx(float(wanted), rel=1e-3)
    own = torch.stack([(vectors[0] * part).sum(1) for part in vectors[1:]], dim=1)
    alone = torch.nn.functional.cross_entropy(own, torch.zeros(2, dtype=torch.long))
    grouped = GroupedInfoNCELoss(model, 1.0)(features(model, queries, documents, others))
    assert float(grouped) == pytest.approx(float(alone), rel=1e-3)


@pytest.mark.parametrize("more", [{"loss": "gist"}, {"dimensions": [8]}, {"loss": "late_interaction"}])
def test_what_knows_cosine_alone_is_refused_for_a_model_that_compares_otherwise(neox: Path, more: dict[str, Any]):
    from hfembed.recipe import Tuning

    with pytest.raises(StageError, match="by cosine; the model compares by dot product") as refused:
        make_loss(opened(neox), Tuning(method="full", **more), opened(neox), {"query": ["a"], "positive": ["b"]}, 1)
    assert "encoder.normalize=true" in refused.value.hint


def test_the_defaults_of_a_language_model_are_those_of_the_preset():
    assert make_recipe("bmretriever").encoder == DECODER


@pytest.mark.parametrize("kind", ["MPNet", "Roberta"])
def test_a_text_longer_than_the_positions_is_cut_by_the_config_and_not_by_an_index_error(
    kind: str, tiny_model: Path, tmp_path: Path
):
    import transformers
    from sentence_transformers import SentenceTransformer, models

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=1_000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=42,
    )  # fmt: skip
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / "bare")
    for file in tiny_model.glob("*token*"):
        (tmp_path / "bare" / file.name).write_bytes(file.read_bytes())
    folder = tmp_path / "model"
    SentenceTransformer(modules=[models.Transformer(str(tmp_path / "bare")), models.Pooling(32)]).save(str(folder))
    model = open_encoder(folder, Encoder(max_length=512))
    assert positions_of(model) == model.max_seq_length == 40
    assert model.encode("valve pump " * 300).shape == (32,)


def test_a_published_model_has_its_recipe_beside_it_and_a_run_its_model_below(tiny_model: Path, tmp_path: Path):
    import shutil

    recipe = make_recipe(options={"corpus": "sample", "base": str(tiny_model)}).to_yaml()
    published, run = tmp_path / "published", tmp_path / "run"
    shutil.copytree(tiny_model, published)
    (published / "recipe.yaml").write_text(recipe, encoding="utf-8")
    run.mkdir()
    (run / "recipe.yaml").write_text(recipe, encoding="utf-8")
    with pytest.raises(ModelError, match="has no model yet"):
        locate_encoder(str(run))
    shutil.copytree(tiny_model, run / "model")
    found = {name: locate_encoder(str(tmp_path / name)) for name in ("published", "run")}
    assert {name: source.path.name for name, source in found.items()} == {"published": "published", "run": "model"}
    assert [source.name for source in found.values()] == ["published", "run"]
    assert locate_encoder(str(run / "recipe.yaml")).path == tiny_model
    assert model_folder(published) == published and model_folder(run) == run / "model"
