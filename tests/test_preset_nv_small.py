"""nv-small: mixed queries, two sources of negatives under one cap, two phases, and what a leaderboard asks for."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import FAULTS, PARTS, Listener, job_for, make_telling, write_beir
from huggingface_hub import constants
from llm_process import KEY, llm_server
from test_evaluate_public import Reader, retrieval, sts
from told import serve_hub, tell_run

from hfembed import pipeline
from hfembed.embed import Precision, Role, encode, load_model, prompt_of
from hfembed.encoder import open_encoder, pools_prompts, tokens_of
from hfembed.errors import ModelError, RecipeError
from hfembed.evaluate.public import score_public
from hfembed.events import Events, Reporter, silent
from hfembed.hub import Published, local_model
from hfembed.push import push
from hfembed.push.facts import run_facts
from hfembed.push.leaderboard import write_leaderboard
from hfembed.push.limits import limitations
from hfembed.push.origins import Origin
from hfembed.push.serving import Serving
from hfembed.recipe import Encoder, Tuning, apply_settings, load_preset, make_recipe
from hfembed.run import LAYOUT, Run, write_json
from hfembed.train.checks import warnings_of_log
from hfembed.train.fold import _encode
from hfembed.train.losses import GroupedInfoNCELoss, make_loss

pytestmark = pytest.mark.xdist_group("train")

SMALL = (
    "generate.filters.duplicates=0.999", "generate.filters.round_trip.dense_rank=30", "encoder.pool_prompt=false",
    "train.phases.0.steps=3", "train.phases.0.batch_size=8", "train.phases.0.mini_batch=4", "train.phases.1.steps=3",
    "train.phases.0.stop.looks=1", "train.phases.1.stop.looks=1", "evaluate.bootstrap=100", "export.sample=16",
    "export.variants=[fp32]", "export.max_ndcg_loss=1",
)  # fmt: skip
TITLED = "Given a search query, retrieve passages that answer it"


def bays(count: int = 40) -> list[dict[str, str]]:
    """Return documents of which some share a telling word, as those of one subject do."""
    return [
        {
            "_id": f"d{at}",
            "title": f"{PARTS[at % 10].title()} of unit {at}",
            "text": f"The {PARTS[at % 10]} of bay{at % 8} {FAULTS[at % 7]} when code{at * 7 + 1000} is due. Technicians "
            f"of line{at % 5} look for token{at * 3} on its label, and note the hours in book{at * 11}.",
        }
        for at in range(count)
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[tuple[Run, list[set[str]]]]:
    """Run the preset from pull to export; what the second phase's loss is given is looked at on the way."""
    folder = tmp_path_factory.mktemp("nv-small")
    given: list[set[str]] = []
    forward = GroupedInfoNCELoss.forward

    def looked(self: Any, features: Any, labels: Any = None) -> Any:
        kept = [dict(feature) for feature in features]
        given.append({f"{at}:{name}" for at, feature in enumerate(kept) for name in feature})
        return forward(self, kept, labels)

    run = Run(folder / "run")
    with llm_server(folder / "server") as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.setattr(GroupedInfoNCELoss, "forward", looked)
        options = {
            "corpus": str(write_beir(folder / "beir", bays())), "generate.llm.model": "scripted",
            "base": str(make_telling(tiny_model, folder / "base")), "generate.llm.endpoint": server.url,
        }  # fmt: skip
        made = pipeline.run(make_recipe("nv-small", settings=SMALL, options=options), run)
    assert made == ["pull", "generate", "mine", "train", "evaluate", "export"]
    yield run, given


def train_rows(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run.path(LAYOUT.train)).to_pylist()
    return rows


def test_queries_are_of_mixed_kinds_and_judged(done: tuple[Run, Any]):
    kinds = Counter(row["kind"] for row in train_rows(done[0]))
    assert {"question", "claim", "keyword", "title"} == set(kinds)
    assert all(row["judge_score"] >= 7 for row in train_rows(done[0]))


