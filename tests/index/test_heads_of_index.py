"""An index of a model with heads: the scores that heads give, brought up to date, left out, chosen on dev and published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import Listener, keep_documents, some_documents, write_beir
from made_up import clustered, ranked, rows_of
from typer.testing import CliRunner

from hfembed import cli
from hfembed.embed import Precision, Role
from hfembed.errors import InputError, RunError, RunMismatchError
from hfembed.events import Events, Reporter
from hfembed.heads import load_heads, read_weights
from hfembed.heads.search import HeadTexts, compare_tokens, read_texts, search
from hfembed.index import Built, Index, Mode, Settings, build, build_index
from hfembed.index.fusion import Asked, choose_fusion
from hfembed.index.heads import read_parts
from hfembed.index.postings import Postings, write_postings
from hfembed.index.store import COUNT, FILE, START, TOKENS, WEIGHTS, Store
from hfembed.index.tokens import TokenFiles, with_places
from hfembed.recipe import Head
from hfembed.run import INDEX_LAYOUT, LAYOUT, Run

pytestmark = pytest.mark.xdist_group("index")

ROWS = some_documents(24)
QUERY = "the pump that leaks and code1021"
HEADS = (Mode.SPARSE, Mode.MULTI_VECTOR, Mode.FUSED)


@pytest.fixture(autouse=True)
def exact(in_fp32: None) -> None:
    """Compare scores digit by digit."""


def by_heads(model: Path, folder: Path, rows: Sequence[dict[str, str]] = ROWS) -> dict[str, dict[str, float]]:
    """Return the scores of all documents by head, as they are computed where all are at hand."""
    loaded = load_heads(str(model))

    def read(texts: list[str], role: Role) -> HeadTexts:
        return read_texts(loaded, texts, role, Precision.FP32, folder / role)

    documents = read([f"{row['title']} {row['text']}" for row in rows], Role.DOCUMENT)
    (found,) = search(read([QUERY], Role.QUERY), documents, read_weights(model), len(rows))
    names = [rows[row]["_id"] for row in found.rows]
    return {head: dict(zip(names, map(float, scores), strict=True)) for head, scores in found.scores.items()}


# Searching


def test_the_scores_are_those_that_heads_give_and_by_default_all_of_them_count(
    headed: tuple[Path, Built], headed_model: Path, tmp_path: Path
):
    index = Index(headed[0])
    wanted = by_heads(headed_model, tmp_path)
    assert index.manifest.precision == "fp32" and index.manifest.mode is Mode.FUSED
    for mode in (Mode.DENSE, *HEADS):
        found = {hit.id: hit.score for hit in index.search(QUERY, 24, mode)}
        sharing = {name: score for name, score in wanted[mode].items() if mode is not Mode.SPARSE or score > 0}
        assert found == pytest.approx(sharing, abs=1e-5) and len(found) > 10, mode
        assert list(found.values()) == sorted(found.values(), reverse=True)
    assert index.search(QUERY, 5) == index.search(QUERY, 5, Mode.FUSED)


def test_candidates_are_the_nearest_by_vector_and_by_shared_tokens(
    headed: tuple[Path, Built], monkeypatch: pytest.MonkeyPatch
):
    index = Index(headed[0])
    dense, sparse = ([hit.id for hit in index.search(QUERY, 3, mode)] for mode in (Mode.DENSE, Mode.SPARSE))
    monkeypatch.setattr("hfembed.index.search.PART_DEPTH", 3)
    near = index.search(QUERY, 3, explain=True)
    assert {hit.id for hit in near} <= {*dense, *sparse}
    for hit in near:
        # What another way of searching found has a score here, too, but no rank.
        assert all(hit.parts[mode].score is not None for mode in (Mode.DENSE, *HEADS))
        assert (hit.parts[Mode.DENSE].rank is not None) == (hit.id in dense)
        assert (hit.parts[Mode.SPARSE].rank is not None) == (hit.id in sparse)


def test_explain_and_filters_hold_for_every_mode(headed: tuple[Path, Built]):
    index = Index(headed[0])
    assert index.manifest.modes == tuple(Mode)
    why = {hit.id: hit.parts for hit in index.search(QUERY, 24, Mode.HYBRID, explain=True)}
    for mode in Mode:
        for hit in index.search(QUERY, 24, mode):
            assert (why[hit.id][mode].rank, why[hit.id][mode].score) == (hit.rank, pytest.approx(hit.score, abs=1e-6))
        narrowed = index.search("unit", 24, mode, ["title ~ Pump"])
        assert {hit.id for hit in narrowed} == {"d0", "d10", "d20"}
        assert index.search("unit", 24, mode, ["title = nothing has this"]) == []


def test_hybrid_joins_words_with_what_was_chosen(headed: tuple[Path, Built]):
    index = Index(headed[0])
    assert index.manifest.fusion.joined == "fused"
    first = {hit.id: hit.score for hit in index.search(QUERY, 24, Mode.HYBRID)}
    fusion = index.manifest.fusion.model_copy(update={"joined": "dense"})
    index.manifest = index.manifest.model_copy(update={"fusion": fusion})
    second = {hit.id: hit.score for hit in index.search(QUERY, 24, Mode.HYBRID)}
    assert first.keys() == second.keys() and first != pytest.approx(second, abs=1e-3)


# Brought up to date


def test_an_index_that_was_brought_up_to_date_is_one_that_was_built_anew(
    headed: tuple[Path, Built], tmp_path: Path, headed_model: Path
):
    folder, first = headed
    rows = [dict(row) for row in ROWS[:-2]]
    rows[3]["text"] += " It was painted green in spring."
    rows.append(some_documents(40)[39])
    again = build_index(str(write_beir(tmp_path / "other", rows)), str(headed_model), folder)
    assert (first.encoded, again.new, again.changed, again.removed, again.encoded) == (24, 1, 1, 2, 2)
    assert again.manifest.sizes["multi_vector"] > first.manifest.sizes["multi_vector"]
    wanted = by_heads(headed_model, tmp_path, rows)
    for mode in HEADS:
        found = {hit.id: hit.score for hit in Index(folder).search(QUERY, 23, mode)}
        assert found == pytest.approx({name: wanted[mode][name] for name in found}, abs=1e-5)
        assert mode is Mode.SPARSE or found.keys() == wanted[mode].keys()


def test_what_a_killed_build_left_behind_is_gone_when_it_went_on(
    tmp_path: Path, corpus: Path, headed_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(build, "READ_TOGETHER", 10)
    add, folder = Store.add, tmp_path / "index"

    def killed(self: Store, rows: pa.Table, vectors: np.ndarray) -> None:
        if len(self):
            raise KeyboardInterrupt
        add(self, rows, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            build_index(str(corpus), str(headed_model), folder)
    assert len(list((folder / INDEX_LAYOUT.tokens).iterdir())) == 2
    done = build_index(str(corpus), str(headed_model), folder)
    assert (done.new, done.unchanged) == (14, 10)
    assert sorted(int(file.stem) for file in (folder / INDEX_LAYOUT.tokens).iterdir()) == [0, 2, 3]
    wanted = by_heads(headed_model, tmp_path)["fused"]
    assert {hit.id: hit.score for hit in Index(folder).search(QUERY, 24)} == pytest.approx(wanted, abs=1e-5)


def test_a_file_of_which_little_is_needed_is_written_anew(tmp_path: Path):
    store, files = Store(tmp_path, "cosine"), TokenFiles(tmp_path)
    draw = np.random.default_rng(0)
    vectors = {f"d{at}": draw.normal(size=(at % 3 + 1, 4)).astype(np.float16) for at in range(12)}
    for part in (range(8), range(8, 12)):
        chosen = [f"d{at}" for at in part]
        number = files.next()
        files.write(files.path(number), [vectors[name] for name in chosen])
        lengths = np.array([len(vectors[name]) for name in chosen])
        ends = np.cumsum(lengths)
        rows = rows_of(len(chosen), id=chosen, text=chosen)
        store.add(with_places(rows, number, ends - lengths, ends), clustered(len(chosen)))
    store.remove(["d0", "d1", "d2", "d4", "d5", "d7", "d8"])
    files.settle(store, 4)
    # Of the first file two documents are left, and of the second three of four.
    assert sorted(file.name for file in (tmp_path / "tokens").iterdir()) == ["000001.f16", "000002.f16"]
    assert files.path(2).stat().st_size == (len(vectors["d3"]) + len(vectors["d6"])) * 4 * 2
    left = ["d3", "d6", "d9", "d10", "d11"]
    numbers = store.numbers(left)
    for row in store.take(list(numbers.values()), "id", FILE, START, COUNT).to_pylist():
        assert np.array_equal(files.vectors(row, 4), vectors[row["id"]])
    assert sorted(numbers) == sorted(left) and len(store) == 5


def test_a_part_that_is_gone_or_cut_short_is_named_with_what_helps(headed: tuple[Path, Built]):
    folder, _ = headed
    file = folder / INDEX_LAYOUT.tokens / "000000.f16"
    file.write_bytes(file.read_bytes()[:6400])
    with pytest.raises(RunError, match="shorter than the index says"):
        Index(folder).search(QUERY)
    file.unlink()
    with pytest.raises(RunError, match=r"000000\.f16") as gone:
        Index(folder).search(QUERY)
    shutil.rmtree(folder / INDEX_LAYOUT.postings)
    with pytest.raises(RunError, match="weights of tokens"):
        Index(folder).search(QUERY, mode=Mode.SPARSE)
    assert "--force" in gone.value.hint


# Postings


def test_postings_give_the_sums_that_comparing_all_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hfembed.index.store.READ_ROWS", 7)
    draw, store = np.random.default_rng(0), Store(tmp_path, "cosine")
    table = np.where(draw.random((40, 30)) < 0.3, draw.random((40, 30)), 0).astype(np.float32)
    table[5] = 0  # a document of which no token weighs anything
    held = [np.flatnonzero(row) for row in table]
    rows = rows_of(40)
    rows = rows.append_column(TOKENS, pa.array(held, pa.list_(pa.int32())))
    rows = rows.append_column(WEIGHTS, pa.array([row[at] for row, at in zip(table, held, strict=True)]))
    for start in (0, 25):
        store.add(rows[start : start + 25], clustered(40)[start : start + 25])
    store.remove(["d7"])
    write_postings(store, tmp_path)
    postings = Postings(tmp_path)
    tokens, weights = np.array([3, 11, 29, 1_000]), np.array([0.5, 1.0, 2.0, 9.0], dtype=np.float32)
    places = {
        name: int(postings.places(np.array([number]))[0])
        for name, number in store.numbers(rows["id"].to_pylist()).items()
    }
    scores = postings.scores(tokens, weights)
    assert len(scores) == len(places) == 39
    wanted = {f"d{at}": float(table[at, [3, 11, 29]] @ weights[:3]) for at in range(40) if at != 7}
    assert {name: scores[place] for name, place in places.items()} == pytest.approx(wanted, abs=1e-5)
    store.remove([f"d{at}" for at in range(30)])
    write_postings(store, tmp_path)
    # Who has opened them before goes on with what was there.
    assert len(postings.scores(tokens, weights)) == 39 and len(Postings(tmp_path).scores(tokens, weights)) == 10


def test_postings_of_a_model_whose_tokens_all_weigh_nothing_find_nothing(tmp_path: Path):
    store = Store(tmp_path, "cosine")
    rows = rows_of(3).append_column(TOKENS, pa.array([[], [], []], pa.list_(pa.int32())))
    store.add(rows.append_column(WEIGHTS, pa.array([[], [], []], pa.list_(pa.float32()))), clustered(3))
    write_postings(store, tmp_path)
    assert Postings(tmp_path).scores(np.array([3]), np.array([1.0], dtype=np.float32)).tolist() == [0, 0, 0]


def test_tokens_are_compared_one_document_at_a_time_and_nothing_is_near_to_nothing():
    asked = np.array([[1, 0], [0, 1]], dtype=np.float16)
    found = [np.array([[1, 0], [0.6, 0.8]], dtype=np.float16), np.zeros((0, 2), dtype=np.float16)]
    assert compare_tokens(asked, found) == pytest.approx([(1 + 0.8) / 2, 0], abs=1e-3)
    assert compare_tokens(asked[:0], found).tolist() == [0, 0]


# Left out


def test_parts_that_take_much_are_left_out_on_request_and_how_much_they_take_is_told_before(
    tmp_path: Path, corpus: Path, headed_model: Path
):
    told = Listener()
    report = Reporter("index", Events(listeners=[told]))
    folder = tmp_path / "index"
    settings = Settings(heads=read_parts("dense, sparse"))
    built = build_index(str(corpus), str(headed_model), folder, settings, report)
    assert built.manifest.heads == {"dense": 1.0, "sparse": 0.3} and not told.messages("note")[0].startswith(
        "vectors of"
    )
    assert built.manifest.sizes.keys() == {"dense", "sparse", "table"}
    assert not list((folder / INDEX_LAYOUT.tokens).glob("*"))
    index = Index(folder)
    with pytest.raises(
        InputError, match="nothing to compare by multi_vector; it has dense, bm25, hybrid, sparse, fused"
    ):
        index.search(QUERY, mode=Mode.MULTI_VECTOR)
    scores = {hit.id: hit.parts for hit in index.search(QUERY, 24, explain=True)}
    for parts in scores.values():
        assert parts["fused"].score == pytest.approx(parts["dense"].score + 0.3 * parts["sparse"].score, abs=1e-5)
    # It stays what it is until someone says otherwise.
    again = build_index(str(corpus), str(headed_model), folder, Settings(exact_below=10), report)
    assert again.manifest.heads == built.manifest.heads and again.encoded == 0
    assert again.manifest.approximate is not None and len(Index(folder).search(QUERY, 24)) > 10
    assert any("goes on to hold dense, sparse" in said for said in told.messages("note"))
    with pytest.raises(RunMismatchError, match="--parts asks for dense, multi_vector") as refused:
        build_index(str(corpus), str(headed_model), folder, Settings(heads=(Head.MULTI_VECTOR,)))
    assert "--force" in refused.value.hint
    whole = build_index(str(corpus), str(headed_model), folder, Settings(force=True), report)
    assert set(whole.manifest.heads) == set(Head)
    (size,) = [said for said in told.messages("note") if said.startswith("vectors of tokens will take")]
    assert float(size.split("about ")[1].split(" MB")[0]) == pytest.approx(
        whole.manifest.sizes["multi_vector"] / 1e6, abs=0.06
    )
    assert "--parts dense,sparse" in size


def test_a_model_without_heads_is_indexed_as_before_and_asked_for_heads_refused(
    tmp_path: Path, corpus: Path, tiny_model: Path
):
    built = build_index(str(corpus), str(tiny_model), tmp_path / "index")
    assert built.manifest.heads == {} and built.manifest.mode is Mode.HYBRID
    assert not {"tokens", "postings"} & {file.name for file in (tmp_path / "index").iterdir()}
    assert not {TOKENS, FILE} & set(next(Store(tmp_path / "index", "cosine").batches()).schema.names)
    with pytest.raises(InputError, match="nothing to compare by fused; it has dense, bm25, hybrid") as refused:
        Index(tmp_path / "index").search(QUERY, mode=Mode.FUSED)
    assert "neuromap" in refused.value.hint
    asked = [
        "index",
        corpus,
        "--model",
        tiny_model,
        "--out",
        tmp_path / "other",
        "--parts",
        "sparse",
        "--format",
        "json",
    ]
    refused_too = CliRunner().invoke(cli.app, [str(word) for word in asked])
    assert refused_too.exit_code == 2 and "has no head 'sparse'; it has dense" in refused_too.stdout


def test_an_index_from_before_heads_is_searched_as_it_was(built: tuple[Path, Built]):
    file = built[0] / INDEX_LAYOUT.manifest
    values = json.loads(file.read_text(encoding="utf-8"))
    hits = Index(built[0]).search(QUERY, 5)
    for name in ("heads", "sizes"):
        del values[name]
    for name in ("joined", "fused", "ndcg_fused"):
        del values["fusion"][name]
    file.write_text(json.dumps(values), encoding="utf-8")
    index = Index(built[0])
    assert index.search(QUERY, 5) == hits and index.manifest.modes == (Mode.DENSE, Mode.BM25, Mode.HYBRID)


def test_parts_are_read_as_they_are_written_and_others_refused():
    assert read_parts("dense") == (Head.DENSE,) and read_parts("sparse,multi-vector") == (
        Head.SPARSE,
        Head.MULTI_VECTOR,
    )
    with pytest.raises(InputError, match=r"'bm25' is no part .* dense, sparse, multi_vector"):
        read_parts("dense,bm25")


# Chosen on dev


def asked(dense: int, words: int, fused: int) -> Asked:
    """Return a query whose answer, document 0, stands at these places."""
    return Asked(ranked(dense), ranked(words), 0, ranked(fused))


@pytest.mark.parametrize(
    ("dense", "words", "fused", "joined", "least", "most"),
    [
        (19, 19, 0, "fused", 1, 1), (0, 19, 19, "dense", 1, 1), (0, 0, 0, "fused", 1, 1), (19, 0, 19, "fused", 0, 0.5),
    ],
)  # fmt: skip
def test_whether_heads_or_one_vector_are_joined_with_words_is_chosen_on_dev(
    dense: int, words: int, fused: int, joined: str, least: float, most: float
):
    found = choose_fusion([asked(dense, words, fused)] * 30, by_heads=True, by_people=True)
    assert found.joined == joined and least <= found.share <= most and found.ndcg_hybrid == 1
    assert (found.ndcg_dense, found.ndcg_bm25, found.ndcg_fused) == tuple(int(at == 0) for at in (dense, words, fused))
    assert choose_fusion([asked(dense, words, fused)] * 19, by_heads=True).joined == "fused"
    # How much the one vector counts beside words is what it would be without heads.
    plain = choose_fusion([asked(dense, words, fused)] * 30, by_people=True)
    assert (plain.dense, plain.fused, plain.ndcg_fused) == (found.dense, None, None)


def test_an_index_of_a_run_searches_by_words_too_where_dev_says_so(
    tmp_path: Path, headed_model: Path, capsys: pytest.CaptureFixture[str]
):
    from hfembed.terminal_index import show_built

    run, rows = Run(tmp_path / "run"), some_documents(40)
    keep_documents(run, [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in rows])
    dev = [{"query": f"word{at} token{3 * at}", "positive_id": f"d{at}", "writer": "people"} for at in range(30)]
    run.path(LAYOUT.dev).parent.mkdir()
    pq.write_table(pa.Table.from_pylist(dev), run.path(LAYOUT.dev))
    built = build_index(str(run.folder), str(headed_model), tmp_path / "index")
    fusion = built.manifest.fusion
    assert fusion.queries == 30 and fusion.ndcg_bm25 == 1 and fusion.ndcg_fused is not None and fusion.ndcg_fused < 1
    assert built.manifest.mode is Mode.HYBRID and fusion.share < 1
    index = Index(tmp_path / "index")
    assert index.search(QUERY, 5) == index.search(QUERY, 5, Mode.HYBRID)
    show_built(built, tmp_path / "index")
    said = " ".join(capsys.readouterr().out.split())
    assert "heads alone" in said and "chosen on 30 queries" in said and "multi_vector 0.2 MB" in said
