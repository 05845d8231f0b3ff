"""The pipeline: what is skipped, what is redone, what is refused, and who may import whom."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest
from builders import Listener, recipe_for, run_until, some_documents, write_beir

import hfembed
from hfembed import cli, pipeline
from hfembed.errors import HfembedError, InputError, MissingExtraError, ModelError, RunMismatchError, StageError
from hfembed.pipeline import NAMES, STAGES
from hfembed.recipe import Recipe, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import Job, Outcome, library_versions, require
from hfembed.summary import summarize

PACKAGE = Path(hfembed.__file__).parent


class Workshop:
    """Every stage replaced by a toy that writes one file and remembers that it was called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.breaking: BaseException | None = None
        self.breaks = ""
        self.corpus = write_beir(folder / "beir", some_documents(12))
        self.base = folder / "base"
        self.base.mkdir()
        (self.base / "config.json").write_text("{}", encoding="utf-8")
        (self.base / "model.safetensors").write_bytes(b"weights")
        self.run = Run(folder / "run")
        for stage in STAGES:
            monkeypatch.setattr(import_module(f"hfembed.{stage.name}"), stage.name, self.toy(stage.name))

    def toy(self, name: str) -> Any:
        def work(job: Job) -> Outcome:
            self.calls.append(name)
            (job.out / f"{name}.txt").write_text(f"{name} {getattr(job.recipe, name)!r}", encoding="utf-8")
            if name == self.breaks and self.breaking:
                raise self.breaking
            return Outcome(counts={"made": 1}, dropped={"some": 2, "none": 0}, facts={"published": []})

        return work

    def go(self, *settings: str, **options: Any) -> list[str]:
        """Run; return the stages that say they worked, having checked that they did."""
        self.calls.clear()
        worked = pipeline.run(recipe_for(self.corpus, *settings, base=self.base), self.run, **options)
        assert worked == self.calls
        return worked


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return Workshop(tmp_path, monkeypatch)


# Order, until, skip


def test_the_stages_are_the_seven_verbs_in_order():
    assert NAMES == ("pull", "generate", "mine", "train", "evaluate", "export", "push")


def test_a_stage_needs_only_earlier_ones_and_guests_come_after_their_owner():
    for at, stage in enumerate(STAGES):
        assert set(stage.needs) <= set(NAMES[:at])
        if not stage.owner:
            assert any(other.owner and other.folder == stage.folder for other in STAGES[:at])
    assert len({stage.folder for stage in STAGES if stage.owner}) == sum(stage.owner for stage in STAGES)


def test_without_a_repo_a_run_ends_with_export_and_with_one_it_pushes(shop: Workshop):
    assert shop.go() == list(NAMES[:-1])
    assert shop.go("push.model_repo=me/model") == ["push"]


@pytest.mark.parametrize("last", NAMES)
def test_until_ends_after_the_named_stage(shop: Workshop, last: str):
    assert shop.go(until=last) == list(NAMES[: NAMES.index(last) + 1])
    assert set(pipeline.manifests(shop.run)) == set(NAMES[: NAMES.index(last) + 1])


def test_a_second_identical_run_does_no_work_and_says_so(shop: Workshop):
    shop.go()
    before = {name: done.model_dump() for name, done in pipeline.manifests(shop.run).items()}
    heard = Listener()
    assert shop.go(listeners=[heard]) == []
    assert [(event.kind, event.stage) for event in heard] == [("skipped", name) for name in NAMES[:-1]]
    assert {name: done.model_dump() for name, done in pipeline.manifests(shop.run).items()} == before


def test_a_run_goes_on_where_until_ended_it(shop: Workshop):
    shop.go(until="mine")
    assert shop.go(until="evaluate") == ["train", "evaluate"]


def test_a_stage_whose_results_were_deleted_is_redone_alone_when_it_gives_the_same(shop: Workshop):
    import shutil

    shop.go()
    shutil.rmtree(shop.run.path("report"))
    assert shop.go() == ["evaluate"]
    shutil.rmtree(shop.run.path("corpus"))
    assert shop.go() == ["pull"]