def test_a_row_has_the_best_of_bm25_and_the_nearest_all_under_one_cap(done: tuple[Run, Any]):
    miners: Counter[str] = Counter()
    for row in train_rows(done[0]):
        own = [row[f"negative_{at}_miner"] for at in range(1, 5)]
        miners.update(own)
        assert own.count("bm25") <= 1
        for at, miner in enumerate(own, 1):
            if miner != "random":
                assert row[f"score_negative_{at}"] <= row["score_positive"] - 0.05 * abs(row["score_positive"]) + 1e-5
    assert miners["bm25"] and miners["dense"] > miners["bm25"]


def test_the_first_phase_sees_the_batch_and_the_second_its_own_negatives(done: tuple[Run, Any]):
    run, given = done
    phases = [phase for phase in run.recipe().train.phases if isinstance(phase, Tuning)]
    assert [(phase.in_batch, phase.negatives, phase.temperature) for phase in phases] == [
        (True, 4, 0.02),
        (False, 4, 0.02),
    ]
    assert [phase.peak() for phase in phases] == [2e-5, 1e-5]
    assert len(pipeline.manifests(run)["train"].facts["phases"]) == 2
    assert given and all("0:prompt_length" in one and "1:prompt_length" not in one for one in given)


def test_sentence_transformers_loads_it_plain_and_leaves_the_instruction_out_as_the_run_did(done: tuple[Run, Any]):
    from sentence_transformers import SentenceTransformer

    run, _ = done
    folder = run.path(LAYOUT.model)
    plain, ours = SentenceTransformer(str(folder), device="cpu"), load_model(local_model("tuned", folder))
    assert plain.prompts["query"] == f"Instruct: {TITLED}\nQuery: " and not plain.prompts["document"]
    assert not pools_prompts(plain)
    texts = ["why does the pump leak", "valve"]
    assert np.allclose(plain.encode_query(texts), encode(ours, texts, Role.QUERY, Precision.FP32), atol=1e-6)
    plain.set_pooling_include_prompt(True)
    assert not np.allclose(plain.encode_query(texts), encode(ours, texts, Role.QUERY, Precision.FP32), atol=1e-3)
    serving = Serving.read(folder)
    assert serving.plain and not serving.pools_prompts and not serving.inference_server and not serving.javascript
    assert any("left out of the mean" in sentence for sentence in limitations(run_facts(run), serving))


def test_the_onnx_file_leaves_it_out_too(done: tuple[Run, Any]):
    written = json.loads(done[0].path(LAYOUT.onnx_report).read_text(encoding="utf-8"))["files"]
    assert written[0]["variant"] == "fp32" and written[0]["max_cosine_distance"] < 1e-4


def test_what_is_pushed_gives_the_same_vectors(done: tuple[Run, Any], tmp_path: Path):
    run, _ = done
    with pytest.MonkeyPatch.context() as patch, serve_hub(tmp_path / "hub", patch):
        named = ("push.model_repo=demo/small", "push.dataset_repo=demo/small-triplets")
        outcome = push(job_for(run, apply_settings(run.recipe().model_dump(mode="json"), named), "push"))
    assert len(outcome.facts["published"]) == 2 and "leaderboard" not in outcome.facts  # nothing public was scored


# Instructions that are read and not pooled


def test_the_mean_begins_after_the_prompt(tiny_model: Path):
    import torch

    settings = Encoder(query_prompt="Instruct: find it\nQuery: ", pool_prompt=False)
    model = open_encoder(tiny_model, settings)
    features = tokens_of(model, ["a pump leaks"], prompt_of(model, Role.QUERY))
    before = len(model.tokenizer("Instruct: find it\nQuery: ")["input_ids"]) - 1
    assert features["prompt_length"] == before
    with torch.inference_mode():
        tokens = model[0](dict(features))["token_embeddings"][0, before:]
    wanted = torch.nn.functional.normalize(tokens.mean(0), dim=0).numpy()
    assert np.allclose(encode(model, ["a pump leaks"], Role.QUERY, Precision.FP32)[0], wanted, atol=1e-6)


