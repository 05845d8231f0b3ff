"""What `make demo` calls: the whole way through a Hub of its own, with the real base, and no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_publishes_through_a_hub_of_its_own_and_a_stranger_searches_with_the_result(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    # No address outside this machine can be reached through a proxy that is not there.
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-m", "hfembed", "demo", "--root", str(tmp_path), "--exit", "--format", "json"],
        capture_output=True, text=True, timeout=900, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [stage["name"] for stage in shown["run"]["stages"]][-1] == "push"
    assert {entry["kind"] for entry in shown["run"]["published"]} == {"model", "dataset"}
    assert shown["links"]["model"].startswith(shown["url"]) and shown["links"]["model"] in done.stderr + done.stdout
    search = shown["search"]
    assert len(search["examples"]) == 3
    assert search["questions"] == 72 and search["rose"] + search["fell"] > 0, "the tuned model answers like its base"
    assert "Traceback" not in done.stderr