def test_changed_bytes_of_the_corpus_redo_the_pull(shop: Workshop):
    shop.go(until="generate")
    write_beir(shop.corpus, some_documents(13))
    assert shop.go(until="generate") == ["pull"]  # the toy's output is the same, so generate stands


def test_changed_weights_of_the_base_redo_what_reads_it(shop: Workshop):
    shop.go()
    (shop.base / "model.safetensors").write_bytes(b"other")
    assert shop.go() == ["mine", "train", "evaluate", "export"]


def test_changed_code_of_a_stage_redoes_it(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    shop.go(until="generate")
    code = pipeline.Stage.code
    monkeypatch.setattr(pipeline.Stage, "code", lambda stage: "new" if stage.name == "generate" else code(stage))
    assert shop.go(until="generate") == ["generate"]


def test_the_hash_of_the_code_covers_every_file_of_a_stage():
    for stage in STAGES:
        assert len(stage.code()) == 64
    assert len({stage.code() for stage in STAGES}) == len(STAGES)


def test_what_a_stage_writes_decides_whether_later_ones_are_redone(tmp_path: Path):
    corpus = write_beir(tmp_path / "beir", some_documents())
    run_until(tmp_path / "run", corpus, "generate")
    write_beir(corpus, [*some_documents(), {"_id": "x", "text": ""}])  # read, and dropped
    assert run_until(tmp_path / "run", corpus, "generate")[1] == ["pull"]
    write_beir(corpus, some_documents(25))
    assert run_until(tmp_path / "run", corpus, "generate")[1] == ["pull", "generate"]


# Another recipe, rerun

CHANGES = [
    ("pull.min_chars=11", "pull"),
    ("seed=1", "generate"),
    ("generate.kinds.title=0", "generate"),
    ("mine.negatives=2", "mine"),
    ("train.strength=0.5", "train"),
    ("train.phases.0.steps=3", "train"),
    ("evaluate.bootstrap=100", "evaluate"),
    ("export.sample=9", "export"),
]


@pytest.mark.parametrize(("setting", "stage"), CHANGES)
def test_another_recipe_is_refused_with_what_differs_and_the_way_on(shop: Workshop, setting: str, stage: str):
    shop.go()
    before = shop.run.path(LAYOUT.recipe).read_text(encoding="utf-8")
    with pytest.raises(RunMismatchError, match="another recipe") as caught:
        shop.go(setting)
    assert shop.calls == []
    assert setting.split("=")[0].removesuffix(".0.steps").removesuffix(".title") in caught.value.message
    assert f"--rerun {stage}" in caught.value.hint and "--run" in caught.value.hint
    assert shop.run.path(LAYOUT.recipe).read_text(encoding="utf-8") == before


@pytest.mark.parametrize(("setting", "stage"), CHANGES)
def test_another_recipe_is_accepted_with_rerun_of_the_stage_it_touches(shop: Workshop, setting: str, stage: str):
    shop.go()
    assert shop.go(setting, rerun=stage) == list(NAMES[NAMES.index(stage) : -1])
    assert shop.run.recipe() == recipe_for(shop.corpus, setting, base=shop.base)
    assert shop.go(setting) == []


def test_rerun_of_a_later_stage_does_not_excuse_an_earlier_change(shop: Workshop):
    shop.go()
    with pytest.raises(RunMismatchError, match=r"mine\.negatives is 4 there and 2 here"):
        shop.go("mine.negatives=2", rerun="train")


def test_a_change_of_what_is_not_done_yet_is_no_mismatch(shop: Workshop):
    shop.go(until="mine")
    assert shop.go("train.strength=0.5") == ["train", "evaluate", "export"]


def test_another_corpus_or_base_is_another_recipe(shop: Workshop, tmp_path: Path):
    shop.go(until="mine")
    other = write_beir(tmp_path / "other", some_documents(14))
    with pytest.raises(RunMismatchError, match="corpus is") as caught:
        pipeline.run(recipe_for(other, base=shop.base), shop.run, until="mine")
    assert "--rerun pull" in caught.value.hint
    (tmp_path / "base2").mkdir()
    for file in shop.base.iterdir():
        (tmp_path / "base2" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(RunMismatchError, match="base is") as caught:
        pipeline.run(recipe_for(shop.corpus, base=tmp_path / "base2"), shop.run, until="mine")
    assert "--rerun mine" in caught.value.hint


def test_a_new_address_to_push_to_contradicts_nothing(shop: Workshop):
    shop.go("push.model_repo=me/one")
    assert shop.go("push.model_repo=me/two") == ["push"]


def test_rerun_redoes_a_stage_and_all_after_it_and_no_other(shop: Workshop):
    shop.go()
    assert shop.go(rerun="train") == ["train", "evaluate", "export"]
    assert shop.go(rerun="train", until="evaluate") == ["train", "evaluate"]


def test_a_recipe_of_a_run_that_cannot_be_read_is_refused(shop: Workshop):
    shop.go(until="pull")
    shop.run.path(LAYOUT.recipe).write_text("bogus: 1\n", encoding="utf-8")
    with pytest.raises(InputError, match="bogus"):
        shop.go(until="pull")


# What is missing is said before any work is done


def test_a_missing_base_is_said_before_anything_is_pulled(shop: Workshop):
    shop.base = shop.base.parent / "gone"
    with pytest.raises(ModelError, match="gone"):
        shop.go()
    assert shop.calls == [] and not shop.run.folder.exists()


def test_a_missing_base_does_not_matter_before_it_is_needed(shop: Workshop):
    shop.base = shop.base.parent / "gone"
    assert shop.go(until="generate") == ["pull", "generate"]


def test_a_run_without_a_corpus_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="No corpus") as caught:
        pipeline.run(make_recipe(), Run(tmp_path / "run"), until="pull")
    assert "--corpus" in caught.value.hint


@pytest.mark.parametrize(("hidden", "stage", "extra"), [("mteb", "mine", "train"), ("optimum-onnx", "export", "onnx")])
def test_a_missing_extra_is_said_before_any_work_with_the_command(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, hidden: str, stage: str, extra: str
):
    version = metadata.version

    def hide(name: str) -> str:
        if name == hidden:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", hide)
    with pytest.raises(MissingExtraError, match=f"{stage} needs '{hidden}', which is not installed") as caught:
        shop.go()
    assert f'pip install "hfembed[{extra}]"' in caught.value.hint
    assert shop.calls == [] and pipeline.manifests(shop.run) == {}


def test_a_library_hidden_at_work_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match="needs 'bm25s', which is not installed") as caught:
        require("train", "json", "bm25s")
    assert caught.value.hint == 'pip install "hfembed[train]"'


