"""bmretriever: a tiny language model goes through the whole preset, and what comes out is a plain encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import Listener, job_for, keep_documents, recipe_for, some_documents, write_beir
from decoders import make_decoder
from told import open_hub

from hfembed import pipeline
from hfembed.encoder import last_tokens
from hfembed.evaluate.collection import Collection
from hfembed.evaluate.hubs import Hubs, measure_hubs
from hfembed.evaluate.instruction import Heard
from hfembed.generate.filters import filter_queries
from hfembed.generate.query import Query, Split
from hfembed.push.facts import run_facts
from hfembed.push.preview import preview_push
from hfembed.recipe import QueryKind, TrainMethod, Tuning, load_preset, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import locate_encoder

pytestmark = pytest.mark.xdist_group("train")

# A tiny model with random weights learns little in so few steps; what is looked at is how, not how much.
SMALL = (
    "generate.filters.round_trip.dense_rank=30", "train.phases.0.steps=3", "train.phases.0.batch_size=8",
    "train.phases.0.mini_batch=4", "train.phases.1.steps=3", "train.phases.1.batch_size=8",
    "train.phases.1.mini_batch=4", "train.phases.0.stop.looks=1", "train.phases.1.stop.looks=1",
    "evaluate.bootstrap=100", "export.sample=16", "export.max_ndcg_loss=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def neox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_decoder(tmp_path_factory.mktemp("neox"), "gpt_neox")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, neox: Path, tiny_model: Path) -> tuple[Run, Listener]:
    """Run the preset from pull to export."""
    folder = tmp_path_factory.mktemp("run")
    heard = Listener()
    options = {
        "corpus": str(write_beir(folder / "beir", some_documents(40))), "base": str(neox),
        "mine.retriever": str(tiny_model), "generate.filters.retriever": str(tiny_model),
    }  # fmt: skip
    run = Run(folder / "run")
    made = pipeline.run(make_recipe("bmretriever", settings=SMALL, options=options), run, listeners=[heard])
    assert made == ["pull", "generate", "mine", "train", "evaluate", "export"]
    return run, heard


def facts(run: Run, stage: str) -> dict[str, Any]:
    return pipeline.manifests(run)[stage].facts


def test_what_comes_out_is_a_plain_encoder_with_its_ending_pooling_similarity_and_prompts(
    done: tuple[Run, Listener], neox: Path
):
    from sentence_transformers import SentenceTransformer

    run, _ = done
    model = SentenceTransformer(str(run.path(LAYOUT.model)), device="cpu")
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling"]
    assert model.similarity_fn_name == "dot" and model[1].pooling_mode == "lasttoken"
    assert model.prompts["query"].endswith("\nQuery: ") and model.prompts["document"].endswith("\npassage: ")
    texts = ["a pump", "valve " * 300]
    assert set(last_tokens(model, texts)) == {model.tokenizer.eos_token_id}
    assert np.ptp(np.linalg.norm(model.encode(texts), axis=1)) >= 0 and not np.allclose(
        np.linalg.norm(model.encode(texts), axis=1), 1, atol=1e-2
    )
    before = SentenceTransformer(str(neox), device="cpu")[0].auto_model.state_dict()
    after = model[0].auto_model.state_dict()
    assert before.keys() == after.keys() and any(not np.array_equal(before[name], after[name]) for name in before)


def test_the_first_phase_learns_from_pairs_alone_and_the_second_with_one_drawn_negative(done: tuple[Run, Listener]):
    run, _ = done
    kinds = {row["kind"] for row in pq.read_table(run.path(LAYOUT.train)).to_pylist()}
    assert {"title", "span"} <= kinds and {"question", "keyword"} & kinds and "sentence" not in kinds
    columns = pq.read_table(run.path(LAYOUT.train)).column_names
    assert "negative_1" in columns and "negative_2" not in columns
    first, second = facts(run, "train")["phases"]
    assert first["rows"] < len(pq.read_table(run.path(LAYOUT.train))) and first["rows"] != second["rows"]
    phases = [phase for phase in run.recipe().train.phases if isinstance(phase, Tuning)]
    assert [(phase.negatives, phase.in_batch, phase.temperature) for phase in phases] == [(0, True, 1), (1, True, 1)]
    assert facts(run, "mine")["sampler"]["type"] == "random" and facts(run, "mine")["cap"]["cut"] == 0


def test_queries_carry_the_instruction_through_every_stage_and_passages_do_not(done: tuple[Run, Listener]):
    run, _ = done
    said = run.recipe().encoder.instruction
    assert said is not None
    prompts = facts(run, "train")["prompts"]
    assert prompts["query"] == f"{said}\nQuery: " and said not in prompts["document"]
    assert pipeline.manifests(run)["evaluate"].sources["base"]["encoder"]["instruction"] == said
    config = json.loads((run.path(LAYOUT.model) / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    assert config["prompts"]["query"] == prompts["query"]


def test_titles_stand_in_no_passage_and_spans_share_no_word_place(done: tuple[Run, Listener]):
    run, _ = done
    for row in pq.read_table(run.path(LAYOUT.train)).to_pylist():
        if row["kind"] == "title":
            assert row["query"] not in row["positive"]
        if row["kind"] == "span":
            assert row["query"] not in row["positive"] and row["positive"] not in row["query"]


def test_candidates_and_the_round_trip_come_from_the_retriever_that_is_named(done: tuple[Run, Listener]):
    run, heard = done
    manifests = pipeline.manifests(run)
    assert manifests["generate"].sources["checker"] == manifests["mine"].sources["miner"]
    assert "base" not in manifests["generate"].sources
    (kept,) = [event for event in heard if "the round trip keeps" in event.message]
    ranks = kept.data["round_trip"]
    assert sum(ranks["ranks"].values()) == ranks["checked"] >= ranks["kept"] > 0


def test_the_report_tells_lengths_hubs_and_whether_the_instruction_is_heard(done: tuple[Run, Listener]):
    run, _ = done
    report = json.loads(run.path(LAYOUT.report).read_text(encoding="utf-8"))
    assert {"base", "tuned"} == set(report["hubs"]) and report["hubs"]["tuned"]["cv"] > 0
    assert set(report["instruction"]) == {"own", "wrong", "none"}


def test_an_onnx_file_is_written_that_gives_the_same_vectors(done: tuple[Run, Listener]):
    run, _ = done
    written = json.loads(run.path(LAYOUT.onnx_report).read_text(encoding="utf-8"))
    assert [row["variant"] for row in written["files"]][:1] == ["fp32"], written
    assert written["files"][0]["max_cosine_distance"] < 1e-4


def test_the_cards_say_how_vectors_are_compared_what_stands_before_texts_and_who_found_the_negatives(
    done: tuple[Run, Listener], tiny_model: Path
):
    run, _ = done
    repos = {"model_repo": "me/model", "dataset_repo": "me/triplets"}
    recipe = run.recipe()
    told = recipe.model_copy(update={"push": recipe.push.model_copy(update=repos)})
    preview = preview_push(run_facts(run).under(told), ask_hub=False)
    model, dataset = preview.of("model"), preview.of("dataset")
    assert model is not None and dataset is not None
    assert "whose dot product says" in model.text and '"normalize": false' in model.text
    assert f"by the scores of `{tiny_model.name}`" in model.text and f"those of `{tiny_model.name}`" in dataset.text
    assert f"query `{recipe.encoder.instruction}\\nQuery: `" in model.text
    assert "*span* is a passage of the document" in model.text or "*title* is the document's title" in model.text
    assert str(tiny_model) not in model.card + dataset.card  # a path of this machine


def test_what_was_pushed_answers_from_the_hub_as_the_run_does(
    done: tuple[Run, Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from sentence_transformers import SentenceTransformer

    run, _ = done
    with open_hub(tmp_path / "hub", monkeypatch) as api:
        recipe = run.recipe()
        repos = {"model_repo": "demo/bmr", "dataset_repo": "demo/bmr-triplets"}
        told = recipe.model_copy(update={"push": recipe.push.model_copy(update=repos)})
        assert pipeline.run(told, run) == ["push"]
        names = {sibling.rfilename for sibling in api.model_info("demo/bmr").siblings}
        assert {"README.md", "model.safetensors", "onnx/model.onnx", "recipe.yaml"} <= names
        assert api.dataset_info("demo/bmr-triplets").sha
        published = SentenceTransformer("demo/bmr", device="cpu", token=api.token)
    local = SentenceTransformer(str(run.path(LAYOUT.model)), device="cpu")
    for role in ("query", "document"):
        texts = ["a leaking pump", "valve " * 40]
        assert np.allclose(published.encode(texts, prompt_name=role), local.encode(texts, prompt_name=role), atol=1e-5)


def test_compare_asks_the_base_as_the_run_did(done: tuple[Run, Listener]):
    from hfembed.compare import Library, read_contenders

    run, _ = done
    library = Library()
    base, tuned = read_contenders(["base", "tuned"], str(run.folder))
    assert base.model is not None and tuned.model is not None
    mined = pipeline.manifests(run)["mine"].sources["base"]["fingerprint"]
    assert library.source(base.model).fingerprint == locate_encoder(base.model).fingerprint == mined
    assert locate_encoder(run.recipe().base).fingerprint != mined  # the bare folder is another model
    corpus = library.corpus(str(run.folder))
    found = library.search(tuned, corpus, ["the pump of unit 0 leaks"], 3)[0]
    assert len(found.rows) == 3 and found.scores[0] > 1  # no cosine


# Parts of it


def test_a_large_base_gets_adapters_and_a_small_one_learns_as_a_whole():
    first, second = [phase for phase in make_recipe("bmretriever").train.phases if isinstance(phase, Tuning)]
    assert first.suited_to(410_000_000) == first and first.method is TrainMethod.FULL
    large = [phase.suited_to(2_000_000_000) for phase in (first, second)]
    assert [phase.method for phase in large] == [TrainMethod.LORA] * 2
    assert [phase.peak() for phase in (first, second, *large)] == [2e-5, 1e-5, 1e-4, 5e-5]
    assert (large[0].lora.rank, large[0].lora.alpha) == (16, 32)
    assert Tuning(method="full").suited_to(10**12).method is TrainMethod.FULL


def test_the_round_trip_drops_a_planted_wrong_pair(tmp_path: Path, minilm: Path):
    texts = ["Sourdough needs flour, water and time.", "A gear pump leaks where its seal is worn.",
             "Violins are tuned in fifths.", "Alpine glaciers lose ice every summer."]  # fmt: skip
    run = Run(tmp_path)
    documents = keep_documents(run, [{"id": f"d{at}", "text": text} for at, text in enumerate(texts)])
    settings = ("generate.filters.round_trip.enabled=true", f"generate.filters.retriever={minilm}")
    job = job_for(run, recipe_for("unused", *settings, base=tmp_path / "nothing"), "generate")
    asked = [("how is bread dough made", 0), ("why does a pump leak", 1), ("how are violins tuned", 2),
             ("why do glaciers lose ice", 0)]  # fmt: skip
    queries = [Query(text, QueryKind.QUESTION, (row,), Split.TRAIN, writer="model") for text, row in asked]
    kept, dropped = filter_queries(job, queries, documents)
    assert [query.text for query in kept] == [text for text, _ in asked[:3]] and dropped["not_found_by_base"] == 1


def test_a_document_that_comes_first_for_everything_is_told_of_with_the_remedy():
    documents = {f"d{at}": f"text {at}" for at in range(400)}
    queries = {f"q{at}": "?" for at in range(60)}
    collection = Collection("made", documents, queries, {}, {name: {"d1": 1} for name in queries})
    draw = np.random.default_rng(0)

    class Long:
        def documents(self, texts: list[str]) -> Any:
            return draw.normal(size=(400, 4)).astype(np.float32) * np.where(np.arange(400) == 0, 40, 1)[:, None]

    def rankings(hub: bool) -> dict[str, dict[str, float]]:
        found = {name: {f"d{at}": float(at) for at in draw.choice(np.arange(1, 400), 10)} for name in queries}
        return {name: {**own, "d0": 1e3} if hub else own for name, own in found.items()}

    hubs = measure_hubs(collection, Long(), rankings(hub=True))  # type: ignore[arg-type]
    assert hubs is not None and hubs.share == 1 and hubs.ratio > 3
    said = " ".join(hubs.warnings())
    assert "One document is among the 10 best of 100% of the queries" in said and "encoder.normalize=true" in said
    assert list(Hubs(cv=0.1, ratio=1.5, share=0.08, chance=0.025, skewness=1.0).warnings()) == []


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (Heard(own=0.5, wrong=0.5, none=0.5005), "The instruction is not heard"),
        (Heard(own=0.5, wrong=0.45, none=0.3), "Without its instruction the model loses 0.20"),
        (Heard(own=0.5, wrong=0.45, none=0.48), ""),
    ],
)
def test_an_instruction_that_is_ignored_or_cannot_be_done_without_is_told_of(heard: Heard, words: str):
    said = " ".join(heard.warnings())
    assert (words in said) if words else not said


def test_vectors_of_one_length_have_no_hubs_to_speak_of():
    class Even:
        def documents(self, texts: list[str]) -> Any:
            return np.eye(4, dtype=np.float32)

    collection = Collection("made", dict.fromkeys("abcd", "t"), {"q": "?"}, {}, {"q": {"a": 1}})
    assert measure_hubs(collection, Even(), {"q": {"a": 1.0}}) is None  # type: ignore[arg-type]


def test_the_preset_says_what_it_is_from_and_what_is_done_otherwise():
    preset = load_preset("bmretriever")
    said = "\n".join(preset.explain("bmretriever"))
    assert "2404.18443" in said and "instead of E5" in said and "Takes" in said and "Needs" in said
