"""An index: built, searched, brought up to date, killed and refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import Listener, keep_documents, some_documents, write_beir
from typer.testing import CliRunner

from hfembed import cli, cli_index
from hfembed.embed import Precision, Role, encode, load_model
from hfembed.errors import InputError, ModelError, RunError, RunMismatchError
from hfembed.events import Events, Reporter
from hfembed.hub import local_model
from hfembed.index import Built, Index, Mode, Settings, approximate, build_index
from hfembed.index.build import EXACT_BELOW
from hfembed.index.manifest import State, read_manifest
from hfembed.index.sources import find_model, model_of
from hfembed.ranking import fuse, top_documents
from hfembed.run import INDEX_LAYOUT, LAYOUT, Run

pytestmark = pytest.mark.xdist_group("index")

ROWS = some_documents(24)
QUERY = "the pump that leaks and code1021"


def changed_corpus(folder: Path) -> Path:
    """Write the corpus with one document changed, one new and two gone."""
    rows = [dict(row) for row in ROWS[:-2]]
    rows[3]["text"] += " It was painted green in spring."
    return write_beir(folder, [*rows, {**some_documents(40)[39]}])


# Searching


def test_dense_search_finds_what_comparing_with_all_finds(built: tuple[Path, Built], tiny_model: Path):
    model = load_model(local_model("tiny", tiny_model))
    texts = [f"{row['title']} {row['text']}" for row in ROWS]
    vectors = encode(model, texts, Role.DOCUMENT, Precision(built[1].manifest.precision))
    query = encode(model, [QUERY], Role.QUERY, Precision(built[1].manifest.precision))
    hits = Index(built[0]).search(QUERY, 10, Mode.DENSE)
    wanted = top_documents(query, vectors, 10)[0]
    assert [hit.id for hit in hits] == [ROWS[row]["_id"] for row in wanted]
    assert [hit.score for hit in hits] == pytest.approx((vectors @ query[0])[wanted].tolist(), abs=1e-5)


def test_hybrid_search_joins_both_as_fuse_does(built: tuple[Path, Built]):
    index = Index(built[0])
    dense, words = ({hit.id: hit.score for hit in index.search(QUERY, 100, mode)} for mode in (Mode.DENSE, Mode.BM25))
    wanted = fuse([dense, {**dict.fromkeys(dense, 0.0), **words}], [0.5, 0.5])
    assert len(words) < len(dense) == len(ROWS)
    hits = index.search(QUERY, 100, Mode.HYBRID)
    assert {hit.id: hit.score for hit in hits} == pytest.approx(wanted)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_search_by_words_takes_a_query_as_words_and_nothing_else(built: tuple[Path, Built]):
    index = Index(built[0])
    assert index.search('code1021 AND ("* OR', 3, Mode.BM25)[0].id == "d3"
    assert index.search("the of and", 3, Mode.BM25) == []
    assert index.search("?!", 3, Mode.BM25) == []
    with pytest.raises(InputError, match="empty"):
        index.search("  ")


def test_explain_says_score_and_rank_of_each_part_and_the_words_that_matched(built: tuple[Path, Built]):
    index, query = Index(built[0]), "unit code1021 leaking"
    hits = {hit.id: hit for hit in index.search(query, 24, explain=True)}
    assert {"code1021", "unit"} <= set(hits["d3"].words) and "technicians" not in hits["d3"].words
    for mode in index.manifest.modes:
        for found in index.search(query, 24, mode):
            part = hits[found.id].parts[mode]
            assert (part.rank, part.score) == (found.rank, found.score)
    assert "parts" not in index.search("unit", 1)[0].to_json()


def test_a_word_matches_in_every_form_that_the_index_knows_it_in(built: tuple[Path, Built]):
    hits = Index(built[0]).search("leaking", 24, Mode.BM25, explain=True)
    assert hits and all(hit.words == ("leaks",) for hit in hits)


def test_filters_narrow_every_mode(built: tuple[Path, Built]):
    index = Index(built[0])
    for mode in index.manifest.modes:
        assert {hit.id for hit in index.search("unit", 24, mode, ["title ~ Pump"])} == {"d0", "d10", "d20"}
        assert {hit.id for hit in index.search("unit", 24, mode, ["id in (d3, d4)", "id != d4"])} == {"d3"}


# Brought up to date


def test_a_second_build_leaves_everything_alone(built: tuple[Path, Built], corpus: Path, tiny_model: Path):
    folder, first = built
    again = build_index(str(corpus), str(tiny_model), folder)
    assert (first.new, first.encoded, again.new, again.changed, again.removed, again.encoded) == (24, 24, 0, 0, 0, 0)
    assert again.unchanged == 24 and again.manifest == first.manifest


def test_only_what_changed_is_embedded_and_what_vanished_is_removed(
    built: tuple[Path, Built], tmp_path: Path, tiny_model: Path
):
    folder, _ = built
    corpus = changed_corpus(tmp_path / "other")
    again = build_index(str(corpus), str(tiny_model), folder)
    # Its vectors are kept elsewhere than those of the first corpus: what is the same is not even looked up.
    assert (again.new, again.changed, again.removed, again.unchanged, again.encoded) == (1, 1, 2, 21, 2)
    fresh = build_index(str(corpus), str(tiny_model), tmp_path / "fresh")
    assert fresh.new == again.manifest.documents == 23
    for mode in fresh.manifest.modes:
        both = [Index(place).search("pump painted green", 23, mode) for place in (folder, tmp_path / "fresh")]
        scores = [{hit.id: (hit.score, hit.text) for hit in hits} for hits in both]
        assert scores[0].keys() == scores[1].keys() and "d23" not in scores[0]
        assert [scores[0][name][0] for name in scores[1]] == pytest.approx(
            [one for one, _ in scores[1].values()], abs=1e-4
        )
        assert "painted green" in scores[0]["d3"][1]


def test_a_title_that_changed_is_written_and_a_text_is_encoded_once(tmp_path: Path, tiny_model: Path):
    rows = [{"id": f"d{number}", "title": "", "text": f"the {number}. text about pumps"} for number in range(12)]
    run = Run(tmp_path / "run")
    keep_documents(run, rows)
    first = build_index(str(run.folder), str(tiny_model), tmp_path / "index")
    keep_documents(run, [{**row, "group": "all"} for row in rows])
    again = build_index(str(run.folder), str(tiny_model), tmp_path / "index")
    assert (first.encoded, again.changed, again.encoded) == (12, 12, 0)
    assert {hit.group for hit in Index(tmp_path / "index").search("pumps")} == {"all"}


def test_a_killed_build_goes_on_where_it_stopped(tmp_path: Path, corpus: Path, tiny_model: Path):
    script = """
