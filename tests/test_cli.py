"""The command line: its words, its speed, one JSON object, and one sentence for every refusal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import run_until, some_documents, write_beir, write_jsonl
from typer.main import get_command
from typer.testing import CliRunner

import hfembed as package
from hfembed import cli, terminal
from hfembed.pipeline import NAMES
from hfembed.recipe import Recipe, load_presets
from hfembed.run import LAYOUT, Run

COMMANDS = ["run", *NAMES, "status", "runs", "logs", "cancel", "presets", "compare"]
NEVER_LOADED = {"torch", "transformers", "sentence_transformers", "gradio", "datasets", "mteb", "huggingface_hub",
                "pandas", "scipy", "sklearn", "numpy", "pyarrow", "bm25s", "onnxruntime", "optimum"}  # fmt: skip


def call(*arguments: str | Path, code: int = 0) -> Any:
    """Call the command line in this process."""
    result = CliRunner().invoke(cli.app, [str(part) for part in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


def answer(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Return the one object on stdout."""
    (line,) = call(*arguments, "--format", "json", code=code).stdout.splitlines()
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


def error(*arguments: str | Path) -> dict[str, str]:
    """Return the error of a refused call."""
    value = answer(*arguments, code=2)
    assert set(value) == {"error"} and set(value["error"]) == {"type", "message", "hint"}
    found: dict[str, str] = value["error"]
    return found


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "beir", some_documents(24))


@pytest.fixture
def generated(tmp_path: Path, corpus: Path) -> Path:
    return run_until(tmp_path / "run", corpus, "generate")[0].folder


# Words and speed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_names_its_options(command: str):
    text = re.sub(r"\x1b\[[0-9;]*m", "", call(command, "--help").stdout)
    assert "--format" in text and call(command, "-h").stdout
    if command in NAMES:
        assert "DIR" in text and "--set" in text


