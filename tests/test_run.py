"""The run folder: what stands where, what makes a stage done, and who may write."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from builders import run_until, some_documents, write_beir, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from hfembed import run as module
from hfembed.errors import RunBusyError, RunError, RunMismatchError
from hfembed.recipe import Recipe, make_recipe
from hfembed.run import LAYOUT, Manifest, Run, hash_file, hash_folder, hash_json, write_atomically, write_json

HOLD = """
import sys, time
from pathlib import Path
from hfembed.run import Run
with Run(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def manifest(stage: str, **values: Any) -> Manifest:
    filled = {"inputs": "i", "output": "o", "hfembed": "0", "seconds": 1.0, "peak_mb": 1.0, "finished": "now"} | values
    return Manifest(stage=stage, **filled)


def finish(run: Run, stage: str, folder: str, files: dict[str, str], *, owner: bool, **values: Any) -> None:
    partial = run.begin(stage)
    for name, text in files.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_text(text, encoding="utf-8")
    run.commit(partial, folder, manifest(stage, **values), owner=owner)


def content(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "manifest.json"
    }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run")


# Layout


def test_the_layout_is_the_one_that_is_promised():
    assert LAYOUT.recipe == "recipe.yaml" and LAYOUT.events == "events.jsonl"
    assert LAYOUT.documents == "corpus/documents.parquet"
    assert (LAYOUT.train, LAYOUT.dev, LAYOUT.test) == (
        "triplets/train.parquet",
        "triplets/dev.parquet",
        "triplets/test",
    )
    assert (LAYOUT.model, LAYOUT.onnx, LAYOUT.report) == ("model", "model/onnx", "report/report.json")


def test_every_path_of_the_layout_stays_inside_the_run(run: Run):
    paths = [run.path(relative) for relative in astuple(LAYOUT)]
    assert len(set(paths)) == len(paths)
    assert all(path.resolve().is_relative_to(run.folder.resolve()) for path in paths)


def test_a_finished_pull_and_generate_leave_what_the_layout_names(tmp_path: Path):
    corpus = write_beir(tmp_path / "beir", some_documents())
    run, _ = run_until(tmp_path / "run", corpus, "generate")
    for relative in (LAYOUT.recipe, LAYOUT.events, LAYOUT.documents, LAYOUT.pairs, LAYOUT.dev):
        assert run.path(relative).is_file()
    assert sorted(content(run.path(LAYOUT.test))) == ["corpus.jsonl", "qrels/test.tsv", "queries.jsonl"]
    assert not run.path(LAYOUT.partial).exists()


def test_addressing_a_run_makes_nothing(tmp_path: Path):
    Run(tmp_path / "run").path(LAYOUT.report)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path):
    with pytest.raises(RunError, match="is not a run") as caught:
        Run.open(tmp_path)
    assert str(tmp_path) in caught.value.message and "hfembed run SRC" in caught.value.hint


# Manifests


def test_a_stage_without_manifest_is_not_done(run: Run):
    assert run.manifests("corpus") == {}
    run.path("corpus").mkdir()
    assert run.manifests("corpus") == {}


def test_an_owner_replaces_its_folder_whole(run: Run):
    finish(run, "pull", "corpus", {"a": "old", "b/c": "old"}, owner=True, counts={"read": 1})
    finish(run, "pull", "corpus", {"a": "new"}, owner=True, counts={"read": 2})
    assert content(run.path("corpus")) == {"a": "new"}
    assert run.manifests("corpus")["pull"].counts == {"read": 2}
    assert not run.path(LAYOUT.partial).exists()


def test_a_guest_adds_to_the_folder_and_to_the_manifest(run: Run):
    finish(run, "generate", "triplets", {"pairs": "p", "test/q": "q"}, owner=True)
    finish(run, "mine", "triplets", {"train": "t"}, owner=False)
    assert content(run.path("triplets")) == {"pairs": "p", "test/q": "q", "train": "t"}
    assert set(run.manifests("triplets")) == {"generate", "mine"}


def test_a_guest_replaces_only_its_own_things(run: Run):
    finish(run, "train", "model", {"weights": "w"}, owner=True)
    finish(run, "export", "model", {"onnx/a": "1", "onnx/b": "1"}, owner=False)
    finish(run, "export", "model", {"onnx/a": "2"}, owner=False)
    assert content(run.path("model")) == {"weights": "w", "onnx/a": "2"}
    assert set(run.manifests("model")) == {"train", "export"}


def test_an_owner_that_works_again_undoes_its_guests(run: Run):
    finish(run, "train", "model", {"weights": "w"}, owner=True)
    finish(run, "export", "model", {"onnx/a": "1"}, owner=False)
    finish(run, "train", "model", {"weights": "w2"}, owner=True)
    assert content(run.path("model")) == {"weights": "w2"} and set(run.manifests("model")) == {"train"}