import sys, time
from pathlib import Path
from hfembed.index import build, sources
from hfembed.index.store import Store
sources.BLOCK = 5
add = Store.add
def slow(self, rows, vectors):
    add(self, rows, vectors)
    print(len(self), flush=True)
    time.sleep(60 if len(self) >= 10 else 0)
Store.add = slow
build.build_index(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
"""
    folder = tmp_path / "index"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(corpus), str(tiny_model), str(folder)],
        stdout=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip
    assert process.stdout is not None
    assert [process.stdout.readline().strip() for _ in range(2)] == ["5", "10"]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    manifest = read_manifest(folder)
    assert manifest is not None and manifest.state is State.BUILDING
    with pytest.raises(InputError, match="not finished"):
        Index(folder)
    done = build_index(str(corpus), str(tiny_model), folder)
    assert (done.new, done.unchanged, done.encoded) == (14, 10, 14)
    assert {hit.id for hit in Index(folder).search("unit", 24, Mode.DENSE)} == {row["_id"] for row in ROWS}


def test_a_table_that_was_only_begun_is_made_anew(tmp_path: Path, corpus: Path, tiny_model: Path):
    folder = tmp_path / "index"
    build_index(str(corpus), str(tiny_model), folder)
    begun = read_manifest(folder)
    assert begun is not None
    shutil.rmtree(folder / INDEX_LAYOUT.table_folder)
    (folder / INDEX_LAYOUT.table_folder).mkdir()
    with pytest.raises(RunError, match="cannot be used") as damaged:
        build_index(str(corpus), str(tiny_model), folder)
    assert "--force" in damaged.value.hint
    begun.model_copy(update={"state": State.BUILDING}).write(folder)
    assert build_index(str(corpus), str(tiny_model), folder).new == 24
    assert len(Index(folder).search("unit", 24)) == 24


# Chosen and measured at the build


def test_how_much_vectors_count_is_chosen_on_the_queries_of_a_run(tmp_path: Path, tiny_model: Path):
    run = Run(tmp_path / "run")
    rows = some_documents(40)
    keep_documents(run, [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in rows])
    dev = [{"query": f"word{at} token{3 * at}", "positive_id": f"d{at}", "writer": "people"} for at in range(30)]
    run.path(LAYOUT.dev).parent.mkdir()
    pq.write_table(pa.Table.from_pylist(dev), run.path(LAYOUT.dev))
    built = build_index(str(run.folder), str(tiny_model), tmp_path / "index")
    fusion = built.manifest.fusion
    assert fusion.queries == 30 and fusion.by_people and fusion.ndcg_bm25 == 1 and fusion.ndcg_dense is not None
    assert fusion.ndcg_hybrid == 1 and fusion.gain is not None and 0 < fusion.gain <= 1 - fusion.ndcg_dense + 1e-3
    index = Index(tmp_path / "index")
    dense, words = ({hit.id: hit.score for hit in index.search(QUERY, 100, mode)} for mode in (Mode.DENSE, Mode.BM25))
    wanted = fuse([dense, {**dict.fromkeys(dense, 0.0), **words}], [fusion.dense, 1 - fusion.dense])
    assert {hit.id: hit.score for hit in index.search(QUERY, 100)} == pytest.approx(wanted)
    with pytest.raises(InputError, match="no finished run"):
        model_of(str(run.folder))


def test_a_large_index_is_approximate_and_a_low_recall_is_told_with_what_helps(
    built: tuple[Path, Built], corpus: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, _ = built
    large = build_index(str(corpus), str(tiny_model), folder, Settings(exact_below=20)).manifest
    assert large.approximate is not None and large.approximate.recall >= 0.95 and large.approximate.queries == 24
    assert large.approximate.partitions == 5 and len(Index(folder).search("unit", 24, Mode.DENSE)) > 4
    told = Listener()
    monkeypatch.setattr(approximate, "measure_recall", lambda *_: 0.5)
    build_index(str(corpus), str(tiny_model), folder, Settings(exact_below=10), Reporter("index", Events(None, [told])))
    assert any("50%" in said and "--exact-below" in said for said in told.messages("warning"))
    small = build_index(str(corpus), str(tiny_model), folder).manifest
    assert small.approximate is None and len(Index(folder).search("unit", 24, Mode.DENSE)) == 24


def test_a_model_is_found_by_its_folder_and_by_its_run(tmp_path: Path, tiny_model: Path):
    run = tmp_path / "run"
    write_beir(run, ROWS)
    (run / LAYOUT.recipe).write_text("preset: instant\n", encoding="utf-8")
    with pytest.raises(ModelError, match="no model yet"):
        find_model(str(run))
    shutil.copytree(tiny_model, run / LAYOUT.model)
    place, source = find_model(str(run))
    assert (place, source.name) == (str(run / LAYOUT.model), "run") and model_of(str(run)) == str(run)
    assert source.fingerprint == find_model(str(tiny_model))[1].fingerprint


# Refused


def test_another_model_is_refused_and_force_builds_anew(
    built: tuple[Path, Built], corpus: Path, tiny_model: Path, tmp_path: Path
):
    folder, _ = built
    other = another_model(tiny_model, tmp_path / "other")
    with pytest.raises(RunMismatchError, match="cannot be compared") as refused:
        build_index(str(corpus), str(other), folder)
    assert "--force" in refused.value.hint and Index(folder).search("unit")
    with pytest.raises(RunMismatchError, match="another or has changed"):
        Index(folder, str(other)).search("unit")
    forced = build_index(str(corpus), str(other), folder, Settings(force=True))
    assert forced.new == 24 and Index(folder).manifest.model["name"] == "other"


def another_model(tiny_model: Path, folder: Path) -> Path:
    shutil.copytree(tiny_model, folder)
    settings = folder / "config_sentence_transformers.json"
    values = json.loads(settings.read_text(encoding="utf-8"))
    settings.write_text(json.dumps({**values, "prompts": {"query": "find: ", "document": ""}}), encoding="utf-8")
    return folder


def test_a_model_that_moved_is_asked_for(built: tuple[Path, Built], tiny_model: Path):
    place = built[0] / INDEX_LAYOUT.place
    place.write_text(json.dumps({"model": "/nowhere/model"}), encoding="utf-8")
    with pytest.raises(ModelError, match="not where it was") as missing:
        Index(built[0]).search("unit")
    assert "--model" in missing.value.hint
    assert Index(built[0], str(tiny_model)).search("unit")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path, corpus: Path, tiny_model: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    for settings in (Settings(), Settings(force=True)):
        with pytest.raises(RunError, match=re.escape("thesis.txt")):
            build_index(str(corpus), str(tiny_model), tmp_path / "mine", settings)
    assert sorted(file.name for file in (tmp_path / "mine").iterdir()) == ["thesis.txt"]


def test_what_is_no_index_or_a_damaged_one_is_said_to_be_so(tmp_path: Path, built: tuple[Path, Built]):
    with pytest.raises(InputError, match="no index"):
        Index.open(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="is no index"):
        Index.open(str(tmp_path))
    (built[0] / INDEX_LAYOUT.manifest).write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        Index.open(str(built[0]))


# Vectors that lengths count in


def test_a_model_that_compares_by_dot_product_is_searched_so(tmp_path: Path, corpus: Path, tiny_model: Path):
    from sentence_transformers import SentenceTransformer, models

    plain = SentenceTransformer(str(tiny_model))
    model = SentenceTransformer(modules=[plain[0], models.Pooling(32, "mean")], similarity_fn_name="dot", device="cpu")
    model.save_pretrained(str(tmp_path / "dot"), create_model_card=False)
    built = build_index(str(corpus), str(tmp_path / "dot"), tmp_path / "index")
    assert built.manifest.similarity == "dot"
    texts = [f"{row['title']} {row['text']}" for row in ROWS]
    loaded = load_model(local_model("dot", tmp_path / "dot"))
    vectors = encode(loaded, texts, Role.DOCUMENT, Precision(built.manifest.precision))
    assert np.linalg.norm(vectors, axis=1).std() > 1e-3
    query = encode(loaded, [QUERY], Role.QUERY, Precision(built.manifest.precision))[0]
    hits = Index(tmp_path / "index").search(QUERY, 24, Mode.DENSE)
    assert [hit.score for hit in hits] == pytest.approx(sorted((vectors @ query).tolist(), reverse=True), rel=1e-4)


# The manifest and the command line


def test_the_manifest_says_what_the_index_is_and_no_path_of_this_machine(built: tuple[Path, Built], tiny_model: Path):
    text = (built[0] / INDEX_LAYOUT.manifest).read_text(encoding="utf-8")
    values = json.loads(text)
    assert values["state"] == "done" and values["documents"] == 24 and values["dimensions"] == 32
    assert values["exact_below"] == EXACT_BELOW and values["approximate"] is None
    assert values["fusion"] == {"dense": 0.5, "fused": None, "joined": "dense", "queries": 0, "by_people": False, "ndcg_dense": None, "ndcg_bm25": None,
                                "ndcg_fused": None, "ndcg_hybrid": None, "gain": None}  # fmt: skip
    assert (
        values["heads"] == {}
        and values["sizes"]["dense"] == 24 * 32 * 4
        and values["sizes"].keys() == {"dense", "table"}
    )
    assert len(values["prompts"]) == 64 and {"lancedb", "torch"} <= set(values["versions"])
    assert str(tiny_model.parent) not in text and str(built[0]) not in text


def test_a_build_tells_how_far_it_is_and_why_vectors_and_words_count_alike(
    tmp_path: Path, corpus: Path, tiny_model: Path
):
    told = Listener()
    build_index(str(corpus), str(tiny_model), tmp_path / "index", report=Reporter("index", Events(listeners=[told])))
    written = [event for event in told if event.kind == "progress" and event.message.startswith("indexing with")]
    assert (written[0].total, written[-1].done) == (24, 24)
    assert any("no queries of dev" in message for message in told.messages("note"))


def test_the_commands_index_and_search_speak_json(tmp_path: Path, corpus: Path, tiny_model: Path):
    def said(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
        answer = CliRunner().invoke(cli.app, [*map(str, arguments), "--format", "json"])
        assert answer.exit_code == code, (answer.output, answer.exception)
        value: dict[str, Any] = json.loads(answer.stdout)
        return value

    folder = tmp_path / "a folder & <b>%20é"
    built = said("index", corpus, "--model", tiny_model, "--out", folder)
    assert (built["new"], built["documents"], built["state"], built["published"]) == (24, 24, "done", [])
    found = said("search", folder, "code1021", "--mode", "bm25", "-k", 2, "--explain")
    assert [hit["id"] for hit in found["hits"]] == ["d3"] and found["hits"][0]["words"] == ["code1021"]
    assert found["hits"][0]["parts"]["dense"]["rank"] in range(1, 25)
    refused = said("search", folder, "x", "--filter", "1=1; DROP TABLE documents --", code=2)
    assert "id, title, text, group, document" in refused["error"]["message"]


def test_a_person_reads_what_a_build_did_and_why_a_document_was_found(
    built: tuple[Path, Built], capsys: pytest.CaptureFixture[str]
):
    from hfembed.terminal_index import show_built, show_hits

    show_built(built[1], built[0])
    show_hits(Index(built[0]).search("code1021", 1, Mode.BM25, explain=True), "code1021")
    text = capsys.readouterr().out
    assert "24 documents: 24 new; 24 encoded" in text and "compares with all" in text and "the default" in text
    assert "d3" in text and "bm25" in text and "rank 1" in text and "shared words: code1021" in text


def test_the_modes_of_the_command_line_are_those_of_the_index():
    assert [str(mode) for mode in cli_index.SearchMode] == [str(mode) for mode in Mode]