# Failure


@pytest.mark.parametrize("error", [StageError("broken"), ValueError("broken"), KeyboardInterrupt()])
def test_a_stage_that_fails_leaves_nothing_and_the_next_run_goes_on_there(shop: Workshop, error: BaseException):
    shop.breaks, shop.breaking = "mine", error
    heard = Listener()
    with pytest.raises(type(error)):
        shop.go(listeners=[heard])
    assert set(pipeline.manifests(shop.run)) == {"pull", "generate"}
    assert not shop.run.path(LAYOUT.partial).exists() and not (shop.run.path("triplets") / "mine.txt").exists()
    assert (heard[-1].kind, heard[-1].stage) == ("failed", "mine") and heard[-1].message
    shop.breaking = None
    assert shop.go() == ["mine", "train", "evaluate", "export"]


def test_a_failing_rerun_keeps_the_earlier_results(shop: Workshop):
    shop.go()
    shop.breaks, shop.breaking = "train", StageError("broken")
    with pytest.raises(StageError):
        shop.go(rerun="train")
    assert set(pipeline.manifests(shop.run)) == set(NAMES[:-1])


def test_a_full_disk_is_said_and_finished_stages_are_kept(shop: Workshop):
    shop.breaks, shop.breaking = "train", OSError(28, "No space left on device")
    with pytest.raises(HfembedError, match="disk is full: train"):
        shop.go()
    assert set(pipeline.manifests(shop.run)) == {"pull", "generate", "mine"}


