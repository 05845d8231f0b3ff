"""The front page shows what really happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hfembed.cli import app
from hfembed.pipeline import NAMES
from tests.e2e.conftest import Demo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.xdist_group("instant")


def blocks(language: str) -> list[str]:
    """Return the code blocks of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [code for written, code in found if written == language]


def test_the_result_shown_is_the_result_of_the_run_shown(demo: Demo):
    report = demo.shown["run"]
    shown = next(block for block in blocks("") if "ndcg@10" in block)
    for metric in ("ndcg@10", "recall@10", "mrr@10", "hit@1"):
        numbers = re.search(rf"^{metric} +([\d.]+) +([\d.]+) +([\d.]+) ", shown, flags=re.MULTILINE)
        assert numbers, metric
        measured = [report["report"][metric][name] for name in ("base", "tuned", "bm25")]
        # Processors round differently; the picture must not.
        assert [float(number) for number in numbers.groups()] == pytest.approx(measured, abs=0.02)
    words = {"better": "is better than", "no difference": "No difference", "worse": "is worse than"}
    assert words[report["verdict"]] in shown


def test_the_python_shown_runs(finished: Path):
    for code in blocks("python"):
        here = code.replace("runs/sample-instant/model", str(finished / "model"))
        done = subprocess.run([sys.executable, "-c", here], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "(1, 384)" in done.stdout


def test_every_command_and_option_shown_exists():
    shown = [line for block in blocks("bash") for line in block.splitlines()]
    shown += re.findall(r"`(hfembed [^`]+)`", README)
    commands = [line.split(" #")[0].split() for line in shown if line.startswith("hfembed ")]
    assert len(commands) > 10
    for words in commands:
        answer = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert answer.exit_code == 0, words
        for option in (word for word in words if word.startswith("--")):
            assert option in answer.output, (words, option)


def test_every_make_target_shown_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_table_of_stages_names_every_stage_in_order():
    assert re.findall(r"^\| `hfembed (\w+)` \|", README, flags=re.MULTILINE) == list(NAMES)


def test_every_path_that_the_guide_names_exists():
    guide = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:hfembed|space|cards|bench|tests)/[\w./]*)`", guide)
    assert len(paths) > 20
    for path in paths:
        assert (ROOT / path).exists(), path
