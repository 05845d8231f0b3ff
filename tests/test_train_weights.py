"""full, lora and phases in a row: real training of a tiny model, killed and gone on with, merged and blended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Listener, run_until, some_documents, write_beir, write_jsonl

from hfembed.errors import MissingExtraError, RecipeError, StageError
from hfembed.hub import fingerprint_model, local_model
from hfembed.recipe import Recipe, Tuning, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.train.strength import MIN_DEV_QUERIES

pytestmark = pytest.mark.xdist_group("train")

# A tiny model forgets fast, and how fast depends on the processor: nothing but its steps ends a phase here.
STOP = {"looks": 2, "patience": None, "forgetting": None}
FULL = {"method": "full", "steps": 4, "batch_size": 6, "learning_rate": 1e-3, "stop": STOP}
HEADS = ("train.heads.sparse=true", "train.heads.multi_vector=true")
LORA = {**FULL, "method": "lora", "learning_rate": 1e-2}
ADAPTER = {"steps": 3, "batch_size": 16}
FOLD = (
    "train.fold.min_cosine=0.5", "train.fold.max_ndcg_loss=1", "train.fold.max_documents=12",
    "train.fold.max_queries=12",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices are slower on two threads that fight for the same cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Make a run up to mine; each test goes on in a copy of it."""
    folder = tmp_path_factory.mktemp("mined")
    run_until(folder / "run", write_beir(folder / "beir", some_documents(30)), "mine", base=tiny_model)
    return folder


def trained(
    folder: Path, mined: Path, base: Path, *phases: dict[str, Any], settings: tuple[str, ...] = ("train.strength=1",)
) -> tuple[Run, dict[str, Any], Listener]:
    shutil.copytree(mined / "run", folder / "run", dirs_exist_ok=True)
    heard = Listener()
    chosen = (*FOLD, f"train.phases={json.dumps(phases)}", *settings)
    run, worked = run_until(folder / "run", mined / "beir", "train", *chosen, base=base, listeners=[heard])
    assert worked == ["train"]
    return run, run.manifests("model")["train"].facts, heard


def weights(folder: Path) -> dict[str, np.ndarray]:
    from sentence_transformers import SentenceTransformer

    state = SentenceTransformer(str(folder), device="cpu").state_dict()
    return {name: value.numpy() for name, value in state.items()}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


# Every method trains


@pytest.mark.parametrize(
    "phase",
    [
        FULL,
        LORA,
        {**FULL, "in_batch": False, "negatives": 3},
        {**FULL, "mini_batch": 2, "accumulate": 2},
        {**FULL, "loss": "gist"},
        {**FULL, "loss": "gist", "mini_batch": 2},
        {**FULL, "loss": "embed_distill"},
        {**FULL, "loss": "margin_mse"},
        {**FULL, "loss": "distill_kl", "negatives": 2},
        {**FULL, "loss": "late_interaction", "layers": 1},
        {**FULL, "dimensions": [16, 8]},
    ],
    ids=lambda phase: "-".join(f"{key}={value}" for key, value in phase.items() if FULL.get(key) != value) or "full",
)
def test_a_phase_trains_and_leaves_a_plain_model(tmp_path: Path, mined: Path, tiny_model: Path, phase: dict[str, Any]):
    run, facts, _ = trained(tmp_path, mined, tiny_model, phase)
    before, after = weights(tiny_model), weights(run.path(LAYOUT.model))
    assert before.keys() == after.keys()  # merged, nothing beside the encoder
    assert all(np.isfinite(value).all() for value in after.values()) and not same(before, after)
    assert len(facts["losses"]) == 4 and np.isfinite(facts["losses"]).all() and facts["fold"]["kind"] == "weights"
    curves = facts["phases"][0]["curves"]
    assert [step for step, _ in curves["loss"]] == [1, 2, 3, 4] and [step for step, _ in curves["dev"]] == [0, 2, 4]
    assert run.path(LAYOUT.curves_figure).read_bytes().startswith(b"\x89PNG") and run.path(LAYOUT.curves).is_file()
    assert not run.path(LAYOUT.checkpoints).joinpath("part-0").exists() and not list(run.path("model").rglob("*.pt"))


@pytest.mark.parametrize("phase", [FULL, LORA], ids=["full", "lora"])
def test_one_seed_gives_the_same_weights_twice(tmp_path: Path, mined: Path, tiny_model: Path, phase: dict[str, Any]):
    runs = [trained(tmp_path / name, mined, tiny_model, phase)[0] for name in ("one", "two")]
    assert len({fingerprint_model(run.path(LAYOUT.model)) for run in runs}) == 1