def test_a_fold_sees_each_role_as_it_is_used(tiny_model: Path):
    settings = Encoder(query_prompt="query of a person: ", document_prompt="passage: ", pool_prompt=False)
    model = open_encoder(tiny_model, settings).eval()
    batch = [("a pump", Role.QUERY), ("the valve sticks", Role.DOCUMENT), ("why", Role.QUERY)]
    produced = _encode(model, batch).detach().numpy()
    alone = [encode(model, [text], role, Precision.FP32)[0] for text, role in batch]
    assert np.allclose(produced, alone, atol=1e-5)


def test_only_a_mean_can_leave_a_prompt_out(tiny_model: Path, tmp_path: Path):
    with pytest.raises(RecipeError, match="only a mean can leave tokens out"):
        make_recipe(settings=("encoder.pooling=cls", "encoder.pool_prompt=false"))
    first = open_encoder(tiny_model, Encoder(pooling="cls"))
    first.save_pretrained(str(tmp_path), create_model_card=False)
    with pytest.raises(ModelError, match="pooling is cls"):
        open_encoder(tmp_path, Encoder(pool_prompt=False))


def test_mates_of_a_batch_change_the_loss_of_the_first_phase_and_not_of_the_second(tiny_model: Path):
    import torch

    model = open_encoder(tiny_model, Encoder()).eval()
    first, second = [phase for phase in make_recipe("nv-small").train.phases if isinstance(phase, Tuning)]
    columns = {
        "query": ["a pump", "a valve"],
        "positive": ["it leaks", "it sticks"],
        "negative_1": ["it is red", "it hums"],
    }
    other = {name: [texts[0], "something else altogether"] for name, texts in columns.items()}

    def change(phase: Tuning) -> float:
        loss = make_loss(model, phase.model_copy(update={"mini_batch": None}), None, columns, 1)
        with torch.inference_mode():
            pairs = [[tokens_of(model, texts) for texts in found.values()] for found in (columns, other)]
            alone = (
                [tokens_of(model, texts[1:]) for texts in columns.values()],
                [tokens_of(model, texts[1:]) for texts in other.values()],
            )
            together = [float(loss([dict(part) for part in found], None)) for found in pairs]
            single = [float(loss([dict(part) for part in found], None)) for found in alone]
        # The mean of two rows, less what the changed row has by itself: what is left is the row that stayed.
        return abs((2 * together[0] - single[0]) - (2 * together[1] - single[1]))

    assert change(first) > 0.01 > 1e-4 > change(second)


# What public tasks know already


def learned_from(folder: Path, queries: Sequence[str], passages: Sequence[str]) -> list[Path]:
    file = folder / "train.parquet"
    pq.write_table(pa.table({"query": list(queries), "positive": list(passages)}), file)
    return [file]


def scored(folder: Path, tasks: list[Any], learned: list[Path]) -> tuple[Any, list[str]]:
    heard = Listener()
    report = Reporter("evaluate", Events(listeners=[heard]))
    readers: Any = {"base": Reader("base"), "tuned": Reader("tuned")}
    return score_public(tasks, None, readers, folder / "cache", folder / "out", report, learned), heard.messages(
        "warning"
    )


def test_a_planted_document_of_a_public_task_is_found_and_told(tmp_path: Path):
    learned = learned_from(tmp_path, ["who knows"] * 2, ["The planet VENUS goes round.", "nothing of it"])
    for _ in range(2):  # the second time it is read from where it was kept
        public, (warning,) = scored(tmp_path, [retrieval()], learned)
        assert public.scores[0].seen.to_json() == {"queries": 0.0, "documents": 0.125}
        assert "Planets is contaminated" in warning and "12.5% of the documents" in warning
    assert scored(tmp_path, [retrieval()], learned_from(tmp_path, ["who knows"], ["nothing of it"]))[1] == []


def test_a_task_whose_queries_were_learned_has_no_score(tmp_path: Path):
    learned = learned_from(tmp_path, ["where is mars", "Where is Venus?"], ["a", "b"])
    public, (warning,) = scored(tmp_path, [retrieval()], learned)
    assert not public.scores and public.unscored[0].task == "Planets"
    assert "training saw 25% of its queries" in warning


def test_texts_of_a_task_without_a_search_count_as_well(tmp_path: Path):
    words = "mercury venus earth mars jupiter saturn uranus neptune"
    public, _ = scored(tmp_path, [sts()], learned_from(tmp_path, [words], ["a"]))
    assert not public.scores and public.unscored[0].task == "Alike"


