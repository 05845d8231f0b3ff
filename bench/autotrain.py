"""Check that the real AutoTrain reads what hfembed writes for it, and trains by it.

    python bench/autotrain.py PYTHON

PYTHON is that of an environment of its own with autotrain-advanced 0.8.36, whose libraries are older than hfembed's. Its
parser reads the config, its trainer trains the demo's base model on a few rows of the sample corpus, and what it saves
is taken by hfembed as the result of a phase. Nothing is sent to a Hub.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hfembed.embed import load_model
from hfembed.hub import locate_model
from hfembed.hub.autotrain import COLUMNS, Project
from hfembed.hub.models import local_model
from hfembed.recipe import DEFAULT_BASE
from hfembed.resources import sample_folder
from hfembed.train.autotrain import take

ROWS = 32
PARSE = """
import json, sys
from autotrain.parser import AutoTrainConfigParser
found = AutoTrainConfigParser(sys.argv[1])
print(json.dumps(found.task_param_map[found.task](**found.parsed_config).model_dump()))
"""
TRAIN = "autotrain.trainers.sent_transformers"


def parse(python: str, config: dict[str, Any], work: Path) -> dict[str, Any]:
    """Return what the real parser makes of a config."""
    (work / "autotrain.yaml").write_text(yaml.safe_dump(config))
    done = _run([python, "-c", PARSE, "autotrain.yaml"], work)
    parsed: dict[str, Any] = json.loads(done.splitlines()[-1])
    return parsed


def train(python: str, params: dict[str, Any], work: Path) -> float:
    """Have the real trainer train by these parameters; return the seconds."""
    (work / "params.json").write_text(json.dumps(params))
    started = time.monotonic()
    _run([python, "-m", TRAIN, "--training_config", "params.json"], work)
    return time.monotonic() - started


def main() -> None:
    """Print what was read, how long it trained, and how far the weights moved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="the Python that has autotrain-advanced")
    python = parser.parse_args().python
    base = locate_model(DEFAULT_BASE)
    settings = {"lr": 2e-5, "epochs": 1, "batch_size": 8, "max_seq_length": 64, "seed": 42}
    project = Project("hfembed-bench", "nobody", str(base.path), settings, "hf_none")
    with tempfile.TemporaryDirectory(prefix="hfembed-autotrain-") as folder:
        work = Path(folder)
        parsed = parse(python, project.config("spaces-t4-small"), work)
        wrong = {name for name, value in project.params().items() if parsed[name] != value}
        print(
            f"parser: {len(parsed)} fields, {len(project.params())} of them ours, read otherwise: {sorted(wrong) or 'none'}"
        )
        assert not wrong
        (work / "data").mkdir()
        documents = [json.loads(line) for line in (sample_folder() / "corpus.jsonl").open(encoding="utf-8")][:ROWS]
        rows = [
            dict(zip(COLUMNS.values(), (here["title"], here["text"], other["text"]), strict=True))
            for here, other in zip(documents, [*documents[1:], documents[0]], strict=True)
        ]
        (work / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        seconds = train(python, {**parsed, "data_path": "data", "push_to_hub": False, "log": "none"}, work)
        model = load_model(base)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        take(model, load_model(local_model("trained", work / project.name)), "trained")
        moved = [float((value - before[name]).abs().max()) for name, value in model.state_dict().items()]
    print(f"trainer: {len(rows)} rows in {seconds:.0f} s with its start; taken: {len(moved)} tensors, "
          f"{np.count_nonzero(moved)} of them moved, by {max(moved):.1e} at most")  # fmt: skip
    assert max(moved) > 0


def _run(command: list[str], work: Path) -> str:
    environment = {**os.environ, "HF_TOKEN": "hf_none", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3_000:])
    return done.stdout


if __name__ == "__main__":
    main()
