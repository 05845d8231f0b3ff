"""Ending before all is learned: each rule on a curve of its own, the pilot, and a run that was killed in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Listener, run_until, some_documents, write_beir

from hfembed.recipe import PreConvergence
from hfembed.run import LAYOUT, Run
from hfembed.train.checks import warnings_of_log
from hfembed.train.pilot import plan_pilot
from hfembed.train.preconvergence import (
    Rule,
    describe_ending,
    find_rule,
    is_flat,
    progress_of,
    smooth,
)

pytestmark = pytest.mark.xdist_group("train")

SETTINGS = PreConvergence()
STEPS = 100


def log_of(
    losses: list[float], plain: list[float], maps: list[float] | None = None, every: int = 5
) -> list[dict[str, Any]]:
    """Return what a trainer logs: a look before the first step, losses, and a look after every few of them."""
    log: list[dict[str, Any]] = [{"step": 0, "hit@1_plain": 0.5, "hit@1_entity_map": 0.5}]
    for step, loss in enumerate(losses, 1):
        at = step // every - 1
        if step % every == 0 and at < len(plain):
            views = {"hit@1_entity_map": maps[at]} if maps else {}
            log.append({"step": step, "hit@1_plain": plain[at], **views})
        log.append({"step": step, "loss": loss})
    return log


def test_the_first_rule_waits_for_two_looks_without_a_better_one():
    rising = [0.5, 0.51, 0.52, 0.53]
    assert find_rule(log_of([1.0] * 20, rising), SETTINGS, STEPS, None) is None
    assert find_rule(log_of([1.0] * 15, [0.5, 0.52, 0.52]), SETTINGS, STEPS, None) is None
    assert find_rule(log_of([1.0] * 20, [0.5, 0.52, 0.52, 0.52]), SETTINGS, STEPS, None) is Rule.NOT_RISEN
    # What it was before the first step does not count: the learning rate has yet to rise.
    assert find_rule(log_of([1.0] * 10, [0.4, 0.41]), SETTINGS, STEPS, None) is None


def test_the_second_rule_compares_the_smoothed_loss_with_where_it_started_and_with_the_pilot():
    losses = [1.0] * 5 + [0.3] * 25
    rising = [0.5 + 0.01 * at for at in range(6)]
    log = log_of(losses, rising)
    assert progress_of(log, STEPS, 0.0) == pytest.approx(1 - smooth(losses)[-1])
    assert progress_of(log, STEPS, 0.0) < 0.7 and find_rule(log, SETTINGS, STEPS, 0.0) is None
    assert progress_of(log, STEPS, 0.2) > 0.7 and find_rule(log, SETTINGS, STEPS, 0.2) is Rule.PROGRESS
    assert find_rule(log, SETTINGS, STEPS, None) is None and progress_of(log[:3], STEPS, 0.2) is None
    assert progress_of(log, STEPS, 1.5) is None  # a pilot that learned nothing tells nothing


def test_the_third_rule_sees_plain_texts_fall_while_maps_rise():
    assert find_rule(log_of([1.0] * 10, [0.52, 0.51], [0.5, 0.6]), SETTINGS, STEPS, None) is Rule.APART
    assert find_rule(log_of([1.0] * 10, [0.52, 0.516], [0.5, 0.6]), SETTINGS, STEPS, None) is None
    assert find_rule(log_of([1.0] * 10, [0.52, 0.45], [0.5, 0.49]), SETTINGS, STEPS, None) is None
    assert find_rule(log_of([1.0] * 10, [0.52, 0.45]), SETTINGS, STEPS, None) is None  # nobody looks at maps


def test_the_first_rule_that_holds_is_the_one_that_is_told_of():
    log = log_of([1.0] * 15, [0.52, 0.51, 0.5], [0.5, 0.6, 0.7])
    assert find_rule(log, SETTINGS, STEPS, None) is Rule.NOT_RISEN
    ending = describe_ending(log, SETTINGS, STEPS, None)
    assert ending == {"rule": "plain_has_not_risen", "step": 15, "planned_steps": 100, "kept_step": 5, "progress": None}
    steady = log_of([1.0] * 10, [0.5, 0.6])
    assert describe_ending(steady, SETTINGS, STEPS, None)["rule"] == "too_much_is_forgotten"
    whole = describe_ending(log_of([1.0] * 10, [0.5, 0.6]), SETTINGS, 10, None)
    assert whole["rule"] is None and whole["kept_step"] == 10


def test_views_that_part_are_warned_of_with_a_remedy():
    looks = {"mean_cosine": 0.1, "effective_rank": 10.0, "general": 0.9, "above_others": 1.0}
    log = [
        {**entry, **looks} if "hit@1_plain" in entry else entry
        for entry in log_of([1.0] * 10, [0.52, 0.45], [0.5, 0.6])
    ]
    said = " ".join(warnings_of_log(log, STEPS))
    assert "hit@1 fell from 0.520 to 0.450 on plain texts" in said and "view_share=0.5" in said
    steady = [
        {**entry, **looks} if "hit@1_plain" in entry else entry for entry in log_of([1.0] * 10, [0.5, 0.5], [0.5, 0.6])
    ]
    assert "entity maps" not in " ".join(warnings_of_log(steady, STEPS))


def test_a_pilot_learns_a_few_batches_again_and_again_until_its_loss_is_flat():
    batches = [[at] for at in range(100)]
    plan = plan_pilot(batches, SETTINGS, per_step=2)
    assert len(plan) == 2 * SETTINGS.pilot_steps and plan[:10] == batches[:10] == plan[10:20]
    assert len(plan_pilot(batches[:1], SETTINGS, 1)) == SETTINGS.pilot_steps
    falling = list(np.linspace(1, 0, 40))
    assert not is_flat(falling) and not is_flat([1.0] * 19) and is_flat([1.0] * 20) and is_flat([*falling, *[0.0] * 40])


# In a run


PHASE = {
    "method": "lora", "view": "entity_map", "in_batch": False, "negatives": 2, "steps": 8, "batch_size": 4,
    "learning_rate": 1e-2, "lora": {"rank": 4, "quantize": "auto"},
    "stop": {"looks": 4, "patience": None, "forgetting": None, "preconvergence": {"patience": 1, "pilot_steps": 4}},
}  # fmt: skip
SETUP = ("generate.entity_maps.by=rules", "mine.view=entity_map", "mine.negatives=2", "generate.max_train_queries=40",
         "generate.max_dev_queries=16", "generate.max_test_queries=16")  # fmt: skip


def test_a_phase_ends_early_and_a_killed_one_decides_the_same(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    corpus = write_beir(tmp_path / "beir", some_documents(30))
    chosen = (*SETUP, f"train.phases={json.dumps([PHASE])}", "train.strength=1", "train.checkpoint_seconds=0.001")
    heard = Listener()
    whole, _ = run_until(tmp_path / "whole", corpus, "train", *chosen, base=tiny_model, listeners=[heard])
    facts = whole.manifests("model")["train"].facts["phases"][0]
    ending = facts["ending"]
    assert ending["rule"] == Rule.NOT_RISEN and ending["step"] < ending["planned_steps"] == 8
    assert ending["kept_step"] < ending["step"] and len(facts["curves"]["loss"]) == ending["step"]
    assert any("hit@1 on plain texts has not risen for 1 looks" in message for message in heard.messages("note"))
    # The same again, but the process goes under after its first look; the pilot is not done twice.
    import hfembed.train.watch as watched
    from hfembed.train import tuner

    pilots, judge = [], watched.Watch._judge

    class Killed(BaseException):
        pass

    def go_under(self: Any, control: Any) -> None:
        judge(self, control)
        if self._trainer.state.global_step >= 2 and not control.should_training_stop:
            raise Killed

    def count(*arguments: Any) -> Any:
        pilots.append(1)
        return try_out(*arguments)

    try_out = tuner.try_out
    monkeypatch.setattr(tuner, "try_out", count)
    monkeypatch.setattr(watched.Watch, "_judge", go_under)
    again = tmp_path / "again"
    with pytest.raises(Killed):
        run_until(again, corpus, "train", *chosen, base=tiny_model)
    monkeypatch.setattr(watched.Watch, "_judge", judge)
    assert list(Run(again).path(LAYOUT.checkpoints).rglob("complete"))
    run_until(again, corpus, "train", *chosen, base=tiny_model)
    told = Run(again).manifests("model")["train"].facts["phases"][0]
    assert pilots == [1]
    assert {name: told[name] for name in ("ending", "pilot", "curves")} == {
        name: facts[name] for name in ("ending", "pilot", "curves")
    }
    first, second = (run.path(LAYOUT.model) / "model.safetensors" for run in (whole, Run(again)))
    assert first.read_bytes() == second.read_bytes()