def every_command(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in getattr(group, "commands", {}).items():
        found += every_command(command, (*path, name))
    return found


@pytest.mark.parametrize("path", every_command(get_command(cli.app)), ids=" ".join)
def test_every_help_opens_with_what_the_command_does(path: tuple[str, ...]):
    text = re.sub(r"\x1b\[[0-9;]*m", "", call(*path, "--help").stdout)
    usage, words = text.split("\n\n", 1) if "\n\n" in text.strip() else (text, text)
    assert "Usage: " in text and (path == () or path[-1] in usage) and words.strip()


def test_help_names_every_command():
    text = call("--help").stdout
    assert all(command in text for command in COMMANDS)


def test_run_keeps_the_words_that_were_promised(hfembed: Any):
    text = hfembed("run", "--help").out
    options = (
        "--preset",
        "--corpus",
        "--base",
        "--run",
        "--until",
        "--rerun",
        "--set",
        "--model-repo",
        "--dataset-repo",
    )
    assert all(option in text for option in (*options, "--format"))
    text = hfembed("compare", "--help").out
    assert all(option in text for option in ("--corpus", "--query", "-k"))


@pytest.mark.parametrize(
    "code", ["import hfembed", "from hfembed.cli import main; import sys; sys.argv = ['hfembed', '--help']; main()"]
)
def test_import_and_help_load_no_heavy_library_and_open_no_network(code: str, tmp_path: Path):
    script = f"""
import json, socket, sys
def refuse(*_, **__): raise SystemExit("network")
socket.socket.connect = refuse
try:
    {code}
except SystemExit as error:
    assert error.code in (0, None), error
print("\\nLOADED", json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    loaded = set(json.loads(done.stdout.split("LOADED")[1]))
    assert "hfembed" in loaded and not loaded & NEVER_LOADED


@pytest.mark.parametrize("stages", ["generate"])
def test_pull_and_generate_load_no_torch(corpus: Path, tmp_path: Path, stages: str):
    script = (
        "import sys; from hfembed.cli import main\n"
        f"sys.argv = ['hfembed', 'run', '--corpus', {str(corpus)!r}, '--run', {str(tmp_path / 'r')!r}, '--until', {stages!r}]\n"
        "try: main()\nexcept SystemExit as error: assert not error.code\n"
        "assert 'hfembed.generate' in sys.modules\n"
        "assert not {'torch', 'transformers', 'sentence_transformers', 'mteb', 'datasets', 'gradio'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_version_is_the_packages():
    assert call("--version").stdout == f"hfembed {package.__version__}\n"


def test_the_module_runs_like_the_command(hfembed: Any):
    assert hfembed("--version").out == f"hfembed {package.__version__}\n"


def test_without_arguments_there_is_help():
    assert "Usage" in CliRunner().invoke(cli.app, []).output


# presets


def test_presets_are_listed_with_what_they_need():
    text = call("presets").stdout
    for name, preset in load_presets().items():
        assert name in text and preset.description.split()[0] in text
    assert set(answer("presets")) == set(load_presets())


def test_a_preset_prints_resolved_as_yaml_and_as_json():
    assert yaml.safe_load(call("presets", "instant").stdout) == Recipe().model_dump(mode="json")
    assert answer("presets", "instant") == Recipe().model_dump(mode="json")


def test_a_preset_that_follows_a_paper_says_which_and_what_it_does_otherwise():
    text = call("presets", "bmretriever").stdout
    said = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    preset = load_presets()["bmretriever"]
    assert preset.paper is not None and all(sentence in said for sentence in (preset.paper, *preset.differs))
    assert yaml.safe_load(text)["preset"] == "bmretriever"
    assert answer("presets")["bmretriever"]["paper"] == preset.paper


def test_on_a_screen_a_preset_is_explained_with_what_makes_it_what_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(terminal.results, "_force_terminal", True)
    monkeypatch.setattr(terminal.words, "_force_terminal", True)
    text = " ".join(re.sub(r"\x1b\[[\d;]*m", "", call("presets", "apex").output).split())
    preset = load_presets()["apex"]
    assert all(" ".join(fact.split()) in text for fact in (*preset.facts().values(), *preset.differs))
    assert "view: entity_map" in text and "max_train_queries" not in text
    assert "hfembed presets apex > recipe.yaml" in text


def test_a_printed_preset_is_a_recipe_that_runs(corpus: Path, tmp_path: Path):
    file = tmp_path / "recipe.yaml"
    file.write_text(call("presets", "instant").stdout, encoding="utf-8")
    assert answer("run", file, "--corpus", corpus, "--run", tmp_path / "r", "--until", "pull")["stages"]


def test_an_unknown_preset_is_answered_with_the_nearest():
    for arguments in (("presets", "instnt"), ("run", "--preset", "instnt", "--corpus", "x")):
        found = error(*arguments)
        assert found["type"] == "RecipeError" and "Did you mean 'instant'?" in found["message"]


# run


def test_run_answers_with_one_object(corpus: Path, tmp_path: Path):
    value = answer("run", "--corpus", corpus, "--run", tmp_path / "r", "--until", "generate", "--set", "seed=3")
    assert {"run", "model", "stages", "report", "verdict", "onnx"} <= set(value)
    assert [stage["name"] for stage in value["stages"]] == ["pull", "generate"]
    for stage in value["stages"]:
        assert {"name", "seconds", "peak_mb", "counts", "skipped"} <= set(stage) and stage["skipped"] is False
    assert yaml.safe_load((tmp_path / "r" / LAYOUT.recipe).read_text(encoding="utf-8"))["seed"] == 3


def test_a_second_run_says_that_nothing_was_to_do(corpus: Path, tmp_path: Path):
    arguments = ("run", "--corpus", corpus, "--run", tmp_path / "r", "--until", "generate")
    call(*arguments)
    assert "no work" in call(*arguments).stderr
    assert [stage["skipped"] for stage in answer(*arguments)["stages"]] == [True, True]


def test_a_corpus_needs_no_option_and_a_run_goes_on_by_its_folder_alone(corpus: Path, tmp_path: Path):
    run = tmp_path / "r"
    answer("run", corpus, "--set", "seed=7", "--run", run, "--until", "pull")
    done = answer("run", "--run", run, "--until", "generate")["stages"]
    assert [stage["skipped"] for stage in done] == [True, False] and Run.open(run).recipe().seed == 7
    assert "Two corpora" in error("run", corpus, "--corpus", corpus)["message"]
    assert "No corpus is named" in error("run", "--run", tmp_path / "none")["message"]


def test_words_go_to_stderr_and_results_to_stdout(corpus: Path, tmp_path: Path):
    result = call("run", "--corpus", corpus, "--run", tmp_path / "r", "--until", "generate")
    assert "text from column 'text'" in result.stderr and "text from column" not in result.stdout
    assert "generate" in result.stdout and "24 documents" in result.stdout


def test_a_local_corpus_is_kept_by_its_full_path(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    call("run", "--corpus", "beir", "--until", "pull")
    assert yaml.safe_load((tmp_path / "runs" / "beir-instant" / LAYOUT.recipe).read_text(encoding="utf-8"))[
        "corpus"
    ] == str(corpus)
    monkeypatch.chdir("/")
    assert answer("run", "--corpus", corpus, "--run", tmp_path / "runs" / "beir-instant", "--until", "pull")["stages"][
        0
    ]["skipped"]


def test_queries_of_people_are_kept_by_their_full_path_and_learned_from(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pairs = [{"query": f"who has seen thing {number}?", "positive_id": f"d{number}"} for number in range(5)]
    write_jsonl(tmp_path / "asked.jsonl", pairs)
    monkeypatch.chdir(tmp_path)
    first = answer("run", "--corpus", corpus, "--run", "run", "--until", "generate", "--pairs", "asked.jsonl")
    assert first["stages"][1]["counts"]["labelled"] == 5
    kept = Run.open(tmp_path / "run").recipe().generate.pairs
    assert kept == str(tmp_path / "asked.jsonl")
    write_jsonl(tmp_path / "more.jsonl", [*pairs, {"query": "and who the sixth?", "positive_id": "d6"}])
    again = answer("generate", "run", "--pairs", "more.jsonl")
    assert again["stages"][1]["counts"]["labelled"] == 6
    answer("generate", "run", "--set", "generate.pairs=asked.jsonl")
    assert Run.open(tmp_path / "run").recipe().generate.pairs == kept


def test_a_corpus_named_by_set_is_kept_by_its_full_path_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    call("run", "--set", "corpus=beir", "--run", "r", "--until", "pull")
    assert yaml.safe_load((tmp_path / "r" / LAYOUT.recipe).read_text(encoding="utf-8"))["corpus"] == str(corpus)


def test_run_without_a_corpus_is_refused():
    assert "hfembed run PATH" in error("run")["hint"]


def test_an_unknown_base_without_network_is_refused_before_any_work(corpus: Path, tmp_path: Path):
    found = error("run", "--corpus", corpus, "--base", "no/such-model", "--run", tmp_path / "r")
    assert found["type"] == "ModelError" and "no/such-model" in found["message"]
    assert "cannot be reached" in found["message"] and "HF_HUB_OFFLINE" in found["hint"]
    assert not (tmp_path / "r").exists()


def test_a_base_that_is_neither_folder_nor_hub_id_is_refused(corpus: Path, tmp_path: Path):
    assert (
        "not a Hub id"
        in error("run", "--corpus", corpus, "--base", "no such model", "--run", tmp_path / "r")["message"]
    )


def test_a_base_without_safe_weights_is_refused(corpus: Path, tmp_path: Path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "base" / "pytorch_model.bin").write_bytes(b"x")
    found = error("run", "--corpus", corpus, "--base", tmp_path / "base", "--run", tmp_path / "r")
    assert found["type"] == "ModelError" and "safetensors" in found["message"]


def test_another_recipe_in_the_folder_is_refused_and_rerun_accepts_it(generated: Path, corpus: Path):
    arguments = ("run", "--corpus", corpus, "--run", generated, "--until", "generate", "--set", "seed=5")
    found = error(*arguments)
    assert found["type"] == "RunMismatchError" and "seed" in found["message"] and "--rerun generate" in found["hint"]
    assert [stage["skipped"] for stage in answer(*arguments, "--rerun", "generate")["stages"]] == [True, False]


def test_a_wrong_setting_is_answered_with_the_field(corpus: Path, tmp_path: Path):
    found = error("run", "--corpus", corpus, "--run", tmp_path / "r", "--set", "mine.negatvies=2")
    assert found["type"] == "RecipeError" and "Did you mean 'negatives'?" in found["message"]


@pytest.mark.parametrize("option", ["--until", "--rerun"])
def test_a_stage_that_does_not_exist_is_answered_with_those_that_do(option: str):
    result = call("run", "--corpus", "sample", option, "trian", code=2)
    assert "train" in result.output and "evaluate" in result.output


# Stages, status, compare


def test_a_run_may_be_made_stage_by_stage(corpus: Path, tmp_path: Path):
    assert [s["name"] for s in answer("pull", tmp_path / "r", "--set", f"corpus={corpus}")["stages"]] == ["pull"]
    assert [s["skipped"] for s in answer("generate", tmp_path / "r")["stages"]] == [True, False]
    assert [s["skipped"] for s in answer("generate", tmp_path / "r")["stages"]] == [True, True]


def test_a_stage_command_changes_its_own_settings_only(generated: Path):
    assert answer("generate", generated, "--set", "generate.kinds.title=0")["stages"][1]["skipped"] is False
    found = error("generate", generated, "--set", "pull.min_chars=11")
    assert found["type"] == "RunMismatchError" and "pull.min_chars belongs to pull" in found["message"]
    assert f"hfembed pull {generated}" in found["hint"]


@pytest.mark.parametrize("command", NAMES[1:])
def test_a_stage_of_a_run_that_is_not_there_is_refused(tmp_path: Path, command: str):
    assert "is not a run" in error(command, tmp_path / "gone")["message"]
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("command", "need"), [("train", "mine"), ("evaluate", "train"), ("export", "train"), ("push", "mine")]
)
def test_a_stage_that_comes_too_early_names_the_command_before_it(generated: Path, command: str, need: str):
    found = error(command, generated)
    assert found["type"] == "StageError" and found["hint"] == f"hfembed {need} {generated}"


def test_status_shows_stages_times_and_counts_and_changes_nothing(generated: Path):
    before = sorted(item.name for item in generated.iterdir())
    value = answer("status", generated)
    assert [(stage["name"], stage["skipped"]) for stage in value["stages"]] == [("pull", False), ("generate", False)]
    assert value["verdict"] is None and value["working"] is None
    text = call("status", generated).stdout
    assert "pull" in text and "24 documents" in text
    assert sorted(item.name for item in generated.iterdir()) == before


def test_status_of_what_is_no_run_says_how_to_start_one(tmp_path: Path):
    found = error("status", tmp_path)
    assert found["type"] == "RunError" and "hfembed run" in found["hint"]


def test_compare_answers_with_one_object_and_with_a_table(corpus: Path):
    value = answer("compare", "bm25", "--corpus", corpus, "--query", "turbine of unit 8", "-k", "3")
    assert value["query"] == "turbine of unit 8" and len(value["rankings"][0]["hits"]) == 3
    assert (
        "Turbine of unit 8"
        in call("compare", "bm25", "bm25", "--corpus", corpus, "--query", "turbine of unit 8").stdout
    )


def test_compare_refuses_an_empty_query(corpus: Path):
    assert error("compare", "bm25", "--corpus", corpus, "--query", " ")["type"] == "InputError"


def test_text_in_brackets_is_shown_as_it_stands(tmp_path: Path):
    rows = [{**row, "title": "[bold]turbine[/bold] [/] " + row["title"]} for row in some_documents(12)]
    file = write_jsonl(tmp_path / "corpus.jsonl", rows)
    shown = call("compare", "bm25", "--corpus", file, "--query", "[red]turbine[/] of unit 8").stdout
    assert "[bold]turbine[/bold] [/]" in shown and "[red]turbine[/]" in shown


# Extras, bugs, interruptions


def test_a_missing_extra_is_answered_with_the_command_to_type(corpus: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    base = corpus.parent / "base"
    base.mkdir()
    found = error("compare", str(base), "--corpus", corpus, "--query", "x")
    assert (
        found["type"] == "MissingExtraError" and "'sentence_transformers', which is not installed" in found["message"]
    )
    assert found["hint"] == 'pip install "hfembed[train]"'


def test_our_own_bug_is_one_sentence_and_exit_code_1(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("hfembed.pipeline.run", broken)
    arguments = ("run", "--corpus", corpus, "--run", tmp_path / "r", "--format", "json")
    result = call(*arguments, code=1)
    assert json.loads(result.stdout)["error"]["type"] == "ZeroDivisionError"
    assert "a bug in hfembed" in result.stderr and "HFEMBED_DEBUG=1" in result.stderr
    monkeypatch.setenv("HFEMBED_DEBUG", "1")
    shown = CliRunner().invoke(cli.app, [str(part) for part in arguments])
    assert isinstance(shown.exception, ZeroDivisionError)


def test_debug_shows_where_a_refusal_came_from(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HFEMBED_DEBUG", "1")
    assert type(CliRunner().invoke(cli.app, ["run"]).exception).__name__ == "InputError"


def test_an_interrupted_command_says_how_to_go_on(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hfembed.pipeline.run", interrupted)
    assert "same command" in call("run", "--corpus", corpus, "--run", tmp_path / "r", code=130).stderr


@pytest.mark.parametrize("command", ["run", "status", "compare"])
def test_no_command_leaves_a_traceback_on_a_refusal(hfembed: Any, command: str, tmp_path: Path):
    arguments = {
        "run": ("run", "--preset", "nope"),
        "status": ("status", tmp_path / "gone"),
        "compare": ("compare", "bm25", "--corpus", tmp_path / "gone.jsonl", "--query", "x"),
    }[command]
    result = hfembed(*arguments, "--format", "json")
    assert result.code == 2 and "Traceback" not in result.err and result.err.strip().startswith("Error: ")
    assert set(result.json()) == {"error"}