def test_what_a_killed_process_left_is_cleared_away(shop: Workshop):
    shop.go(until="pull")
    (shop.run.begin("generate") / "half").write_text("x", encoding="utf-8")
    shop.go(until="pull")
    assert not shop.run.path(LAYOUT.partial).exists()


def test_events_tell_start_and_done_of_each_stage_with_its_counts(shop: Workshop):
    heard = Listener()
    shop.go(until="generate", listeners=[heard])
    assert [(event.kind, event.stage) for event in heard] == [
        ("start", "pull"), ("done", "pull"), ("start", "generate"), ("done", "generate"),
    ]  # fmt: skip
    assert heard[1].data == {"counts": {"made": 1}}


def test_reasons_that_dropped_nothing_are_left_out_of_the_manifest(shop: Workshop):
    shop.go(until="pull")
    assert pipeline.manifests(shop.run)["pull"].dropped == {"some": 2}


# One stage alone


def test_one_stage_works_from_what_lies_in_the_run(shop: Workshop):
    shop.go(until="generate")
    recipe = shop.run.recipe()
    shop.calls.clear()
    assert pipeline.run_stage("mine", recipe, shop.run) == ["mine"] == shop.calls
    assert pipeline.run_stage("mine", recipe, shop.run) == []


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_stage_whose_needs_are_missing_names_the_first_and_its_command(shop: Workshop, name: str):
    stage = STAGES[NAMES.index(name)]
    with pytest.raises(StageError, match=f"{name} needs the results of {stage.needs[0]}") as caught:
        pipeline.run_stage(name, recipe_for(shop.corpus, base=shop.base), shop.run)
    assert caught.value.hint == f"hfembed {stage.needs[0]} {shop.run.folder}"
    assert shop.calls == []


def test_a_changed_setting_of_a_stage_redoes_it_and_only_it(shop: Workshop):
    shop.go()
    changed = recipe_for(shop.corpus, "mine.negatives=2", base=shop.base)
    shop.calls.clear()
    assert pipeline.run_stage("mine", changed, shop.run) == ["mine"] == shop.calls
    assert shop.run.recipe() == changed
    assert shop.go("mine.negatives=2") == ["train", "export"]  # the toy trains the same, so evaluate stands


def test_a_stage_refuses_results_that_are_older_than_what_they_were_made_from(shop: Workshop):
    shop.go(until="generate")
    shop.breaks = ""
    (shop.run.path("corpus") / "pull.txt").unlink()
    pipeline.run_stage("pull", recipe_for(shop.corpus, "pull.min_chars=30", base=shop.base), shop.run)
    with pytest.raises(HfembedError, match="generate"):
        pipeline.run_stage("mine", shop.run.recipe(), shop.run)


# The summary


def test_the_summary_marks_what_was_kept_and_holds_what_is_not_there_as_none(shop: Workshop):
    shop.go(until="mine")
    summary = summarize(shop.run, ["mine"])
    assert [(stage["name"], stage["skipped"]) for stage in summary["stages"]] == [
        ("pull", True), ("generate", True), ("mine", False),
    ]  # fmt: skip
    assert summary["run"] == str(shop.run.folder)
    assert [summary[key] for key in ("model", "report", "verdict", "onnx")] == [None] * 4
    assert all(stage["skipped"] is False for stage in summarize(shop.run)["stages"])


# One vocabulary


def test_a_stage_has_one_name_everywhere():
    commands = {
        command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback
    }
    for stage in STAGES:
        function = stage.function()
        assert function.__name__ == stage.name
        assert list(inspect.signature(function).parameters) == ["job"]
        assert function.__module__.split(".")[:2] == ["hfembed", stage.name]
        assert stage.name in Recipe.model_fields and stage.name in commands
    assert tuple(cli.STAGE_NAMES) == NAMES == tuple(name.value for name in cli.StageName)
    assert [name for name in Recipe.model_fields if name in NAMES] == list(NAMES)


def test_every_stage_opens_with_a_sentence():
    for stage in STAGES:
        assert stage.function().__doc__


