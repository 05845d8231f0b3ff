"""nemotron: whole documents are asked about, every positive is a row, and each row learns from its own negatives."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import FAULTS, PARTS, Listener, job_for, keep_documents, make_telling, recipe_for
from huggingface_hub import constants
from llm_process import KEY, llm_server, only
from told import serve_hub

from hfembed import pipeline
from hfembed.corpus import Documents
from hfembed.events import Events, Reporter
from hfembed.generate.filters import filter_queries
from hfembed.generate.llm.write import plan_units
from hfembed.generate.query import Query, Split
from hfembed.mine.asked import unique_pairs, with_groups, without_chunks
from hfembed.mine.report import outside_of, warn
from hfembed.mine.space import CANDIDATE
from hfembed.push import push
from hfembed.ranking import NOBODY, Pairs
from hfembed.recipe import LlmTask, Mine, QueryKind, Tuning, apply_settings, load_preset, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.train.checks import warnings_of_phase
from hfembed.train.rows import TrainingRows

pytestmark = pytest.mark.xdist_group("train")

FILES, SENTENCES = 25, 12


def long_text(number: int) -> str:
    """Return a text of twelve sentences that all have words of their own."""
    return " ".join(
        f"The {PARTS[(number + at) % 10]} part{number}x{at} {FAULTS[(number * 3 + at) % 7]} near shaft{number * at + at} "
        f"when dial{number * 17 + at * 5} is low."
        for at in range(SENTENCES)
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[tuple[Run, Listener]]:
    """Run the preset from pull to export, a language model's part played by a server with a script."""
    folder = tmp_path_factory.mktemp("nemotron")
    for number in range(FILES):
        (folder / "files").mkdir(exist_ok=True)
        (folder / "files" / f"manual {number}.txt").write_text(long_text(number), encoding="utf-8")
    heard, run = Listener(), Run(folder / "run")
    with llm_server(folder / "server") as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("OPENAI_API_KEY", KEY)
        options = {
            "corpus": str(folder / "files"), "base": str(make_telling(tiny_model, folder / "base")), "generate.llm.model": "scripted",
            "generate.llm.endpoint": server.url,
        }  # fmt: skip
        # To a model of random weights the script's questions look alike; the rest is as the preset says.
        small = ("generate.filters.duplicates=0.999", "evaluate.bootstrap=100", "export.sample=16",
                 "export.variants=[fp32]", "train.phases.0.stop.looks=2")  # fmt: skip
        recipe = make_recipe("nemotron", settings=(*small, "export.max_ndcg_loss=1"), options=options)
        made = pipeline.run(recipe, run, listeners=[heard])
    assert made == ["pull", "generate", "mine", "train", "evaluate", "export"]
    yield run, heard


def train_rows(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run.path(LAYOUT.train)).to_pylist()
    return rows


def by_query(run: Run) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in train_rows(run):
        found[row["query_id"]].append(row)
    return found


