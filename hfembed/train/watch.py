"""What is watched while weights are trained: progress, dev, numbers that break, checkpoints on time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hfembed.errors import StageError
from hfembed.events import Reporter
from hfembed.recipe import Stop
from hfembed.together import from_first
from hfembed.train.checkpoints import BEST, CHECKPOINT, COMPLETE, learning, save
from hfembed.train.checks import has_forgotten
from hfembed.train.preconvergence import HIT_PLAIN, Rule, find_rule, is_flat, losses_of

DEV, CHECKS = "dev", "checks"
Look = Callable[[], dict[str, Any]]


def refuse_broken(logs: Mapping[str, Any] | None, step: int) -> None:
    """Refuse to go on where the loss is no number."""
    loss = (logs or {}).get("loss")
    if loss is not None and not math.isfinite(loss):
        raise StageError(
            f"The loss is {loss} at step {step}: training has broken.",
            "Lower the phase's learning_rate, or raise its warmup.",
        )


class Pilot(TrainerCallback):  # type: ignore[misc]
    """Ends a pilot where its loss falls no more."""

    def __init__(self, steps: int, report: Reporter) -> None:
        """Look at the loss alone."""
        self._task = report.task("a pilot, to see how low the loss falls", steps, "steps")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Look at the loss of every step."""
        refuse_broken(logs, state.global_step)
        self._task.advance(int("loss" in (logs or {})))
        if is_flat(losses_of(state.log_history)):
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say that it is over."""
        self._task.finish()


class Watch(TrainerCallback):  # type: ignore[misc]
    """Looks at dev, ends the phase when dev says so, keeps the best weights and saves checkpoints.

    All that decides anything stands in the trainer's log, which every checkpoint holds: a run that was
    killed decides the same.
    """

    def __init__(
        self,
        stop: Stop,
        steps: int,
        look: Look,
        folder: Path,
        checkpoint_seconds: float,
        report: Reporter,
        lowest: float | None = None,
    ) -> None:
        """Look at dev through `look`, which returns what to log. lowest: how low the loss would fall, if that is known."""
        self._stop, self._look, self._folder = stop, look, folder
        self._looks = {math.ceil(steps * (at + 1) / stop.looks) for at in range(stop.looks)}
        self._seconds, self._saved = checkpoint_seconds, time.monotonic()
        self._steps, self._report = steps, report
        self._task = report.task("training the weights", steps, "steps")
        self._lowest = lowest
        self._score = DEV if stop.preconvergence is None else HIT_PLAIN
        self._trainer: Any = None
        self.reason = ""

    def attend(self, trainer: Any) -> None:
        """Watch this trainer."""
        self._trainer = trainer

    def best_is_kept(self) -> bool:
        """Tell whether another step than the last one was the best; who ends early takes the first of equals."""
        scores = self._scores()
        first = self._stop.preconvergence is not None
        return bool(scores) and (scores.index(max(scores)) < len(scores) - 1 if first else max(scores) > scores[-1])

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look before the first step; a run that goes on has looked already."""
        self._task.advance(state.global_step)
        if state.global_step == 0:
            self._trainer.log(self._seen())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at dev when it is time, and save when it was long ago."""
        step = state.global_step
        self._task.advance(detail=self._detail(state), values=self._values(state))
        if step in self._looks:
            self._trainer.log(self._seen())
            control.should_log = True  # the loss of this step is yet to be logged
            self._judge(control)
        if self._is_late(state) and not control.should_training_stop:
            control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Stop where the loss is no number."""
        refuse_broken(logs, state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as written to its end."""
        if state.is_world_process_zero:
            (self._folder / f"{CHECKPOINT}{state.global_step}" / COMPLETE).touch()
        self._saved = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say that it is over."""
        self._task.finish()

    def _seen(self) -> dict[str, Any]:
        return from_first(self._look() if self._trainer.is_world_process_zero() else {})

    def _scores(self) -> list[float]:
        """Return what dev said at every look but the one before the first step."""
        log, name = self._trainer.state.log_history, self._score
        return [float(entry[name]) for entry in log if name in entry and entry["step"]]

    def _judge(self, control: Any) -> None:
        """Keep the weights if they are the best yet; end the phase when it has been long since they were."""
        scores = self._scores()
        since = len(scores) - 1 - scores.index(max(scores))
        if since == 0 and self._trainer.is_world_process_zero():
            save(learning(self._trainer.model), self._folder / BEST)
        if self._stop.preconvergence is not None:
            self._judge_early(control)
        elif self._stop.patience is not None and since >= self._stop.patience:
            self._end(control, f"dev has not risen for {self._stop.patience} looks")
        most = self._stop.forgetting
        if most is not None and has_forgotten(self._trainer.state.log_history, most):
            self._end(control, "too much of what was known is forgotten")

    def _judge_early(self, control: Any) -> None:
        """End the phase before all is learned, by the first rule that says so."""
        settings = self._stop.preconvergence
        assert settings is not None
        reasons = {
            Rule.NOT_RISEN: f"hit@1 on plain texts has not risen for {settings.patience} looks",
            Rule.PROGRESS: f"the loss has come {settings.progress:.0%} of the way down to the pilot's",
            Rule.APART: "hit@1 falls on plain texts while it rises on entity maps",
        }
        rule = find_rule(self._trainer.state.log_history, settings, self._steps, self._lowest)
        if rule is not None:
            self._end(control, reasons[rule])

    def _end(self, control: Any, reason: str) -> None:
        step = self._trainer.state.global_step
        if step < self._steps:
            control.should_training_stop = True
            self.reason = f"training ends after {step} of {self._steps} steps: {reason}"

    def _detail(self, state: Any) -> str:
        last = next((entry["loss"] for entry in reversed(state.log_history) if "loss" in entry), None)
        return "" if last is None else f"loss {last:.3f}"

    def _values(self, state: Any) -> dict[str, float]:
        """Return the last loss and the last score on dev, for whoever draws their curves."""
        last = {name: value for entry in state.log_history for name, value in entry.items() if name in ("loss", DEV)}
        return {name: float(value) for name, value in last.items()}

    def _is_late(self, state: Any) -> bool:
        """Tell whether a checkpoint is due; the first process decides for all."""
        late = time.monotonic() - self._saved >= self._seconds and state.global_step < self._steps
        return from_first(late)