# What a leaderboard asks for


def test_a_submission_is_a_model_that_mteb_imports_and_results_that_it_reads(tiny_model: Path, tmp_path: Path):
    import mteb

    run = tell_run(tmp_path / "run", tiny_model)
    readers: Any = {"base": Reader("base"), "tuned": Reader("tuned")}
    score_public([retrieval()], None, readers, tmp_path / "cache", run.path(LAYOUT.tasks), silent())
    facts = run_facts(run)
    row = {**facts.report["public"]["scores"][0], "task": "Planets", "dataset": "me/planets"}
    told = replace(
        facts,
        report={**facts.report, "public": {"benchmark": None, "scores": [row], "unscored": []}},
        corpus=Origin("me/planets", repo="me/planets"),
    )
    names = write_leaderboard(told, Published("me/small-model", "model", "0123abcd", "url"), tmp_path / "board")
    assert names == ["README.md", "results/me__small-model/0123abcd/Planets.json",
                     "results/me__small-model/0123abcd/model_meta.json", "small_model_models.py"]  # fmt: skip
    meta = runpy.run_path(str(tmp_path / "board" / "small_model_models.py"))["small_model"]
    assert isinstance(meta, mteb.models.ModelMeta)
    assert (meta.name, meta.revision, meta.embed_dim) == ("me/small-model", "0123abcd", 32)
    assert meta.training_datasets == {"Planets"} and meta.is_zero_shot_on(["Planets"]) is False
    assert meta.n_parameters and meta.n_parameters > (meta.n_embedding_parameters or 0) > 0
    cache = mteb.ResultCache(tmp_path / "board")
    assert [(found.name, found.revision) for found in cache._normalize_models()] == [("me/small-model", "0123abcd")]
    result = cache.load_task_result("Planets", meta)
    assert result is not None and result.get_score() == pytest.approx(1.0)
    said = (tmp_path / "board" / "README.md").read_text(encoding="utf-8")
    assert "small_model_models.py" in said and "submit_results" in said


def test_what_training_saw_of_a_task_is_declared_and_stands_on_the_card(tiny_model: Path, tmp_path: Path):
    run = tell_run(tmp_path / "run", tiny_model)
    report = json.loads(run.path(LAYOUT.report).read_text(encoding="utf-8"))
    report["public"]["scores"][0]["seen"] = {"queries": 0.0, "documents": 0.5}
    write_json(run.path(LAYOUT.report), report)
    from hfembed.push.leaderboard import training_datasets

    facts = run_facts(run)
    assert training_datasets(facts) == {report["public"]["scores"][0]["task"]}
    assert any("is no proof" in sentence for sentence in limitations(facts, Serving.read(run.path(LAYOUT.model))))


# What goes wrong in training


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"dev": 0.55, "dev_names": 0.48, "dev_questions": 0.62}, "names fall by 0.020"),
        ({"dev": 0.55, "dev_names": 0.495, "dev_questions": 0.6}, ""),
        ({"dev": 0.45, "dev_names": 0.4, "dev_questions": 0.5}, ""),
        ({"dev": 0.55, "dev_names": 0.6, "dev_questions": 0.6, "dev_people": 0.51}, "the style of made queries"),
        ({"dev": 0.55, "dev_names": 0.52, "dev_questions": 0.52, "dev_people": 0.52}, ""),
    ],
)
def test_a_family_that_pays_and_people_who_gain_too_little_are_told_of(last: dict[str, float], words: str):
    well = {"mean_cosine": 0.2, "effective_rank": 40.0, "general": 0.9}
    first = {"step": 0, **dict.fromkeys(last, 0.5)}
    said = " ".join(warnings_of_log([{**well, **first}, {**well, **last, "step": 100}], 100))
    assert (words in said) if words else not said


def test_the_preset_names_its_papers_and_the_benchmarks_of_mteb():
    said = "\n".join(load_preset("nv-small").explain("nv-small"))
    assert "NV-Retriever" in said and "--benchmark" in said and "pool_prompt" in said