def test_phases_of_all_forms_follow_one_another(tmp_path: Path, mined: Path, tiny_model: Path):
    run, facts, _ = trained(tmp_path, mined, tiny_model, ADAPTER, FULL, LORA, ADAPTER)
    assert [phase["method"] for phase in facts["phases"]] == ["adapter", "full", "lora", "adapter"]
    assert len(facts["losses"]) == 3 + 4 + 4 + 3 and facts["fold"]["kind"] == "folded"
    assert [part["fold"]["kind"] for part in facts["earlier"]] == ["folded", "weights"]
    assert weights(run.path(LAYOUT.model)).keys() == weights(tiny_model).keys()


def test_a_full_phase_goes_on_from_the_folded_weights(tmp_path: Path, mined: Path, tiny_model: Path):
    adapter = {**ADAPTER, "learning_rate": 0.01}
    alone, _, _ = trained(tmp_path / "alone", mined, tiny_model, adapter)
    kept = ("train.strength=1",)
    still = {**FULL, "learning_rate": 1e-12, "weight_decay": 0}
    both, _, _ = trained(tmp_path / "both", mined, tiny_model, adapter, still, settings=kept)
    folded, after = weights(alone.path(LAYOUT.model)), weights(both.path(LAYOUT.model))
    assert all(np.allclose(folded[name], after[name], atol=1e-6) for name in folded)
    assert not same(weights(tiny_model), after)


def test_frozen_layers_stay_as_they_are(tmp_path: Path, mined: Path, tiny_model: Path):
    run, _, _ = trained(tmp_path, mined, tiny_model, {**FULL, "layers": 1})
    before, after = weights(tiny_model), weights(run.path(LAYOUT.model))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed and all(".layer.1." in name for name in changed)


def test_more_layers_than_there_are_cannot_learn(tmp_path: Path, mined: Path, tiny_model: Path):
    with pytest.raises(StageError, match="lets 9 layers") as refused:
        trained(tmp_path, mined, tiny_model, {**FULL, "layers": 9})
    assert "at most 2" in refused.value.hint


def test_qlora_without_a_gpu_is_refused_with_what_does_work(tmp_path: Path, mined: Path, tiny_model: Path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(StageError, match="needs a GPU") as refused:
        trained(tmp_path, mined, tiny_model, {**FULL, "method": "qlora"})
    assert "method: lora" in refused.value.hint


# Losses


def test_the_grouped_loss_is_that_of_sentence_transformers_row_by_row(tiny_model: Path):
    import torch
    from sentence_transformers import SentenceTransformer, losses

    from hfembed.train.losses import GroupedInfoNCELoss

    model = SentenceTransformer(str(tiny_model), device="cpu").eval()
    columns = [["pump leaks", "lens sticks"], ["the pump", "the lens"], ["a fuse", "a hinge"], ["a valve", "a ladder"]]
    prepare = model.preprocess if hasattr(model, "preprocess") else model.tokenize
    with torch.no_grad():
        grouped = GroupedInfoNCELoss(model, 0.05)([prepare(texts) for texts in columns])
        reference = losses.MultipleNegativesRankingLoss(model, scale=20)
        single = [reference([prepare([texts[row]]) for texts in columns], None) for row in range(2)]
        assert float(grouped) == pytest.approx(float(sum(single)) / 2, abs=1e-5)
        swapped = [[column[0], "something else"] for column in columns]
        first = GroupedInfoNCELoss(model, 0.05)([prepare(texts[:1]) for texts in columns])
        assert float(first) == pytest.approx(float(single[0]), abs=1e-5)
        mixed = GroupedInfoNCELoss(model, 0.05)([prepare(texts) for texts in swapped])
    # The second row is now four times the same text: its loss is log 3, and that of the first did not move.
    assert float(mixed) == pytest.approx((float(first) + np.log(3)) / 2, abs=1e-4)


# Prompts


def test_prompts_reach_training_as_they_reach_encoding(tmp_path: Path, mined: Path, tiny_model: Path):
    """The trainer's own collator puts the role's prompt before every column."""
    from sentence_transformers import SentenceTransformer

    from hfembed.train.tuner import prompts_of

    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.prompts = {"query": "search this: ", "document": "the text says: "}
    columns = ["query", "positive", "negative_1", "label"]
    assert prompts_of(model, columns) == {
        "query": "search this: ", "positive": "the text says: ", "negative_1": "the text says: ",
    }  # fmt: skip
    prompted = tmp_path / "prompted"
    model.save_pretrained(str(prompted), create_model_card=False)
    plain, _, _ = trained(tmp_path / "plain", mined, tiny_model, FULL)
    shutil.rmtree(tmp_path / "asked", ignore_errors=True)
    run_until(tmp_path / "asked" / "run", mined / "beir", "mine", base=prompted)
    chosen = (f"train.phases={json.dumps([FULL])}", "train.strength=1")
    asked, _ = run_until(tmp_path / "asked" / "run", mined / "beir", "train", *chosen, base=prompted)
    losses = [run.manifests("model")["train"].facts["losses"] for run in (plain, asked)]
    assert losses[0] != losses[1]
    assert SentenceTransformer(str(asked.path("model")), device="cpu").prompts["query"] == "search this: "
    told = [run.manifests("model")["train"].facts["prompts"] for run in (plain, asked)]
    assert told[1]["document"] == "the text says: " and told[0]["hash"] != told[1]["hash"]


def test_a_phase_that_reads_too_little_of_its_texts_is_said_to(tmp_path: Path, mined: Path, tiny_model: Path):
    _, facts, heard = trained(tmp_path, mined, tiny_model, {**FULL, "max_length": 8})
    assert facts["phases"][0]["max_length"] == 8 and any("8 tokens" in said for said in heard.messages("warning"))
    _, facts, heard = trained(tmp_path / "fitting", mined, tiny_model, FULL)
    assert 8 < facts["phases"][0]["max_length"] < 128  # what the texts need, not what the base could read
    assert not any("tokens of a text" in said for said in heard.messages("warning"))


# Merging and blending


def test_merged_weights_give_what_the_adapters_gave(tiny_model: Path):
    import torch

    from hfembed.embed import load_model
    from hfembed.train.lora import lora

    model = load_model(local_model("tiny", tiny_model))
    before, texts = model.encode(["pump leaks", "the lens sticks"]), ["pump leaks", "the lens sticks"]
    torch.manual_seed(0)
    with lora(model, local_model("tiny", tiny_model), Tuning(method="lora")) as learner:
        for name, weight in learner.named_parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.2)
            assert weight.requires_grad == ("lora_" in name)
        adapted = learner.encode(texts)
    merged = model.encode(texts)
    assert np.abs(merged - adapted).max() < 1e-5 < np.abs(merged - before).max()
    assert not any("lora" in name for name in model.state_dict())
    assert all(weight.requires_grad for weight in model.parameters())