def test_the_public_names_are_those_that_are_there():
    assert hfembed.__all__ == sorted(hfembed.__all__)
    for name in hfembed.__all__:
        assert getattr(hfembed, name) is not None
    with pytest.raises(AttributeError, match="bogus"):
        hfembed.bogus  # noqa: B018


# Import direction

FOUNDATION = {"errors", "events", "resources", "recipe", "run", "ranking", "hub", "corpus", "embed", "engine", "stage"}
ABOVE = {"cli", "terminal", "summary", "pipeline", "launch", "__main__", "space"}


def module_name(file: Path) -> str:
    parts = list(file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(["hfembed", *parts]).removesuffix(".__init__")


# A script runs in a process of its own and is imported by nobody: what a user's program would do.
SCRIPTS = {"hfembed.demo_search"}
FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py")) if "space" not in file.parts}
MODULES = {module: file for module, file in FILES.items() if module not in SCRIPTS}


def imports(file: Path, *, module_level: bool = False) -> Iterator[str]:
    """Yield the full name of everything a file imports; TYPE_CHECKING blocks import nothing."""
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} uses a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)
        if module_level and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        waiting += ast.iter_child_nodes(node)


def part(module: str) -> str:
    """Return the part of hfembed that a module belongs to."""
    return [*module.split("."), "__init__"][1]


def parts_imported(file: Path, **options: bool) -> set[str]:
    return {part(name) for name in imports(file, **options) if name.split(".")[0] == "hfembed"} - {"__init__"}


def test_no_stage_imports_another_stage():
    for module, file in MODULES.items():
        if part(module) in NAMES:
            assert parts_imported(file) & set(NAMES) <= {part(module)}, module


def test_stages_and_what_they_stand_on_import_nothing_above_them():
    for module, file in MODULES.items():
        if part(module) in {*NAMES, *FOUNDATION}:
            assert not parts_imported(file) & ABOVE, module


def test_the_foundation_imports_no_stage():
    for module, file in MODULES.items():
        if part(module) in FOUNDATION:
            assert not parts_imported(file) & set(NAMES), module


def test_scripts_stand_outside_the_package():
    for module in SCRIPTS & set(FILES):
        assert not parts_imported(FILES[module])
        assert not any(module in set(imports(file)) for file in MODULES.values())


def test_only_the_command_line_imports_the_command_line():
    for module, file in MODULES.items():
        if not part(module).startswith(("cli", "__main__", "terminal", "demo")):
            assert not [name for name in parts_imported(file) if name.startswith(("cli", "terminal"))], module


def test_only_hub_imports_huggingface_hub():
    guilty = [
        module
        for module, file in MODULES.items()
        if part(module) not in ("hub", "localhub")
        and any(name.split(".")[0] == "huggingface_hub" for name in imports(file))
    ]
    assert guilty == []


def test_there_are_no_import_cycles():
    graph = {
        module: {name for name in imports(file, module_level=True) if name in MODULES and name != module}
        for module, file in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert len(done) == len(MODULES) > 25


HEAVY = {
    "torch", "transformers", "sentence_transformers", "mteb", "datasets", "gradio", "optimum", "onnxruntime", "trl", "ray",
}  # fmt: skip


# Modules that build on a heavy library; all others import these inside functions.
BUILT_ON_HEAVY = {
    "hfembed.evaluate.task", "hfembed.generator.trainers", "hfembed.generator.watch", "hfembed.heads.module",
    "hfembed.heads.scores", "hfembed.train.losses", "hfembed.train.m3", "hfembed.train.tokens", "hfembed.train.tuner",
    "hfembed.train.watch",
}  # fmt: skip


def test_heavy_libraries_are_imported_inside_functions_only():
    light = {module: file for module, file in MODULES.items() if module not in BUILT_ON_HEAVY}
    for module, file in light.items():
        found = set(imports(file, module_level=True))
        assert not {name.split(".")[0] for name in found} & HEAVY, module
        assert not found & BUILT_ON_HEAVY, module


def test_versions_of_libraries_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch):
    def hide(name: str) -> str:
        if name != "numpy":
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(metadata, "version", hide)
    versions = library_versions()
    assert versions.pop("python") and versions.pop("machine") and versions == {"numpy": "1.2.3"}