@pytest.mark.parametrize("owner", [True, False])
def test_a_crash_while_results_are_put_in_place_never_leaves_a_half_that_counts(
    run: Run, owner: bool, monkeypatch: pytest.MonkeyPatch
):
    """Cut the commit at every rename in turn: what is marked as done is whole, old or new."""
    stage, folder = ("pull", "corpus") if owner else ("export", "model")
    if not owner:
        finish(run, "train", "model", {"weights": "w"}, owner=True)
    rename, cut = Path.rename, 0
    while True:
        finish(run, stage, folder, {"x/a": "old", "y/b": "old"}, owner=owner)
        calls = iter(range(100))

        def breaking(self: Path, target: Path, cut: int = cut, calls: Any = calls) -> Path:
            if next(calls) == cut:
                raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", breaking)
        try:
            finish(run, stage, folder, {"x/a": "new", "y/b": "new"}, owner=owner)
            finished = True
        except KeyboardInterrupt:
            finished = False
        monkeypatch.undo()
        run.abandon()
        found = {name: text for name, text in content(run.path(folder)).items() if name != "weights"}
        if stage in run.manifests(folder):
            assert found in ({"x/a": "old", "y/b": "old"}, {"x/a": "new", "y/b": "new"})
        if not owner:
            assert "train" in run.manifests(folder) and content(run.path(folder))["weights"] == "w"
        if finished:
            assert found == {"x/a": "new", "y/b": "new"} and cut >= 2
            return
        cut += 1


@pytest.mark.parametrize("text", ["", "{", "{}", '{"stages": {"pull": {}}}', '{"stages": {"pull": null}}'])
def test_a_damaged_manifest_is_named_with_what_to_delete(run: Run, text: str):
    finish(run, "pull", "corpus", {"a": "x"}, owner=True)
    (run.path("corpus") / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match="damaged") as caught:
        run.manifests("corpus")
    assert "manifest.json" in caught.value.message
    assert "Delete" in caught.value.hint and str(run.path("corpus")) in caught.value.hint


@pytest.mark.parametrize("raw", [b"[]", b"null", b'{"stages": []}', b"\xff\xfe"])
def test_a_manifest_of_another_shape_is_damaged_too(run: Run, raw: bytes):
    run.path("corpus").mkdir()
    (run.path("corpus") / "manifest.json").write_bytes(raw)
    with pytest.raises(RunError, match="damaged"):
        run.manifests("corpus")


def test_deleting_the_folder_of_a_damaged_manifest_redoes_its_stages(tmp_path: Path):
    import shutil

    corpus = write_beir(tmp_path / "beir", some_documents())
    run, _ = run_until(tmp_path / "run", corpus, "generate")
    (run.path("triplets") / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        run_until(tmp_path / "run", corpus, "generate")
    shutil.rmtree(run.path("triplets"))
    assert run_until(tmp_path / "run", corpus, "generate")[1] == ["generate"]


def test_a_manifest_reads_back_and_knows_no_other_fields(run: Run):
    made = manifest("pull", dropped={"no_text": 1}, facts={"a": [1]}, versions={"python": "3"}, sources={"b": {}})
    run.commit(run.begin("pull"), "corpus", made, owner=True)
    assert run.manifests("corpus") == {"pull": made}
    with pytest.raises(ValueError, match="bogus"):
        manifest("pull", bogus=1)


def test_a_manifest_says_what_architecture_promises(tmp_path: Path):
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [*some_documents(), {"_id": "x", "text": ""}])
    run, _ = run_until(tmp_path / "run", corpus, "pull")
    done = run.manifests("corpus")["pull"]
    assert done.counts["read"] == 25 and done.dropped == {"no_text": 1}
    assert done.seconds > 0 and done.peak_mb > 10
    assert done.output == hash_folder(run.path("corpus")) and len(done.inputs) == 64
    assert {"python", "pyarrow", "numpy"} <= set(done.versions)
    assert done.sources["corpus"]["fingerprint"]


# Beginning and abandoning


def test_a_stage_begins_with_an_empty_folder(run: Run):
    (run.begin("pull") / "left").write_text("x", encoding="utf-8")
    assert list(run.begin("pull").iterdir()) == []


def test_abandoning_leaves_no_trace_and_may_be_repeated(run: Run):
    (run.begin("pull") / "left").write_text("x", encoding="utf-8")
    run.abandon()
    run.abandon()
    assert list(run.folder.iterdir()) == []


# Hashes


def test_the_hash_of_a_folder_follows_names_and_bytes_and_nothing_else(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "b").write_text("x", encoding="utf-8")
        (tmp_path / name / "deep" / "a").write_text("y", encoding="utf-8")
    first = hash_folder(tmp_path / "one")
    os.utime(tmp_path / "two" / "b", (0, 0))
    (tmp_path / "two" / "manifest.json").write_text("{}", encoding="utf-8")
    assert hash_folder(tmp_path / "two") == first
    (tmp_path / "two" / "b").rename(tmp_path / "two" / "c")
    assert hash_folder(tmp_path / "two") != first
    (tmp_path / "two" / "c").rename(tmp_path / "two" / "b")
    (tmp_path / "two" / "b").write_text("z", encoding="utf-8")
    assert hash_folder(tmp_path / "two") != first