def test_no_strength_is_the_base_full_strength_what_was_learned_and_half_lies_between(
    tmp_path: Path, mined: Path, tiny_model: Path
):
    runs = {
        strength: trained(tmp_path / str(strength), mined, tiny_model, FULL, settings=(f"train.strength={strength}",))
        for strength in (0, 0.5, 1)
    }
    before = weights(tiny_model)
    found = {strength: weights(run.path(LAYOUT.model)) for strength, (run, _, _) in runs.items()}
    assert same(before, found[0]) and not same(before, found[1])
    assert all(np.allclose(found[0.5][name], (before[name] + found[1][name]) / 2, atol=1e-6) for name in before)
    assert runs[0][1]["fold"]["kind"] == "base"


def test_a_strength_chosen_on_kinds_that_were_learned_from_is_cautious(tmp_path: Path, mined: Path, tiny_model: Path):
    _, facts, _ = trained(tmp_path, mined, tiny_model, FULL, settings=())
    assert set(facts["choice"]["dev_ndcg@10"]) == {"0.0", "0.25", "0.5"}
    assert not facts["choice"]["on_queries_left_out"]


def test_kinds_that_a_phase_leaves_out_choose_its_strength(tmp_path: Path, mined: Path, tiny_model: Path):
    _, facts, _ = trained(tmp_path, mined, tiny_model, {**FULL, "kinds": {"keyword": 1}}, settings=())
    scores = facts["choice"]["dev_ndcg@10"]
    assert facts["choice"]["on_queries_left_out"] and set(scores) == {"0.0", "0.25", "0.5", "0.75", "1.0"}
    assert scores["0.0"] and all("keywords" not in families for families in scores.values())


@pytest.mark.parametrize("phase", [FULL, ADAPTER], ids=["full", "adapter"])
def test_queries_of_people_choose_too(tmp_path: Path, mined: Path, tiny_model: Path, phase: dict[str, Any]):
    asked = write_jsonl(
        tmp_path / "asked.jsonl",
        [{"query": f"what about the unit {number}?", "positive_id": f"d{number}"} for number in range(9)]
        + [{"query": "nobody knows", "positive_id": "unheard-of"}],
    )
    settings = (f"train.dev_queries={asked}",)
    run, facts, heard = trained(tmp_path, mined, tiny_model, phase, settings=settings)
    assert "people" in json.dumps(facts["choice"])
    assert any("1 answers in 'asked.jsonl'" in sentence for sentence in heard.messages("warning"))
    assert run.manifests("model")["train"].sources["dev_queries"]["fingerprint"]


