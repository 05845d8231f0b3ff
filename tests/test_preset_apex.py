"""apex: tiny models go through the whole preset, from pull to the Hub, with maps by rules and by a language model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import Listener, some_documents, write_beir
from decoders import make_decoder
from huggingface_hub import HfApi, constants
from llm_process import KEY, llm_server, only
from told import serve_hub

from hfembed import pipeline
from hfembed.corpus import Documents
from hfembed.embed import Embedder, load_model
from hfembed.errors import RecipeError, StageError
from hfembed.evaluate.collection import Collection
from hfembed.generate.maps import MapForm
from hfembed.hub import local_model
from hfembed.maps import Maps
from hfembed.recipe import TrainMethod, Tuning, load_preset, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import Sources
from hfembed.train.lora import add_adapters, refuse_without_gpu, settle
from hfembed.train.part import split_parts
from hfembed.train.preconvergence import Rule
from hfembed.train.rows import read_rows

pytestmark = pytest.mark.xdist_group("train")

# A tiny model with random weights learns little in so few steps, and finds everything alike, so that no cap leaves
# anything; what is looked at is how, not how much.
SMALL = (
    "train.phases.0.steps=4", "train.phases.0.batch_size=4", "train.phases.0.learning_rate=0.001",
    "train.phases.0.stop.looks=2", "train.phases.0.stop.preconvergence.pilot_steps=4", "train.phases.0.stop.forgetting=null",
    "generate.max_train_queries=60", "generate.max_dev_queries=24", "generate.max_test_queries=24",
    "generate.filters.duplicates=1", "mine.cap.type=none", "evaluate.bootstrap=100", "export.sample=16", "export.max_ndcg_loss=1", 'export.variants=["fp32"]',
)  # fmt: skip
ALL = ["pull", "generate", "mine", "train", "evaluate", "export"]


@dataclass(frozen=True)
class Done:
    """A run of the preset, and all that it said."""

    run: Run
    heard: Listener

    def facts(self, stage: str) -> dict[str, Any]:
        return pipeline.manifests(self.run)[stage].facts

    def maps(self) -> Maps:
        return Maps.read(self.run.path(LAYOUT.maps))


def go(folder: Path, base: Path, *settings: str) -> Done:
    heard, run = Listener(), Run(folder / "run")
    options = {"corpus": str(write_beir(folder / "beir", some_documents(40))), "base": str(base)}
    assert pipeline.run(make_recipe("apex", None, [*SMALL, *settings], options), run, listeners=[heard]) == ALL
    return Done(run, heard)


@pytest.fixture(scope="module")
def by_rules(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A decoder, of the kind that the preset is made for."""
    folder = tmp_path_factory.mktemp("rules")
    return go(folder, make_decoder(folder / "llama", "llama"))


