"""Drive the embedded Hub with unmodified clients of different versions and print which operations pass.

    python bench/clients.py [PYTHON ...]

Each PYTHON is an interpreter with a huggingface_hub of its own (and datasets, transformers, mteb where those are to
be driven too); this one is always among them. Ends with 1 where an operation fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hfembed.localhub import LocalHub
from hfembed.localhub.site import Limits

# Small limits, so that small files already take the ways that large ones take.
LIMITS = Limits(regular_file=100_000, upload_part=150_000)
DRIVER = Path(__file__).with_name("operations.py")
# 0.x has the public address built into what it does with Jobs.
START = """
import os, runpy, sys
sys.path.append({package!r})
from hfembed.localhub.routing import route_public_address
sys.argv = [{driver!r}, *sys.argv[1:]]
with route_public_address(os.environ["HF_ENDPOINT"]):
    runpy.run_path({driver!r}, run_name="__main__")
"""


def main() -> int:
    """Drive all clients against one Hub and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="an interpreter with another client")
    arguments = parser.parse_args()
    columns: dict[str, dict[str, str]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="hfembed-bench-") as folder,
        LocalHub(Path(folder) / "hub", limits=LIMITS, run_spaces=True) as hub,
    ):
        environment = prepare(hub)
        for number, python in enumerate(dict.fromkeys([sys.executable, *arguments.pythons])):
            home = Path(folder) / f"home-{number}"
            version, results = drive(python, f"client-{number}", {**environment, "HF_HOME": str(home)})
            columns[version] = results
    return show(columns)


def prepare(hub: LocalHub) -> dict[str, str]:
    """Make the users and repositories that clients are to meet, and return the environment of a user."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub.add_user("demo", ["acme"]),
        "READ_TOKEN": hub.add_user("demo", role="read"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    code = """
from huggingface_hub import HfApi
api = HfApi()
for name in ("other/gated", "other/private"):
    api.create_repo(name, private=name.endswith("private"))
    api.upload_file(path_or_fileobj=b"x", path_in_repo="secret.txt", repo_id=name)
api.update_repo_settings("other/gated", gated="manual")
"""
    subprocess.run(
        [sys.executable, "-c", code], env={**environment, "HF_TOKEN": hub.add_user("other")}, check=True, timeout=60
    )
    return environment


def drive(python: str, mark: str, environment: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Run all operations in an interpreter and return its client's version, and the result of each."""
    start = START.format(package=str(Path(__file__).parents[1]), driver=str(DRIVER))
    process = subprocess.Popen(
        [python, "-W", "ignore", "-c", start, mark],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    words, complaints = process.communicate(timeout=1800)
    lines: list[dict[str, Any]] = [json.loads(line) for line in words.splitlines()]
    if process.returncode or not lines:
        raise SystemExit(f"{python} ended with {process.returncode}:\n{complaints[-2000:]}")
    seconds = sum(line["seconds"] for line in lines[1:])
    results = {line["operation"]: line["result"] for line in lines[1:]}
    return f"huggingface_hub {lines[0]['version']}", {**results, "seconds": f"{seconds:.0f}"}


def show(columns: dict[str, dict[str, str]]) -> int:
    """Print one line for each operation and one column for each client; return 1 where any failed."""
    names = list(dict.fromkeys(name for results in columns.values() for name in results))
    failures = {(name, v): text for v, results in columns.items() for name, text in results.items() if "FAILED" in text}
    for name, version in failures:
        columns[version][name] = "FAILED"
    widths = {version: max(map(len, [version, *results.values()])) for version, results in columns.items()}
    print(" " * 72, *(version.ljust(widths[version]) for version in columns))
    for name in names:
        print(name.ljust(72), *(results.get(name, "").ljust(widths[v]) for v, results in columns.items()))
    for (name, version), text in failures.items():
        print(f"{version}, {name}: {text}")
    print(f"{'verdict':72} {'pass' if not failures else f'{len(failures)} FAILED'}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