@pytest.mark.parametrize("phase", [FULL, ADAPTER], ids=["full", "adapter"])
@pytest.mark.parametrize(("count", "heard"), [(60, True), (20, False)], ids=["enough", "too few in dev"])
def test_queries_of_people_that_are_learned_from_choose_too_where_dev_has_enough(
    tmp_path: Path, tiny_model: Path, phase: dict[str, Any], count: int, heard: bool
):
    pairs = [{"query": f"who has seen thing {number}?", "positive_id": f"d{number}"} for number in range(count)]
    given = f"generate.pairs={write_jsonl(tmp_path / 'asked.jsonl', pairs)}"
    chosen = (f"train.phases={json.dumps([phase])}", "mine.negatives=1", *FOLD)
    corpus = write_beir(tmp_path / "beir", some_documents(60))
    run, _ = run_until(tmp_path / "run", corpus, "train", given, *chosen, base=tiny_model)
    assert (run.manifests("triplets")["generate"].facts["labelled"]["dev"] >= MIN_DEV_QUERIES) is heard
    choice = run.manifests("model")["train"].facts["choice"]
    assert ("people" in json.dumps(choice)) is heard and "labelled" not in json.dumps(choice)


# Going on


@pytest.mark.parametrize(
    ("phase", "more"),
    [
        (FULL, ()),
        pytest.param(LORA, (), marks=pytest.mark.long),
        ({**FULL, "loss": "m3", "self_distill": {"after": 0.5}}, HEADS),
    ],
    ids=["full", "lora", "heads"],
)
def test_a_killed_phase_goes_on_from_its_checkpoint_to_the_same_curve_and_weights(
    tmp_path: Path, mined: Path, tiny_model: Path, phase: dict[str, Any], more: tuple[str, ...]
):
    phase = {**phase, "steps": 30, "stop": {**STOP, "looks": 3}}
    chosen = [f"train.phases={json.dumps([phase])}", "train.strength=1", "train.checkpoint_seconds=0.001", *more]
    whole, facts, _ = trained(tmp_path / "whole", mined, tiny_model, phase, settings=tuple(chosen[1:]))
    shutil.copytree(mined / "run", tmp_path / "killed" / "run")
    killed = Run(tmp_path / "killed" / "run")
    arguments = [part for setting in chosen for part in ("--set", setting)]
    command = [sys.executable, "-m", "hfembed", "run", "--corpus", str(mined / "beir"), "--base", str(tiny_model)]
    command += ["--run", str(killed.folder), "--until", "train", *(p for s in FOLD for p in ("--set", s)), *arguments]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True)
    deadline = time.monotonic() + 120
    while not has_checkpoint(killed.path(LAYOUT.checkpoints), "checkpoint-[5-9]"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = [int(file.parent.name.partition("-")[2]) for file in killed.path(LAYOUT.checkpoints).rglob("complete")]
    assert kept and max(kept) < 30 and "train" not in killed.manifests("model")
    heard = Listener()
    run_until(
        killed.folder, mined / "beir", "train", *FOLD, *chosen, base=tiny_model, listeners=[heard]
    )  # fmt: skip
    again = killed.manifests("model")["train"].facts
    assert again["phases"][0]["curves"] == facts["phases"][0]["curves"]
    assert fingerprint_model(killed.path(LAYOUT.model)) == fingerprint_model(whole.path(LAYOUT.model))
    first = next(event.done for event in heard if event.message == "training the weights" and event.done)
    assert first >= min(kept)  # it did not begin anew


def test_a_checkpoint_that_was_half_written_is_not_gone_on_from(tmp_path: Path):
    from hfembed.train.checkpoints import COMPLETE, last_checkpoint

    for step in (3, 7, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-3" / COMPLETE).touch()
    (tmp_path / "checkpoint-7" / COMPLETE).touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-7"
    assert not (tmp_path / "checkpoint-11").exists()


# Stopping


def test_a_phase_ends_early_when_dev_falls_and_the_best_weights_are_kept(tmp_path: Path, mined: Path, tiny_model: Path):
    wild = {**FULL, "steps": 40, "learning_rate": 0.5, "warmup": 0, "stop": {"looks": 20, "patience": 2}}
    _, facts, heard = trained(tmp_path, mined, tiny_model, wild)
    assert len(facts["losses"]) < 40
    assert any("training ends after" in sentence for sentence in heard.messages("note"))


def test_a_loss_that_is_no_number_stops_with_the_remedy(tmp_path: Path, mined: Path, tiny_model: Path):
    broken = {**FULL, "learning_rate": 1e38, "steps": 8, "warmup": 0}
    with pytest.raises(StageError, match="The loss is nan") as stopped:
        trained(tmp_path, mined, tiny_model, broken)
    assert "learning_rate" in stopped.value.hint


# The recipe


def recipe(phases: str) -> Recipe:
    return make_recipe(settings=[f"train.phases={phases}"])


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ("[{method: lroa}]", "must be 'adapter', 'full', 'lora', 'qlora' or 'autotrain'. Did you mean 'lora'?"),
        ("[{method: full, pool: 16}]", "unknown key 'train.phases.0.pool'"),
        ("[{method: full, lora: {rnk: 2}}]", "Did you mean 'rank'?"),
        ("[{steps: 1, layers: 2}]", "unknown key 'train.phases.0.layers'"),
        ("[{method: full, in_batch: false, negatives: 0}]", "nothing to tell its positives from"),
        ("[{method: full, in_batch: false, mini_batch: 2}]", "mini_batch is for losses that compare"),
        ("[{method: full, loss: margin_mse, negatives: 0}]", "needs negatives"),
    ],
)
def test_a_phase_that_makes_no_sense_is_refused_in_words(phases: str, words: str):
    with pytest.raises(RecipeError) as refused:
        recipe(phases)
    assert words in str(refused.value)


