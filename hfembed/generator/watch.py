"""What is watched while a generator learns: progress, numbers that break, the guards, checkpoints on time."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hfembed.errors import StageError
from hfembed.events import Reporter, Task
from hfembed.generator.guards import raised
from hfembed.train.checkpoints import CHECKPOINT, COMPLETE


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, warns once of every guard that is raised, and has checkpoints saved.

    What it warns of stands in the trainer's log, which every checkpoint holds.
    """

    def __init__(self, doing: str, shown: str, folder: Path, checkpoint_seconds: float, report: Reporter) -> None:
        """Report as `doing`; `shown` is what to tell of each step, and `folder` where checkpoints stand."""
        self.folder = folder
        self._doing, self._shown, self._report = doing, shown, report
        self._seconds, self._saved = checkpoint_seconds, time.monotonic()
        self._task: Task | None = None
        self._warned: set[str] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say how much there is to do."""
        self._task = self._report.task(self._doing, state.max_steps, "steps")
        self._task.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step, and save when that was long ago."""
        if self._task is not None:
            last = next((entry[self._shown] for entry in reversed(state.log_history) if self._shown in entry), None)
            known = {} if last is None else {self._shown: float(last)}
            self._task.advance(detail="".join(f"{name} {value:.3f}" for name, value in known.items()), values=known)
        if time.monotonic() - self._saved >= self._seconds and state.global_step < state.max_steps:
            control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Stop where the loss is no number, and say what the guards see."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise StageError(
                f"The loss is {loss} at step {state.global_step}: training has broken.",
                "Learn in smaller steps: --set learning_rate=1e-6",
            )
        for name, sentence in (raised(state.log_history) if "reward" in (logs or {}) else {}).items():
            if name not in self._warned:
                self._warned.add(name)
                self._report.warn(sentence, guard=name, step=state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as written to its end."""
        (self.folder / f"{CHECKPOINT}{state.global_step}" / COMPLETE).touch()
        self._saved = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say that it is over."""
        if self._task is not None:
            self._task.finish()
