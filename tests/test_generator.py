"""The query generator: taught by sft, rewarded by grpo, and put to use by generate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import Listener, run_until, some_documents, write_beir
from llm_process import only, write
from tiny_writer import make_writer

from hfembed.errors import HfembedError, MissingExtraError, ModelError, RecipeError, RunError, StageError
from hfembed.events import Events, Reporter, silent
from hfembed.generate.llm.trained import Asking, read_asking
from hfembed.generator import Grpo, Sft, grpo, sft
from hfembed.generator.model import Learner
from hfembed.generator.rows import completion_rows, prompt_rows, read_examples
from hfembed.generator.settings import make_grpo, make_sft
from hfembed.hub import local_model
from hfembed.recipe import LlmTask
from hfembed.run import GENERATOR_LAYOUT, LAYOUT, Run

pytestmark = pytest.mark.xdist_group("generator")

DOCUMENTS = some_documents(24)
TEXTS = [f"{row['title']} {row['text']}" for row in DOCUMENTS]
QUICK = ("query_tokens=16", "max_length=160", "batch_size=8")
ALL_WEIGHTS = ("lora=null", "learning_rate=0.01")
SMALL_STEPS = ("prompts=2", "generations=4", "batch_size=8", "steps=3")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[dict[str, Path]]:
    """A run with its queries, a tiny language model, and the generator that it became."""
    home = tmp_path_factory.mktemp("generator")
    corpus = write_beir(home / "corpus", DOCUMENTS)
    run, _ = run_until(home / "run", corpus, "generate", base=tiny_model)
    base = make_writer(home / "base", TEXTS)
    settings = make_sft([*QUICK, *ALL_WEIGHTS, "epochs=12", "types=[keyword,title]"])
    done = sft(run, str(base), home / "taught", settings)
    yield {"home": home, "run": run.folder, "base": base, "taught": home / "taught", "corpus": corpus}
    assert done["pairs"] > 0


def weights_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def learner(folder: Path) -> Learner:
    return Learner.load(local_model(folder.name, folder))


def watch(folder: Path, report: Reporter | None = None) -> Any:
    from hfembed.generator.watch import Watch

    return Watch("learning", "loss", folder, 1_000, report or silent())


# What is taught


def test_rows_are_the_kept_queries_with_their_type_and_passage(folders: dict[str, Path]):
    examples, left_out = read_examples(Run(folders["run"]))
    kept = {row["query"]: row for row in pq.read_table(Run(folders["run"]).path(LAYOUT.pairs)).to_pylist()}
    assert {str(example.type) for example in examples} <= {"title", "keyword", "question", "definition"}
    assert left_out["sentence"] and not left_out["keyword"]
    for example in examples:
        assert kept[example.query]["kind"] == example.type and example.passages == (kept[example.query]["positive"],)
    asking = Asking(types=(LlmTask.KEYWORD,), prompt_tokens=200, query_tokens=16)
    row = completion_rows(examples[:1], asking, learner(folders["base"]).tokenizer)[0]
    assert f"Type: {examples[0].type}\n" in row["prompt"] and row["prompt"].endswith("Query:")
    assert examples[0].passages[0][:40] in row["prompt"] and row["completion"] == f" {examples[0].query}"


@pytest.mark.parametrize("chat", [False, True])
def test_prompt_and_completion_rows_train_on_the_completion_only(folders: dict[str, Path], tmp_path: Path, chat: bool):
    from hfembed.generator.sft import make_trainer

    base = learner(make_writer(tmp_path / "base", TEXTS, family="neox", chat=chat))
    examples = read_examples(Run(folders["run"]))[0][:8]
    asking = Asking(types=(LlmTask.KEYWORD,), prompt_tokens=140, query_tokens=16)
    rows = completion_rows(examples, asking, base.tokenizer)
    trainer = make_trainer(base, rows, make_sft(QUICK), watch(tmp_path))
    assert trainer.completion_only_loss is True
    left = {example.query: example for example in examples}
    for row in trainer.train_dataset:
        ids, labels = row["input_ids"], row["labels"]
        start = next(place for place, label in enumerate(labels) if label != -100)
        assert labels[:start] == [-100] * start and labels[start:] == ids[start:]
        assert ids[-1] == base.tokenizer.eos_token_id
        example = left.pop(base.tokenizer.decode(labels[start:], skip_special_tokens=True).strip())
        # and what it is shown in use is what it was shown here, token by token
        assert ids[:start] == asking.ids(base.tokenizer, example.type, example.passages)
    assert not left


def test_a_long_passage_is_cut_so_that_prompt_and_query_fit(folders: dict[str, Path]):
    tokenizer = learner(folders["base"]).tokenizer
    asking = Asking(types=(LlmTask.MULTI_HOP,), prompt_tokens=120, query_tokens=16)
    for passages in (["word " * 500], ["word " * 500, "thing " * 500], ["short", "thing " * 500]):
        ids = asking.ids(tokenizer, LlmTask.MULTI_HOP, passages)
        assert len(ids) <= 124 and tokenizer.decode(ids).endswith("Query:")


def test_what_people_asked_is_taught_as_a_question_or_as_keywords(folders: dict[str, Path], tmp_path: Path):
    pairs = tmp_path / "asked.jsonl"
    asked = ["why does it leak?", "pump leaks", "how to mend hinges", "gearbox noise unit", "fuse blown again"]
    rows = [json.dumps({"query": text, "positive_id": f"d{number}"}) for number, text in enumerate(asked)]
    pairs.write_text("\n".join(rows), encoding="utf-8")
    run, _ = run_until(tmp_path / "run", folders["corpus"], "generate", f"generate.pairs={pairs}")
    found = {example.query: example.type for example in read_examples(run)[0]}
    known = {text: found[text] for text in asked if text in found}
    assert known and all((task is LlmTask.QUESTION) == (" " in text and text[:3] in ("why", "how"))
                         for text, task in known.items())  # fmt: skip


# sft


def test_sft_leaves_a_plain_folder_that_transformers_loads(folders: dict[str, Path]):
    from transformers import AutoModelForCausalLM

    taught = folders["taught"]
    files = {file.name for file in taught.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", GENERATOR_LAYOUT.about, "training"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".py")) or name.startswith("adapter")]
    assert set(weights_of(taught)) == set(weights_of(folders["base"]))
    assert AutoModelForCausalLM.from_pretrained(taught).config.model_type == "llama"
    about = json.loads((taught / GENERATOR_LAYOUT.about).read_text(encoding="utf-8"))
    assert about["asking"]["types"] == ["keyword", "title"] and about["asking"]["query_tokens"] == 16
    assert about["training"]["loss"]["end"] < 0.7 * about["training"]["loss"]["start"]
    course = json.loads((taught / GENERATOR_LAYOUT.course).read_text(encoding="utf-8"))
    assert len(course["steps"]) == about["training"]["steps"] and (taught / GENERATOR_LAYOUT.figure).is_file()
    assert not [file for file in folders["home"].iterdir() if file.name.endswith(".partial")]


def test_adapters_are_merged_and_what_they_learned_stays(folders: dict[str, Path], tmp_path: Path):
    import torch

    settings = make_sft([*QUICK, "learning_rate=0.01", "max_pairs=16", "epochs=1"])
    done = sft(Run(folders["run"]), str(folders["base"]), tmp_path / "out", settings)
    before, after = weights_of(folders["base"]), weights_of(tmp_path / "out")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.endswith("_proj.weight") for name in changed)
    assert done["pairs"] == 16 and done["settings"]["lora"]["rank"] == 16


def test_a_finished_training_is_not_done_again_and_another_is_refused(folders: dict[str, Path]):
    heard = Listener()
    settings = make_sft([*QUICK, *ALL_WEIGHTS, "epochs=12", "types=[keyword,title]"])
    arguments = (Run(folders["run"]), str(folders["base"]), folders["taught"])
    before = (folders["taught"] / "model.safetensors").stat().st_mtime_ns
    done = sft(*arguments, settings, Reporter("generator", Events(listeners=[heard])))
    assert done["method"] == "sft" and "already done" in heard.messages("note")[0]
    assert (folders["taught"] / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunError, match="trained on something else") as caught:
        sft(*arguments, make_sft([*QUICK, "epochs=1"]))
    assert "--out" in caught.value.hint
    with pytest.raises(RunError, match="holds something else"):
        sft(Run(folders["run"]), str(folders["base"]), folders["corpus"])


@pytest.mark.parametrize("what", ["sft", "grpo"])
def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    from hfembed.generator.watch import Watch

    def train(out: Path) -> dict[str, Any]:
        if what == "sft":
            settings = make_sft([*QUICK, "max_pairs=40", "epochs=1", "checkpoint_seconds=0.001", "learning_rate=0.01"])
            return sft(Run(folders["run"]), str(folders["base"]), out, settings)
        settings = make_grpo([*SMALL_STEPS, "checkpoint_seconds=0.001", "learning_rate=0.01", "steps=4"])
        return grpo(Run(folders["run"]), str(folders["taught"]), out, settings)

    whole = train(tmp_path / "whole")
    log = Watch.on_log

    def die(self: Watch, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step == 3:
            raise KeyboardInterrupt
        log(self, args, state, control, **more)

    monkeypatch.setattr(Watch, "on_log", die)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed")
    assert (
        not (tmp_path / "killed").exists() and (tmp_path / ".killed.partial" / "checkpoints" / "checkpoint-2").is_dir()
    )
    monkeypatch.setattr(Watch, "on_log", log)
    again = train(tmp_path / "killed")
    import torch

    one, two = weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed")
    assert whole["steps"] == again["steps"] and all(torch.equal(one[name], two[name]) for name in one)
    steps = [
        json.loads((tmp_path / name / GENERATOR_LAYOUT.course).read_text())["steps"] for name in ("whole", "killed")
    ]
    assert [entry["loss"] for entry in steps[0]] == [entry["loss"] for entry in steps[1]]
    assert not (tmp_path / ".killed.partial").exists()


# grpo


def test_grpo_rewards_logs_guards_and_leaves_a_generator(folders: dict[str, Path], tmp_path: Path):
    import torch

    heard = Listener()
    report = Reporter("generator", Events(listeners=[heard]))
    settings = make_grpo([*SMALL_STEPS, "learning_rate=0.01", "steps=9"])
    done = grpo(Run(folders["run"]), str(folders["taught"]), tmp_path / "out", settings, report)
    assert done["steps"] == 9 and set(done["parts"]) == {"rt", "agree", "hard", "format", "copying", "repetition"}
    assert {"hit@1", "unique", "copied", "entropy", "kl", "frac_reward_zero_std"} <= set(done["watched"])
    assert done["quiet"] == (not done["guards"]) == (not heard.messages("warning"))
    assert read_asking(tmp_path / "out", "out") == read_asking(folders["taught"], "taught")
    before, after = weights_of(folders["taught"]), weights_of(tmp_path / "out")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    written = pq.read_table(tmp_path / "out" / GENERATOR_LAYOUT.completions).to_pylist()
    assert len(written) == 9 * 8 and {"prompt", "completion", "rt", "advantage"} <= set(written[0])
    assert (tmp_path / "out" / GENERATOR_LAYOUT.figure).is_file()
    assert any(event.unit == "steps" and event.total == 9 for event in heard)


def test_a_group_with_equal_rewards_gives_no_advantage(folders: dict[str, Path], tmp_path: Path):
    import torch

    from hfembed.generator.grpo import make_trainer
    from hfembed.generator.reward import PARTS

    def equal(part: str) -> Any:
        def reward(completions: list[Any], **_: Any) -> list[float]:
            return [0.7] * len(completions)

        reward.__name__ = part
        return reward

    taught = learner(folders["taught"])
    asking = read_asking(folders["taught"], "taught")
    assert asking is not None
    rows = prompt_rows(read_examples(Run(folders["run"]))[0], asking, taught.tokenizer, 4, 1)
    settings = make_grpo([*SMALL_STEPS, "beta=0", "steps=2", "learning_rate=0.1"])
    trainer = make_trainer(taught, rows, [equal(part) for part in PARTS], settings, 12, watch(tmp_path))
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert [entry["frac_reward_zero_std"] for entry in logged] == [1.0, 1.0]
    assert all(value == 0 for value in trainer._logs["advantages"])
    learned = [weight for name, weight in trainer.model.named_parameters() if "lora_B" in name]
    assert learned and all(torch.count_nonzero(weight) == 0 for weight in learned)


def test_the_frozen_retriever_is_the_same_after_grpo(folders: dict[str, Path], tmp_path: Path, tiny_model: Path):
    import torch

    from hfembed.corpus import Documents
    from hfembed.generator.candidates import ByMeaning, ByWords, choose_pool
    from hfembed.generator.grpo import make_trainer
    from hfembed.generator.reward import Rewards
    from hfembed.hub.models import fingerprint_model

    run = Run(folders["run"])
    taught, asking = learner(folders["taught"]), read_asking(folders["taught"], "taught")
    assert asking is not None
    rows = prompt_rows(read_examples(run)[0], asking, taught.tokenizer, 4, 1)
    pool = choose_pool(Documents.read(run.path(LAYOUT.documents)), {row["doc_id"] for row in rows}, 1)
    teacher = ByMeaning(local_model("tiny", tiny_model), tmp_path / "embeddings", pool, silent())
    before = {name: weight.clone() for name, weight in teacher.model.state_dict().items()}
    on_disk = fingerprint_model(tiny_model)
    rewards = Rewards(teacher, ByWords(pool), teacher, dict(zip(pool.place, pool.texts, strict=True)), 0)
    settings = make_grpo([*SMALL_STEPS, "learning_rate=0.1"])
    trainer = make_trainer(taught, rows, rewards.functions(), settings, 12, watch(tmp_path))
    trainer.train()
    assert any(torch.count_nonzero(w) for name, w in trainer.model.named_parameters() if "lora_B" in name)
    after = teacher.model.state_dict()
    assert set(before) == set(after) and all(torch.equal(before[name], after[name]) for name in before)
    assert fingerprint_model(tiny_model) == on_disk


def test_grpo_asks_about_training_passages_only_and_for_types_that_were_taught(folders: dict[str, Path]):
    run, asking = Run(folders["run"]), read_asking(folders["taught"], "taught")
    assert asking is not None
    rows = prompt_rows(read_examples(run)[0], asking, learner(folders["taught"]).tokenizer, 1_000, 1)
    trained = set(pq.read_table(run.path(LAYOUT.pairs)).column("positive_id").to_pylist())
    tested = {
        line.split("\t")[1] for line in (run.path(LAYOUT.test) / "qrels" / "test.tsv").read_text().splitlines()[1:]
    }
    asked = {row["doc_id"] for row in rows}
    assert asked <= trained and not asked & tested and {row["type"] for row in rows} == {"keyword", "title"}


# In use


def in_use(taught: Path, *more: str) -> list[str]:
    return ["generate.method=model", f"generate.llm.model={taught}", "generate.llm.sampling.temperature=1", *more]


def test_a_generator_writes_the_queries_of_generate(folders: dict[str, Path], tmp_path: Path):
    heard = Listener()
    settings = in_use(folders["taught"], only(keyword=3, title=1, claim=2))
    queries, report = write(tmp_path, settings, count=8, listener=heard)
    assert len(queries) > 8 and {str(query.kind) for query in queries} == {"keyword", "title"}
    assert {query.writer for query in queries} == {report.facts["writer"]}
    assert report.facts["writer"].startswith("taught@") and report.facts["requests"] >= 16
    assert all(query.text and "\n" not in query.text and len(query.rows) == 1 for query in queries)
    assert any("was not taught to write claim" in note for note in heard.messages("note"))
    assert any("judges no queries" in note for note in heard.messages("note"))
    again, second = write(tmp_path, settings, count=8)
    assert again == queries and second.facts["requests"] == 0


def test_what_a_generator_writes_does_not_depend_on_its_batch(folders: dict[str, Path], tmp_path: Path):
    found = []
    for size in (1, 5):
        settings = in_use(folders["taught"], only(keyword=3), f"generate.llm.batch_size={size}")
        found.append([query.text for query in write(tmp_path / str(size), settings, count=4)[0]])
    assert found[0] == found[1] and len(set(found[0])) > 4


def test_a_generator_is_not_asked_for_what_it_was_not_taught(folders: dict[str, Path], tmp_path: Path):
    with pytest.raises(RecipeError, match="taught to write keyword, title, but is asked for claim") as caught:
        write(tmp_path, in_use(folders["taught"], only(claim=2)))
    assert "generate.llm.tasks.keyword=3" in caught.value.hint


def test_a_generator_whose_way_of_asking_cannot_be_read_is_refused(folders: dict[str, Path], tmp_path: Path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folders["taught"], copy)
    (copy / GENERATOR_LAYOUT.about).write_text('{"asking": {"form": 9}}', encoding="utf-8")
    with pytest.raises(ModelError, match="does not say how this generator is asked"):
        write(tmp_path / "run", in_use(copy, only(keyword=2)))


def test_a_model_that_talks_in_turns_is_taught_rewarded_and_used_as_well(folders: dict[str, Path], tmp_path: Path):
    run = Run(folders["run"])
    base = make_writer(tmp_path / "base", TEXTS, family="neox", chat=True)
    settings = [*QUICK, *ALL_WEIGHTS, "epochs=4", "types=[title]"]
    assert sft(run, str(base), tmp_path / "taught", make_sft(settings))["types"].keys() == {"title"}
    done = grpo(run, str(tmp_path / "taught"), tmp_path / "out", make_grpo([*SMALL_STEPS, "lora=null", "steps=1"]))
    assert done["steps"] == 1 and done["watched"]["completions/mean_length"]["end"] <= 16
    (drawn, *_) = pq.read_table(tmp_path / "out" / GENERATOR_LAYOUT.completions).to_pylist()
    assert drawn["prompt"][0]["role"] == "user" and drawn["completion"][0]["role"] == "assistant"
    patient = "generate.llm.patience.max_failures=1"
    queries, report = write(tmp_path / "use", in_use(tmp_path / "out", only(title=4), patient), count=4)
    assert report.facts["writer"].startswith("out@") and all(query.text for query in queries)


# What is refused


def test_a_run_without_queries_and_types_that_it_has_not_are_refused(folders: dict[str, Path], tmp_path: Path):
    run, _ = run_until(tmp_path / "run", folders["corpus"], "pull")
    with pytest.raises(RunError, match="generate is not done") as caught:
        sft(run, str(folders["base"]), tmp_path / "out")
    assert f"hfembed generate {run.folder}" in caught.value.hint
    with pytest.raises(StageError, match="one of the types claim"):
        sft(Run(folders["run"]), str(folders["base"]), tmp_path / "out", Sft(types=[LlmTask.CLAIM]))
    with pytest.raises(StageError, match="longer than 4 tokens"):
        sft(Run(folders["run"]), str(folders["base"]), tmp_path / "out", make_sft(["query_tokens=4", "types=[title]"]))
    with pytest.raises(ModelError, match="are needed"):
        sft(Run(folders["run"]), str(folders["base"]), tmp_path / "out", make_sft(["max_length=64"]))
    with pytest.raises(ModelError, match="was not taught") as untaught:
        grpo(Run(folders["run"]), str(folders["base"]), tmp_path / "out")
    assert "hfembed generator sft" in untaught.value.hint and not (tmp_path / "out").exists()
    with pytest.raises(StageError, match="a step takes 500"):
        grpo(Run(folders["run"]), str(folders["taught"]), tmp_path / "out", Grpo(prompts=500))


def test_a_missing_extra_is_named_with_the_command(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import sys

    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(MissingExtraError, match="trl") as caught:
        sft(Run(folders["run"]), str(folders["base"]), tmp_path / "out")
    assert caught.value.hint == 'pip install "hfembed[generator]"'


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["stps=3"], "unknown key 'stps'"),
        (["steps=0"], "'steps' is 0"),
        (["prompts=3", "batch_size=16"], "must divide the 24 queries of a step"),
        (["steps"], "--set needs section.key=value"),
    ],
)
def test_a_wrong_setting_is_answered_with_what_is_right(settings: list[str], words: str):
    with pytest.raises(RecipeError, match=words):
        make_grpo(settings)


def test_the_commands_train_and_list_their_settings(folders: dict[str, Path], tmp_path: Path):
    from typer.testing import CliRunner

    from hfembed import cli

    def call(*arguments: Any, code: int = 0) -> dict[str, Any]:
        result = CliRunner().invoke(cli.app, ["generator", *map(str, arguments), "--format", "json"])
        assert result.exit_code == code, (result.output, result.exception)
        value: dict[str, Any] = json.loads(result.stdout)
        return value

    known = call("settings")
    assert known["sft"]["learning_rate"] == 2e-5 and known["grpo"]["generations"] == 8
    assert known["grpo"]["weights"]["copying"] == -0.5 and 0.02 <= known["grpo"]["beta"] <= 0.04
    assert "most tokens of a query" in CliRunner().invoke(cli.app, ["generator", "settings"]).stdout
    done = call("grpo", folders["run"], "--generator", folders["taught"], "--out", tmp_path / "out",
                *(part for setting in SMALL_STEPS for part in ("--set", setting)))  # fmt: skip
    assert done["generator"] == str(tmp_path / "out") and done["steps"] == 3
    shown = CliRunner().invoke(
        cli.app, ["generator", "sft", str(folders["run"]), "--base", "no/such", "--out", str(tmp_path / "x")]
    )
    assert shown.exit_code == 2 and "no/such" in shown.stderr
    assert call("sft", tmp_path, "--out", tmp_path / "y", code=2)["error"]["type"] == "RunError"
    assert HfembedError.exit_code == 2