@pytest.fixture(scope="module")
def by_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Done]:
    """An encoder, with queries and maps by a language model."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch, llm_server(folder / "server") as server:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("OPENAI_API_KEY", KEY)
        yield go(folder, tiny_model, *server.settings(only(question=2, keyword=2)))


@pytest.fixture(params=["by_rules", "by_model"])
def done(request: pytest.FixtureRequest) -> Done:
    found: Done = request.getfixturevalue(request.param)
    return found


# From pull to the Hub


def test_what_comes_out_is_a_plain_model_that_changed_and_an_onnx_file_that_gives_its_vectors(done: Done):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(done.run.path(LAYOUT.model)), device="cpu")
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling", "Normalize"]
    assert model.similarity_fn_name == "cosine"
    assert not any("lora" in name for name in model.state_dict())
    before = SentenceTransformer(str(done.run.recipe().base), device="cpu")[0].auto_model.state_dict()
    after = model[0].auto_model.state_dict()
    assert before.keys() == after.keys() and any(not np.array_equal(before[name], after[name]) for name in before)
    written = json.loads(done.run.path(LAYOUT.onnx_report).read_text(encoding="utf-8"))
    assert written["files"][0]["max_cosine_distance"] < 1e-4


def test_both_repos_are_on_the_hub(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serve_hub(tmp_path / "hub", monkeypatch) as (_, api):
        repos = {"push.model_repo": "demo/apex", "push.dataset_repo": "demo/apex-triplets"}
        values = done.run.recipe().model_dump(mode="json")
        recipe = make_recipe("apex", None, [], {**{key: values[key] for key in ("corpus", "base")}, **repos})
        told = done.run.recipe().model_copy(update={"push": recipe.push})
        assert pipeline.run(told, done.run) == ["push"]
        names = {sibling.rfilename for sibling in HfApi(api.endpoint).model_info("demo/apex", token=api.token).siblings}
        assert {"README.md", "model.safetensors", "onnx/model.onnx"} <= names
        card = Path(api.hf_hub_download("demo/apex", "README.md")).read_text(encoding="utf-8")
        assert "view entity_map" in card and "before all is learned" in card
        assert "The right document comes first (hit@1" in card and "on entity maps, which nobody searches" in card


# Maps


def test_maps_hold_nothing_that_is_not_in_their_text_and_parse_back(done: Done):
    documents, maps = Documents.read(done.run.path(LAYOUT.documents)), done.maps()
    texts = dict(zip(documents.ids, documents.texts(), strict=True))
    assert set(maps.documents) == set(texts) and len(maps.queries) > 40
    for identity, text in [*maps.documents.items(), *maps.queries.items()]:
        form = MapForm.parse(text)
        assert form.text() == text and form.entities
        source = " ".join(texts.get(identity, identity).split())
        assert all(entity in source for entity in form.entities)
        assert {end for head, _, tail in form.relations for end in (head, tail)} <= {*form.entities, "?"}
    told = done.facts("generate")["entity_maps"]
    assert told["documents"] == 40 and told["empty"] == 0 and told["queries"] == len(maps.queries)


def test_a_language_model_is_asked_for_maps_where_it_writes_the_queries(by_rules: Done, by_model: Done):
    written, ruled = (done.facts("generate")["entity_maps"] for done in (by_model, by_rules))
    assert ruled["by"] == "rules" and ruled["verbatim"] == 1 and ruled["lost_numbers"] <= 0.05
    assert 0.4 <= ruled["length"] <= 0.85
    assert written["by"] == "llm" and written["writer"] == "scripted" and written["verbatim"] < 1
    assert written["cost"] > 0 and written["dropped"]["entity_not_in_source"] == 40
    assert any("?" in text for text in by_model.maps().queries.values())
    assert not any("Atlantis" in text for text in by_model.maps().documents.values())


# Mining, training, evaluation


def test_negatives_are_balanced_by_what_the_base_makes_of_the_maps(done: Done):
    told = done.facts("mine")
    sampler = told["sampler"]
    assert told["view"] == "entity_map" and 0.4 <= sampler["near_share"] <= 0.6
    table = pq.read_table(done.run.path(LAYOUT.train))
    asked = {row["query"]: [row[f"negative_{at}_id"] for at in range(1, 5)] for row in table.to_pylist()}
    used = np.unique(np.concatenate(list(asked.values())), return_counts=True)[1]
    assert used.max() <= sampler["usage_cap"] == int(np.ceil(1.5 * 4 * len(asked) / 40))
    assert sampler["most_used"] <= sampler["usage_cap"]
    row, maps = table.to_pylist()[0], done.maps()
    base = Embedder(Sources(done.run.recipe()).base, done.run.path(LAYOUT.embeddings))
    query, document = base.queries([maps.queries[row["query"]]]), base.documents([maps.documents[row["positive_id"]]])
    assert row["score_positive"] == pytest.approx(float((query * document).sum()), abs=1e-3)


def test_rows_are_learned_from_as_maps_and_the_test_stays_plain(done: Done):
    phase = done.run.recipe().train.phases[0]
    assert isinstance(phase, Tuning)
    documents, maps = Documents.read(done.run.path(LAYOUT.documents)), done.maps()
    rows = read_rows(done.run.path(LAYOUT.train), documents, phase, maps, seed=42)
    assert all(rows.mapped) and set(rows.positives) <= set(maps.documents.values())
    assert set(rows.queries) <= set(maps.queries.values())
    assert {text for texts in rows.negatives for text in texts} <= set(maps.documents.values())
    half = read_rows(
        done.run.path(LAYOUT.train), documents, phase.model_copy(update={"view_share": 0.5}), maps, seed=42
    )
    assert 0.25 < np.mean(half.mapped) < 0.75
    for at, mapped in enumerate(half.mapped):  # a row shows one view alone
        assert (half.queries[at] in maps.queries) is not mapped or half.queries[at] == maps.queries[half.queries[at]]
        assert (half.positives[at] in maps.documents.values()) is mapped
    collection = Collection.read(done.run.path(LAYOUT.test), "test")
    assert not set(collection.corpus.values()) & set(maps.documents.values())
    assert set(collection.queries.values()) <= set(maps.queries)


def test_the_report_has_hit_at_1_of_both_views_and_the_verdict_is_on_plain_texts(done: Done):
    report = json.loads(done.run.path(LAYOUT.report).read_text(encoding="utf-8"))
    views = report["views"]
    assert set(views) == {"plain", "entity_map"}
    for name in ("base", "tuned"):
        assert views["plain"][name] == pytest.approx(report["metrics"]["hit@1"][name], abs=1e-5)
        low, high = views["plain"]["ci"][name]
        assert low <= views["plain"][name] <= high
    assert views["plain"]["delta"] == pytest.approx(report["metrics"]["hit@1"]["delta"], abs=2e-5)
    assert any(message.startswith("hit@1 on plain texts base") for message in done.heard.messages("note"))


def test_the_manifest_tells_how_the_phase_ended_and_what_a_full_one_would_have_had(done: Done):
    (phase,) = done.facts("train")["phases"]
    ending = phase["ending"]
    assert phase["method"] == "lora" and phase["view"] == "entity_map" and phase["mapped_rows"] == 1
    assert ending["planned_steps"] == 4 and ending["rule"] in (None, *map(str, Rule))
    looks = {look["step"]: look for look in phase["looks"]}
    assert {"hit@1_plain", "hit@1_entity_map"} <= set(looks[0]) and ending["kept_step"] in looks
    best = max(look["hit@1_plain"] for step, look in looks.items() if step)
    assert looks[ending["kept_step"]]["hit@1_plain"] == best
    assert ending["step"] == max(looks) and phase["pilot"]["steps"] <= 4
    assert phase["pilot"]["lowest"] <= phase["pilot"]["first"]
    assert any("4 bits this machine lacks" in message for message in done.heard.messages("note"))


# Parts of it


def test_adapters_are_of_rank_8_and_alpha_16_on_attention_alone(by_rules: Done, tiny_model: Path):
    phase = make_recipe("apex").train.phases[0]
    assert isinstance(phase, Tuning)
    for base, width in ((Path(by_rules.run.recipe().base), 32), (tiny_model, 32)):
        model = load_model(local_model("base", base))
        adapted = add_adapters(model, phase)
        layers, projections = 2, 4
        learning = sum(weight.numel() for name, weight in model.named_parameters() if "lora" in name)
        assert learning == layers * projections * 8 * (width + width)
        config = adapted.peft_config["default"]
        assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 16, 0.05)


def test_weights_of_4_bits_are_a_matter_of_the_machine_unless_asked_for_by_name(monkeypatch: pytest.MonkeyPatch):
    phase = make_recipe("apex").train.phases[0]
    assert isinstance(phase, Tuning)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settled, told = settle(phase)
    assert settled.method is TrainMethod.LORA and told is not None and "a GPU" in told
    always = phase.model_copy(update={"lora": phase.lora.model_copy(update={"quantize": True})})
    assert settle(always)[0].method is TrainMethod.QLORA  # which refuses by itself
    with pytest.raises(StageError, match="qlora needs a GPU"):
        refuse_without_gpu()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("hfembed.train.lora.find_spec", lambda name: object())
    settled, told = settle(phase)
    assert settled.method is TrainMethod.QLORA and settled.peak() == 2e-5 and told is not None and "4 bits" in told
    assert [len(part) for part in split_parts([phase, phase])] == [1, 1]  # each reads its base from a folder


def test_a_view_that_nobody_makes_is_refused():
    with pytest.raises(RecipeError, match="nobody makes entity maps"):
        make_recipe(settings=["mine.view=entity_map"])
    with pytest.raises(RecipeError, match="no language model is named"):
        make_recipe("apex", settings=["generate.entity_maps.by=llm"])


def test_the_preset_says_what_it_is_from_and_what_is_done_otherwise():
    said = "\n".join(load_preset("apex").explain("apex"))
    assert "2410.18105" in said and "GPT-4o" in said and "Takes" in said and "Needs" in said
