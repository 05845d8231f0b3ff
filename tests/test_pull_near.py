"""pull finds near duplicates, and only those: they are kept, and share a group."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Listener, read_documents, run_until, some_documents, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from hfembed.pull.near import SKETCH, Bands, Sketches, join_groups, shingle_hashes
from hfembed.run import Manifest

LONG = (
    "The gearbox of the old turbine was opened in the spring, and the mechanics found that two of its seven wheels had "
    "lost their teeth while the oil was still clean, which nobody on the site could explain until the winter came."
)


def pull(tmp_path: Path, texts: Sequence[str], *settings: str, **options: Any) -> tuple[dict[str, str], Manifest]:
    """Pull texts beside ten others; return the group of each."""
    rows = [*some_documents(10), *({"_id": f"t{n:02}", "title": "", "text": text} for n, text in enumerate(texts))]
    run, _ = run_until(tmp_path / "run", write_jsonl(tmp_path / "c.jsonl", rows), "pull", *settings, **options)
    return {row["id"]: row["group"] for row in read_documents(run)}, run.manifests("corpus")["pull"]


def shared(*texts: str) -> float:
    sketches = Sketches()
    sketches.add(texts)
    return float(sketches.shared(np.array([[0, 1]]))[0])


def test_near_duplicates_are_kept_and_grouped_under_the_smallest_id(tmp_path: Path):
    heard = Listener()
    texts = [LONG.replace("spring", "summer"), "Something else is said in here, once only.", LONG, LONG.upper() + "!!"]
    groups, manifest = pull(tmp_path, texts, listeners=[heard])
    assert [groups[f"t{n:02}"] for n in range(4)] == ["t00", "t01", "t00", "t00"]
    assert all(groups[f"d{n}"] == f"d{n}" for n in range(10))
    assert manifest.facts["near_duplicate_groups"] == 1 and manifest.facts["near_duplicates"] == 3
    assert manifest.counts["documents"] == 14 and manifest.dropped == {}
    assert "3 near duplicates in 1 group, each kept in one split" in heard.messages("note")


def test_the_threshold_is_a_setting_and_null_looks_for_none(tmp_path: Path):
    texts = [LONG, LONG.replace("spring", "summer").replace("seven", "nine").replace("winter", "snow")]
    assert 0.5 < shared(*texts) < 0.8
    for number, (setting, together) in enumerate({"0.8": False, "0.5": True, "null": False}.items()):
        groups, _ = pull(tmp_path / str(number), texts, f"pull.near_duplicates={setting}")
        assert (groups["t01"] == "t00") is together, setting


def test_texts_that_share_a_template_are_no_near_duplicates(tmp_path: Path):
    names = ["thalamus", "cortex", "putamen", "striatum", "fornix", "insula", "cuneus", "pons", "medulla", "uncus"]
    texts = [
        f"The {name} is a part of the brain that is found next to the {other}."
        for name, other in zip(names, names[::-1], strict=True)
    ]
    texts += [f"Definition of {name}: any cell whose body stands in the {name} of an adult." for name in names]
    texts += [
        f"Any molecule, protein, cell, tissue or organ of an adult that is related to the {name}." for name in names
    ]
    texts += [f"A {name} neuron." for name in names] + [f"Part of the left {name}" for name in names]
    groups, manifest = pull(tmp_path, texts)
    assert all(identity == group for identity, group in groups.items())
    assert manifest.facts["near_duplicate_groups"] == 0


def test_short_texts_are_alike_when_they_say_the_same(tmp_path: Path):
    groups, _ = pull(
        tmp_path, ["A brain cell", "a Brain cell.", "A brain", "Brain, a", "Brain cells of rats"], "pull.min_chars=5"
    )
    assert groups["t01"] == "t00" and {groups[f"t{n:02}"] for n in (2, 3, 4)} == {"t02", "t03", "t04"}


def test_texts_without_words_are_not_alike(tmp_path: Path):
    groups, _ = pull(tmp_path, ["!!! ??? !!! ???", "--- --- --- ---", "*** *** *** ***"])
    assert all(identity == group for identity, group in groups.items())


def test_scripts_without_spaces_are_compared_by_the_character(tmp_path: Path):
    text = "该泵在飞行三小时后开始漏油，因此机械师必须在下一次飞行之前更换第七号零件并检查所有的阀门和软管。"
    groups, _ = pull(
        tmp_path, [text, text.replace("三", "五"), "每天早晨检查电池电压，低于十二伏时必须立即充电并记录读数。"]
    )
    assert groups["t01"] == "t00" and groups["t02"] == "t02"


def test_one_large_group_is_warned_about(tmp_path: Path):
    heard = Listener()
    pull(tmp_path, [LONG.replace("site", f"site{n}") for n in range(8)], listeners=[heard])
    assert any("8 of 18 documents are near duplicates of one another" in text for text in heard.messages("warning"))


def test_chunks_that_are_alike_join_their_documents(tmp_path: Path):
    texts = [f"# One\nOnly here word{n} and token{n} stand together.\n# Two\n{LONG} Item{n}." for n in range(2)]
    groups, manifest = pull(tmp_path, texts, "pull.chunk.by=headings")
    assert {groups[name] for name in groups if name.startswith("t")} == {"t00"}
    assert manifest.facts["near_duplicates"] == 2 and len([name for name in groups if name.startswith("t")]) == 4


def test_planted_pairs_are_found_among_many_and_nothing_else(tmp_path: Path):
    draw = random.Random(3)
    words = [f"w{n}" for n in range(5_000)]
    texts = [" ".join(draw.choices(words, k=40)) for _ in range(3_000)]
    for number in range(0, 300, 2):
        texts[number + 1] = texts[number].replace(texts[number].split()[-1], "other")
    bands = Bands(0.8)
    for at in range(0, len(texts), 700):
        bands.add(texts[at : at + 700])
    pairs = {tuple(pair) for pair in bands.pairs(np.arange(len(texts))).tolist()}
    assert {(n, n + 1) for n in range(0, 300, 2)} <= pairs and len(pairs) < 160


@given(st.lists(st.text(max_size=40), max_size=8))
def test_the_shingles_of_a_text_do_not_depend_on_its_neighbours(texts: list[str]):
    hashes, begins = shingle_hashes(texts)
    assert len(begins) == len(texts) + 1
    for number, text in enumerate(texts):
        alone, _ = shingle_hashes([text])
        assert hashes[begins[number] : begins[number + 1]].tolist() == alone.tolist()


@pytest.mark.parametrize(("kept", "jaccard"), [(1.0, 1.0), (0.9, 0.818), (0.5, 0.333), (0.0, 0.0)])
@pytest.mark.parametrize("length", [60, 3_000])
def test_what_two_texts_share_is_exact_when_short_and_close_when_long(kept: float, jaccard: float, length: int):
    first = [f"a{n}" for n in range(length)]
    cut = round(kept * length)
    measured = shared(" ".join(first), " ".join([*first[:cut], *(f"b{n}" for n in range(length - cut))]))
    assert length < SKETCH or length > 10 * SKETCH
    assert measured == pytest.approx(jaccard, abs=0.08 if length > SKETCH else 0.05)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_joined_groups_are_the_connected_parts(edges: list[tuple[int, int]]):
    import networkx

    graph = networkx.Graph(edges)
    graph.add_nodes_from(range(20))
    groups = join_groups(np.array(edges, np.int64).reshape(-1, 2), 20)
    for part in networkx.connected_components(graph):
        assert {int(groups[node]) for node in part} == {min(part)}
