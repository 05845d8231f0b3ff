"""A pilot: a few batches learned by heart before a phase, to see how low its loss would fall."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from hfembed.events import Reporter
from hfembed.recipe import PreConvergence
from hfembed.run import write_json
from hfembed.together import processes
from hfembed.train.blend import weights_of
from hfembed.train.checkpoints import PILOT
from hfembed.train.preconvergence import losses_of, smooth

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hfembed.train.tuner import Task

# Every batch comes so often at least, and at so many times the learning rate: the pilot is to arrive soon.
LEAST_PASSES, RATE = 4, 10.0


def find_lowest(model: SentenceTransformer, task: Task, report: Reporter) -> dict[str, float]:
    """Return how low the loss of a phase falls, where that is to decide on its end; leaves the model as it was.

    It stands in the phase's folder: one that was killed later has no pilot again.
    """
    settings, file = task.phase.stop.preconvergence, task.folder / PILOT
    if settings is None:
        return {}
    if not file.is_file():
        from hfembed.train.tuner import try_out

        adapters = task.phase.lora.model_copy(update={"learning_rate": None})
        phase = task.phase.model_copy(update={"learning_rate": RATE * task.phase.peak(), "lora": adapters})
        batches = plan_pilot(task.batches, settings, task.phase.accumulate * processes())
        before = weights_of(model)
        pilot = replace(task, phase=phase, batches=batches, checkpoint=None, trackers=(), pilot=True)
        losses = losses_of(try_out(model, pilot, report))
        model.load_state_dict(before)
        write_json(file, {"steps": len(losses), "first": losses[0], "lowest": round(min(smooth(losses)), 4)})
    found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return found


def plan_pilot(batches: list[list[int]], settings: PreConvergence, per_step: int) -> list[list[int]]:
    """Return the batches of a pilot: a few of the phase's own, again and again."""
    total = settings.pilot_steps * per_step
    count = max(1, min(math.ceil(settings.pilot_share * len(batches)), total // LEAST_PASSES))
    return [batches[at % count] for at in range(total)]