def test_a_recipe_of_many_phases_is_read_back_as_it_was_written(tmp_path: Path):
    from hfembed.recipe import read_recipe

    made = recipe("[{steps: 5}, {method: full, kinds: {title: 2}}, {method: lora, lora: {rank: 4}}]")
    (tmp_path / "recipe.yaml").write_text(made.to_yaml(), encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.yaml") == made


def test_phases_of_one_form_share_a_part_and_qlora_stands_alone():
    from hfembed.train.part import split_parts

    names = ["adapter", "adapter", "full", "lora", "qlora", "qlora", "full", "adapter"]
    made = recipe(json.dumps([{"method": name} for name in names])).train.phases
    parts = [[str(phase.method) for phase in part] for part in split_parts(made)]
    assert parts == [["adapter", "adapter"], ["full", "lora"], ["qlora"], ["qlora"], ["full"], ["adapter"]]


def test_more_negatives_than_were_mined_are_refused_with_both_remedies(tmp_path: Path, mined: Path, tiny_model: Path):
    with pytest.raises(StageError, match="uses 9 negatives per row, but 4 were mined") as refused:
        trained(tmp_path, mined, tiny_model, {**FULL, "negatives": 9})
    assert "mine.negatives=9" in refused.value.hint


def test_a_dashboard_that_is_not_installed_is_asked_for_before_anything_is_trained(
    tmp_path: Path, mined: Path, tiny_model: Path
):
    if find_spec("trackio"):
        pytest.skip("it is installed here")
    with pytest.raises(MissingExtraError, match="'trackio', which is not installed"):
        trained(tmp_path, mined, tiny_model, FULL, settings=("train.report_to=[trackio]",))


# Together


def test_two_processes_train_one_model_and_only_the_first_speaks(tmp_path: Path, mined: Path, tiny_model: Path):
    shutil.copytree(mined / "run", tmp_path / "run")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", str(free_port())]
    command += ["-m", "hfembed", "train", str(tmp_path / "run"), "--format", "json", "--set", "train.strength=1"]
    phases = [FULL, {**LORA, "in_batch": False}]
    done = subprocess.run(
        [*command, "--set", f"train.phases={json.dumps(phases)}"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:6_000]
    assert json.loads(done.stdout)  # one object
    facts = Run(tmp_path / "run").manifests("model")["train"].facts
    drawn = [phase["rows_drawn"] for phase in facts["phases"]]
    assert len(facts["losses"]) == 8 and np.isfinite(facts["losses"]).all()
    assert min(drawn) > 4 * FULL["batch_size"]  # each step drew two batches: one for each process
    assert not same(weights(tiny_model), weights(tmp_path / "run" / "model"))


def has_checkpoint(folder: Path, pattern: str) -> bool:
    """Tell whether a whole checkpoint of such a name is there; older ones go while this looks."""
    return any("complete" in files and Path(place).match(pattern) for place, _, files in os.walk(folder))


def free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
