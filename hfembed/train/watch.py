"""What is watched while weights are trained: progress, dev, numbers that break, checkpoints on time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hfembed.errors import StageError
from hfembed.events import Reporter
from hfembed.recipe import Stop
from hfembed.together import from_first
from hfembed.train.checkpoints import BEST, CHECKPOINT, COMPLETE, learning, save
from hfembed.train.checks import has_forgotten

DEV, CHECKS = "dev", "checks"
Look = Callable[[], dict[str, Any]]


class Watch(TrainerCallback):  # type: ignore[misc]
    """Looks at dev, ends the phase when dev says so, keeps the best weights and saves checkpoints.

    All that decides anything stands in the trainer's log, which every checkpoint holds: a run that was
    killed decides the same.
    """

    def __init__(
        self, stop: Stop, steps: int, look: Look, folder: Path, checkpoint_seconds: float, report: Reporter
    ) -> None:
        """Look at dev through `look`, which returns what to log."""
        self._stop, self._look, self._folder = stop, look, folder
        self._looks = {math.ceil(steps * (at + 1) / stop.looks) for at in range(stop.looks)}
        self._seconds, self._saved = checkpoint_seconds, time.monotonic()
        self._steps, self._report = steps, report
        self._task = report.task("training the weights", steps, "steps")
        self._trainer: Any = None
        self.reason = ""

    def attend(self, trainer: Any) -> None:
        """Watch this trainer."""
        self._trainer = trainer

    def best_is_kept(self) -> bool:
        """Tell whether another step than the last one was the best."""
        scores = self._scores()
        return bool(scores) and max(scores) > scores[-1]

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
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise StageError(
                f"The loss is {loss} at step {state.global_step}: training has broken.",
                "Lower the phase's learning_rate, or raise its warmup.",
            )

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
        return [float(entry[DEV]) for entry in self._trainer.state.log_history if DEV in entry and entry["step"]]

    def _judge(self, control: Any) -> None:
        """Keep the weights if they are the best yet; end the phase when it has been long since they were."""
        scores = self._scores()
        best = scores.index(max(scores))
        if best == len(scores) - 1:
            if self._trainer.is_world_process_zero():
                save(learning(self._trainer.model), self._folder / BEST)
        elif self._stop.patience is not None and len(scores) - 1 - best >= self._stop.patience:
            self._end(control, f"dev has not risen for {self._stop.patience} looks")
        most = self._stop.forgetting
        if most is not None and has_forgotten(self._trainer.state.log_history, most):
            self._end(control, "too much of what was known is forgotten")

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