def test_moving_bytes_between_files_changes_the_hash(tmp_path: Path):
    hashes = set()
    for number, (a, b) in enumerate([("xy", "z"), ("x", "yz"), ("", "xyz")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a").write_text(a, encoding="utf-8")
        (folder / "b").write_text(b, encoding="utf-8")
        hashes.add(hash_folder(folder))
    assert len(hashes) == 3


def test_the_hash_of_a_file_is_sha256(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=("Cs",)), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abé", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(value=st.dictionaries(st.text("abc", max_size=2), JSON), other=JSON)
def test_the_hash_of_json_follows_values_and_not_the_order_of_keys(value: dict[str, Any], other: Any):
    assert hash_json(dict(reversed(value.items()))) == hash_json(value)
    if json.dumps(other, sort_keys=True) != json.dumps(value, sort_keys=True):
        assert hash_json(other) != hash_json(value)


# Atomic writing


def test_a_file_is_old_or_new_and_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "a.json"
    write_atomically(file, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "new")
    assert file.read_text(encoding="utf-8") == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_json_is_written_for_people(tmp_path: Path):
    write_json(tmp_path / "a.json", {"wörter": [1]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"wörter": [1]} and "wörter" in text and text.endswith("\n") and text.count("\n") > 2


def test_the_recipe_is_kept_complete_and_replaced_whole(run: Run):
    run.write_recipe(make_recipe(settings=["seed=7"]))
    assert run.recipe() == make_recipe(settings=["seed=7"])
    run.write_recipe(Recipe())
    assert Run.open(run.folder).recipe() == Recipe()
    assert "block_size" in run.path(LAYOUT.recipe).read_text(encoding="utf-8")
    assert [item.name for item in run.folder.iterdir()] == [LAYOUT.recipe]


# The lock


@pytest.fixture
def other_process(run: Run) -> Any:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_until_the_first_is_gone(run: Run, other_process: Any):
    with pytest.raises(RunBusyError, match="Another process") as caught, run.locked():
        pass
    assert str(run.folder) in caught.value.message and "hfembed status" in caught.value.hint
    assert run.is_busy()
    other_process.kill()
    other_process.wait()
    with run.locked():
        pass
    assert not run.is_busy()


def test_the_command_is_refused_while_another_process_works(run: Run, other_process: Any, hfembed: Any, tmp_path: Path):
    corpus = write_jsonl(tmp_path / "corpus.jsonl", some_documents(12))
    answer = hfembed("run", "--corpus", corpus, "--run", run.folder, "--until", "pull", "--format", "json")
    assert answer.code == 2 and answer.json()["error"]["type"] == "RunBusyError"
    assert sorted(item.name for item in run.folder.iterdir()) == [LAYOUT.lock]


def test_the_lock_is_given_back_after_an_error(run: Run):
    with pytest.raises(ValueError, match="x"), run.locked():
        raise ValueError("x")
    with run.locked():
        pass


def test_a_run_in_place_of_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="cannot be made a folder"), Run(folder).locked():
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(run: Run):
    run.folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(RunError, match="cannot be written"), run.locked():
        pass


# Other people's folders


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a folder with a corpus in it that nobody has a copy of."""
    folder = tmp_path / "project"
    (folder / "corpus").mkdir(parents=True)
    for number in range(12):
        (folder / "corpus" / f"{number}.txt").write_text(f"A precious text, number {number}.", encoding="utf-8")
    return folder


def test_run_refuses_a_folder_that_holds_other_files(project: Path):
    before = content(project)
    with pytest.raises(RunMismatchError, match="not empty"):
        run_until(project, project / "corpus", "pull")
    assert content(project) | {".lock": ""} == before | {".lock": ""}


def test_an_empty_folder_may_become_a_run(tmp_path: Path):
    (tmp_path / "run").mkdir()
    assert run_until(tmp_path / "run", write_beir(tmp_path / "beir", some_documents()), "pull")[1] == ["pull"]


def test_the_stage_command_refuses_a_folder_that_holds_other_files(project: Path, hfembed: Any):
    answer = hfembed("pull", project, "--set", f"corpus={project / 'corpus'}", "--format", "json")
    assert len(list((project / "corpus").glob("*.txt"))) == 12
    assert answer.code == 2


def test_a_recipe_beside_a_corpus_does_not_make_the_corpus_ours(project: Path):
    (project / "recipe.yaml").write_text(f"corpus: {project / 'corpus'}\n", encoding="utf-8")
    with pytest.raises(RunError):
        run_until(project, project / "corpus", "pull")
    assert len(list((project / "corpus").glob("*.txt"))) == 12