def test_twelve_sentences_are_three_chunks_and_no_file_is_in_two_splits(done: tuple[Run, Listener]):
    run, _ = done
    documents = Documents.read(run.path(LAYOUT.documents))
    assert len(documents) == 3 * FILES and Counter(Counter(documents.documents).values()) == {3: FILES}
    own = [at for at, source in enumerate(documents.documents) if source == documents.documents[0]]
    assert [documents.ids[at].rpartition("#")[2] for at in own] == ["1", "2", "3"]
    assert [documents.bodies[at].count(".") for at in own] == [5, 5, 2]
    file_of = dict(zip(documents.ids, documents.documents, strict=True))
    splits = {
        "train": {file_of[row["positive_id"]] for row in train_rows(run)},
        "dev": {file_of[name] for name in pq.read_table(run.path(LAYOUT.dev))["positive_id"].to_pylist()},
    }
    lines = (run.path(LAYOUT.test) / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    splits["test"] = {file_of[line.split("\t")[1]] for line in lines}
    assert all(splits.values()) and sum(map(len, splits.values())) == len(set.union(*splits.values()))
    assert len(splits["test"]) == FILES // 5
    with (run.path(LAYOUT.test) / "corpus.jsonl").open(encoding="utf-8") as corpus:
        assert sum(1 for _ in corpus) == len(documents)  # the test is a search among all chunks


def test_a_question_over_several_chunks_is_a_row_for_each_with_the_same_negatives(done: tuple[Run, Listener]):
    run, _ = done
    several = [rows for rows in by_query(run).values() if len(rows) > 1]
    assert several and {len(rows) for rows in several} <= {2, 3}
    names = [f"negative_{at}_id" for at in range(1, 6)]
    for rows in several:
        assert len({tuple(row[name] for name in names) for row in rows}) == 1
        assert len({row["positive_id"] for row in rows}) == len(rows)
        assert {row["kind"] for row in rows} == {"multi_hop"}
    details = [json.loads(row["details"]) for row in train_rows(run)]
    assert {detail["hops"] for detail in details} == {"1", "3"} and all("judge_clarity" in one for one in details)


def test_negatives_stand_below_the_cap_of_the_lowest_positive_best_first(done: tuple[Run, Listener]):
    run, _ = done
    looked = 0
    documents = Documents.read(run.path(LAYOUT.documents))
    file_of = dict(zip(documents.ids, documents.documents, strict=True))
    beside = 0
    for rows in by_query(run).values():
        lowest = min(row["score_positive"] for row in rows)
        scores = [rows[0][f"score_negative_{at}"] for at in range(1, 6)]
        miners = [rows[0][f"negative_{at}_miner"] for at in range(1, 6)]
        assert all(
            score <= 0.95 * lowest + 1e-5 for score, miner in zip(scores, miners, strict=True) if miner == "dense"
        )
        ids = [rows[0][f"negative_{at}_id"] for at in range(1, 6)]
        if len(set(ids)) == 5:
            looked += 1
            assert scores == sorted(scores, reverse=True)
        assert not {row["positive_id"] for row in rows} & set(ids)
        beside += any(file_of.get(name) == file_of[rows[0]["positive_id"]] for name in ids)
    assert looked > 10 and beside  # chunks beside an answer may be negatives


def test_the_phase_trains_grouped_with_four_of_five_negatives_and_small_steps(done: tuple[Run, Listener]):
    run, _ = done
    facts = pipeline.manifests(run)["train"].facts
    (trained,) = facts["phases"]
    rows = len(train_rows(run))
    wanted = max(16, min(64, rows // 8))
    assert trained["rows"] == trained["rows_drawn"] == rows < 2_000
    assert wanted - 8 < trained["rows_per_step"] <= wanted and trained["rows_per_step"] % 8 == 0
    per_epoch = -(-rows // 8)
    steps = trained["rows_per_step"] // 8
    assert trained["planned_steps"] == -(-3 * per_epoch // steps)
    curves = json.loads(run.path(LAYOUT.curves).read_text(encoding="utf-8"))
    rates = [entry["learning_rate"] for entry in curves["phases"][0]["log"] if "learning_rate" in entry]
    assert max(rates) == pytest.approx(1e-5) and int(np.argmax(rates)) == 5  # in five steps, from zero
    (phase,) = [phase for phase in run.recipe().train.phases if isinstance(phase, Tuning)]
    assert (phase.negatives, run.recipe().mine.negatives, phase.in_batch, phase.temperature) == (4, 5, False, 0.02)
    assert facts["prompts"]["query"] == "query: " and facts["prompts"]["document"] == "passage: "


def test_the_report_has_all_measures_at_all_depths_for_base_and_tuned(done: tuple[Run, Listener]):
    run, _ = done
    measures = json.loads(run.path(LAYOUT.report).read_text(encoding="utf-8"))["measures"]
    wanted = {f"{name}@{depth}" for name in ("ndcg", "map", "recall", "precision") for depth in (1, 5, 10, 100)}
    assert wanted <= set(measures) and all({"base", "tuned"} <= set(measures[name]) for name in wanted)


def test_the_onnx_file_gives_the_vectors_of_torch(done: tuple[Run, Listener]):
    run, _ = done
    written = json.loads(run.path(LAYOUT.onnx_report).read_text(encoding="utf-8"))["files"]
    assert written[0]["variant"] == "fp32" and written[0]["max_cosine_distance"] < 1e-4


def test_what_is_pushed_is_a_plain_model_with_the_prompts(done: tuple[Run, Listener], tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    run, _ = done
    with pytest.MonkeyPatch.context() as patch, serve_hub(tmp_path / "hub", patch) as (_, api):
        named = ("push.model_repo=demo/manuals", "push.dataset_repo=demo/manuals-triplets")
        recipe = apply_settings(run.recipe().model_dump(mode="json"), named)
        push(job_for(run, recipe, "push"))
        model = SentenceTransformer(api.snapshot_download("demo/manuals"), device="cpu")
    assert model.prompts == {"query": "query: ", "document": "passage: "} or model.prompts["query"] == "query: "
    ours = SentenceTransformer(str(run.path(LAYOUT.model)), device="cpu")
    assert np.allclose(model.encode_query(["a pump"]), ours.encode_query(["a pump"]), atol=1e-6)


# Parts of it


def test_a_chunked_document_is_asked_about_as_a_whole_once_for_each_reasoning(tmp_path: Path):
    chunks = [
        {"id": f"{name}#{at}", "document": name, "group": name, "text": f"{name} {at} holds. " * 3}
        for name, count in (("a", 3), ("b", 2), ("c", 1), ("d", 1))
        for at in range(1, count + 1)
    ]
    run = Run(tmp_path)
    documents = keep_documents(run, chunks)
    recipe = make_recipe("nemotron", settings=("generate.llm.tasks.claim=1",), options={"corpus": "unused"})
    units = plan_units(job_for(run, recipe, "generate"), documents, range(len(chunks)), [Split.TRAIN] * len(chunks))
    asked = {(unit.rows, frozenset(unit.tasks)) for unit in units}
    both, question = frozenset({LlmTask.QUESTION, LlmTask.MULTI_HOP}), frozenset({LlmTask.QUESTION})
    assert {((0, 1, 2), both), ((3, 4), both), ((5,), question), ((6,), question)} <= asked
    assert {rows for rows, tasks in asked if tasks == {LlmTask.CLAIM}} == {(at,) for at in range(len(chunks))}
    short = recipe_for("unused", "generate.llm.questions.whole=true", "generate.llm.max_chars=200", only(question=1),
                       "generate.method=llm", "generate.llm.model=x")  # fmt: skip
    long = [{**one, "text": one["text"] * 6} for one in chunks]
    parts = plan_units(job_for(run, short, "generate"), keep_documents(run, long), range(7), [Split.TRAIN] * 7)
    assert {unit.rows for unit in parts} == {(at,) for at in (5, 6)} | {
        (at,) for at in range(5)
    }  # each chunk alone is as much as one request takes


def test_a_query_that_six_chunks_answer_is_dropped(tmp_path: Path):
    run = Run(tmp_path)
    documents = keep_documents(run, [{"id": f"d{at}", "text": f"The {part} turns."} for at, part in enumerate(PARTS)])
    job = job_for(run, recipe_for("unused", "generate.filters.max_positives=5"), "generate")
    queries = [
        Query(f"what do {count} parts do", QueryKind.MULTI_HOP, tuple(range(count)), Split.TRAIN, writer="model")
        for count in (5, 6)
    ]
    kept, dropped = filter_queries(job, queries, documents)
    assert [len(query.rows) for query in kept] == [5] and dropped["too_many_positives"] == 1


def test_chunks_beside_an_answer_may_be_negatives_near_duplicates_of_it_never():
    # 0, 1: chunks of one document, of which 0 answers. 2: of another document, which is nearly the same. 3: neither.
    positives = unique_pairs(np.array([0]), np.array([0]))
    groups, sources = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2])
    excluded = without_chunks(with_groups(positives, groups), positives, sources)
    assert excluded.documents.tolist() == [0, 2] and excluded.queries.tolist() == [0, 0]


def test_rows_that_see_nothing_of_one_another_fill_their_batches():
    same = [frozenset({"one file"})] * 6
    rows = TrainingRows(
        list("abcdef"), list("ABCDEF"), [["n"]] * 6, ["question"] * 6, np.ones(6), same, same, [False] * 6
    )
    grouped = rows.drawing(Tuning(method="full", in_batch=False))
    assert not any(grouped.right) and not any(grouped.wrong)
    assert rows.drawing(Tuning(method="full")).right == same


@pytest.mark.parametrize(("rows", "step"), [(40, 16), (160, 16), (256, 32), (400, 48), (1_999, 64), (2_000, 128)])
def test_few_rows_make_small_steps(rows: int, step: int):
    (phase,) = [one for one in make_recipe("nemotron").train.phases if isinstance(one, Tuning)]
    fitted = phase.for_rows(rows)
    assert fitted.batch_size * fitted.accumulate == step
    shared = phase.for_rows(rows, processes=2)
    assert shared.batch_size * shared.accumulate * 2 in (step, 2 * step if rows >= 2_000 else step)


def test_an_answer_below_the_first_hundred_is_noticed_with_the_remedy():
    candidates = np.zeros((20, 120), dtype=CANDIDATE)
    candidates["row"], candidates["score"] = np.arange(120), np.linspace(0.9, 0.1, 120, dtype=np.float32)
    candidates["row"][:, 110:] = NOBODY
    at = np.arange(20)
    rows = Pairs(at, at)

    class Asked:
        pass

    asked: Any = Asked()
    asked.rows = rows
    third = np.where(at < 3, 0.2, 0.5).astype(np.float32)  # the hundredth candidate has 0.234
    share = outside_of(candidates, asked, third, Mine())
    assert share == 0.15 and outside_of(candidates, asked, third, Mine(candidates=50)) is None
    told = {"short_rows": {"share": 0.0}, "median_ratio": 0.8, "suspected_false_negatives": 0.0, "sampler": {}}
    for outside, words in (
        (0.05, None),
        (0.15, "15% of the answers stand below"),
        (0.3, "has only 70% of the answers"),
    ):
        heard = Listener()
        warn({**told, "outside_100": outside}, Reporter("mine", Events(listeners=[heard])), Mine())
        said = heard.messages("warning")
        assert (words in said[0] and "--set" in said[0]) if words else not said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 99}, "from 99 rows only"),
        ({"planned_steps": 49, "log": []}, "has 49 steps only"),
        ({"log": [{"step": step, "loss": 0.001} for step in range(1, 9)]}, "The loss is below 0.01 after 10%"),
        ({}, ""),
        ({"loss": "margin_mse", "log": [{"step": step, "loss": 0.001} for step in range(1, 9)]}, ""),
    ],
)
def test_a_phase_that_has_too_little_to_learn_from_is_told_of(changes: dict[str, Any], words: str):
    log = [{"step": step, "loss": 0.4} for step in range(1, 61)]
    phase = {"loss": "contrastive", "rows": 500, "planned_steps": 60, "log": log, **changes}
    said = " ".join(warnings_of_phase(phase))
    assert (words in said) if words else not said


def test_the_preset_says_where_it_is_from_and_why_its_base_is_another():
    said = "\n".join(load_preset("nemotron").explain("nemotron"))
    assert "NVIDIA" in said and "runs code of its repo" in said and "Needs" in said and "Takes" in said
