"""Prove that a published model gives the tuned vectors in every engine and version that people load it with.

    python bench/compat.py [FINISHED_RUN]

Starts the embedded Hub, publishes the run's model to it as `hfembed push` does, and encodes the same texts
from the repo's id alone: in five versions of sentence-transformers, in optimum's ORTModel, in transformers.js
under Node, and as text-embeddings-inference would from the files it parses (itself it is not run). Prints
the largest difference of a component to the run's own vectors and to the base's. Ends with 1 where an
engine cannot load the repo, gives other vectors, or gives those of the base.

Without a run, a small one is made on the shipped sample. Environments and run are kept in .cache/compat.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from compat import text_embeddings_inference as tei
from compat import transformers_js
from compat.environments import (
    CACHE,
    NODE_CLIENT,
    PYTHON_CLIENTS,
    Client,
    NotInstalledError,
    installed_version,
    node_folder,
    python_of,
)
from compat.verdict import MAX_DISTANCE, MIN_BASE_DISTANCE, Measured, judge

from hfembed.cli import prepare_process
from hfembed.run import LAYOUT, Run

REPO = "compat/tuned"
HELPERS = Path(__file__).parent / "compat"
# A quantized graph is compared with the same file in onnxruntime: only kernels and rounding may differ.
MAX_QUANTIZED_DISTANCE = 1e-3
TIMEOUT = 600
# The small run: half of the adapter's strength is folded into the weights whatever the sample says of it,
# and the quantized graph is kept whatever it costs: vectors are compared here, not rankings.
SMALL = [
    "train.strength=0.5",
    "train.fold.max_documents=400",
    "train.fold.max_queries=400",
    "train.fold.min_cosine=0.5",
    "train.fold.max_ndcg_loss=1",
    "evaluate.bootstrap=100",
    "export.sample=64",
    "export.max_ndcg_loss=1",
    "export.max_cosine_distance=1",
]
# Beside the run's own texts: nothing, blanks, other scripts, and what a tokenizer may stumble on.
ODD_TEXTS = [
    "",
    "   ",
    "Ünïcödé naïve café",
    "電池が充電されない",
    "🔋⚡ 12.7 V",
    "don't [MASK] </s> <b>x</b>",
    "x" * 300,
]


class EngineError(Exception):
    """An engine did not load the repo; the text is the line that says why."""


@dataclass(frozen=True)
class Proof:
    """The published repo, the texts, and the vectors they should and should not get."""

    address: str
    token: str
    texts: list[str]
    tuned: tei.Vectors
    base: tei.Vectors
    folder: Path

    def only(self, wanted: list[bool]) -> Proof:
        """Return the same with some of the texts."""
        texts = [text for text, flag in zip(self.texts, wanted, strict=True) if flag]
        return replace(self, texts=texts, tuned=self.tuned[wanted], base=self.base[wanted])

    def row(self, engine: str, version: Callable[[], str], encode: Callable[[], tei.Vectors]) -> Measured:
        """Encode with one engine and compare."""
        print(f"{engine} ...", file=sys.stderr)
        found = "-"
        try:
            found = version()
            return judge(engine, found, encode(), self.tuned, self.base)
        except NotInstalledError as error:
            return Measured(engine, found, None, None, f"not installed: {error}")
        except (EngineError, ValueError, subprocess.TimeoutExpired) as error:
            return Measured(engine, found, None, None, str(error))

    def run(self, command: list[str], work: Path) -> None:
        """Run an engine's script with the Hub's address and an empty cache, and nothing of this process's environment."""
        left_out = ("HF_", "HFEMBED_", "PYTHON", "VIRTUAL_ENV", "NODE_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        environment |= {"HF_ENDPOINT": self.address, "HF_TOKEN": self.token, "HF_HOME": str(work / "hf-home")}
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if re.match(r"[\w.]*Error\b", line)] or ["no message"]
            raise EngineError(f"ended with {done.returncode}: {lines[-1][:300]}")


def main() -> int:
    """Publish, load everywhere, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a finished run; without it a small one is made")
    parser.add_argument("--only", default="", help="only engines whose name contains this")
    arguments = parser.parse_args()
    run = Run.open(arguments.run or small_run())
    with tempfile.TemporaryDirectory(prefix="hfembed-compat-") as folder, published(run, Path(folder)) as proof:
        rows = [row() for name, row in engines(proof).items() if arguments.only in name]
    print_table(rows)
    failed = [row for row in rows if not row.passed]
    print(f"{len(rows) - len(failed)} of {len(rows)} passed; {len(proof.texts)} texts, tolerance {MAX_DISTANCE:.0e}")
    return 1 if failed or not rows else 0


def small_run() -> Path:
    """Make a small run on the shipped sample with the packaged MiniLM, once."""
    run = CACHE / "run"
    command = ["-m", "hfembed", "run", "--preset", "instant", "--corpus", "sample", "--run", str(run)]
    settings = [part for setting in SMALL for part in ("--set", setting)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    # Finished stages are skipped, so this is quick the second time.
    subprocess.run(
        [sys.executable, *command, "--until", "export", *settings], check=True, env=environment, stdout=sys.stderr
    )
    return run


@contextlib.contextmanager
def published(run: Run, folder: Path) -> Iterator[Proof]:
    """Serve a Hub, publish the run's model to it as a private repo, and download it again as a stranger would."""
    from hfembed.localhub import LocalHub

    with LocalHub(root=folder / "hub") as hub:
        token = hub.add_user("compat")
        # Before huggingface_hub is imported: it reads them then.
        os.environ |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "hf")}
        # From a copy: pushing adds a stage to a run, and the one that was named stays as it is.
        shutil.copytree(run.folder, folder / "run")
        print(f"publishing to {hub.url}/{REPO}", file=sys.stderr)
        command = ["-m", "hfembed", "push", str(folder / "run"), "--model-repo", REPO, "--force", "--format", "json"]
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE)
        from huggingface_hub import snapshot_download

        copy = Path(snapshot_download(REPO, local_dir=folder / "copy"))
        texts, base_name = texts_of(run), run.manifests("model")["train"].sources["base"]["name"]
        tuned, base = own_vectors(str(run.path(LAYOUT.model)), texts), own_vectors(base_name, texts)
        distance = float(np.abs(tuned - base).max())
        if distance < MIN_BASE_DISTANCE:
            raise SystemExit(f"The run's model is its base (largest difference {distance:.1e}): nothing can be proven.")
        yield Proof(hub.url, token, texts, tuned, base, copy)


def texts_of(run: Run) -> list[str]:
    """Return queries, documents (the longest among them, to be cut off) and odd texts."""
    queries = pq.read_table(run.path(LAYOUT.dev))["query"].to_pylist()[:16]
    documents = sorted(pq.read_table(run.path(LAYOUT.documents))["text"].to_pylist(), key=len)
    longest = documents[-1] + " " + " ".join(documents[:40])
    return [*queries, *documents[-4:], *documents[:4], longest[:8000], *ODD_TEXTS]


def own_vectors(model: str, texts: list[str]) -> tei.Vectors:
    """Encode with the model as hfembed itself loads it."""
    from hfembed.embed import load_model
    from hfembed.hub import locate_model

    return np.asarray(load_model(locate_model(model)).encode(texts), dtype=np.float32)


def engines(proof: Proof) -> dict[str, Callable[[], Measured]]:
    """Return each engine's name and what measures it."""
    rows: dict[str, Callable[[], Measured]] = {}
    for client in PYTHON_CLIENTS:
        rows[client.name] = lambda client=client: python_row(proof, client)
    for backend in tei.Backend:
        rows[f"text-embeddings-inference {backend}"] = lambda backend=backend: tei_row(proof, backend)
    rows["transformers.js fp32"] = lambda: node_row(proof)
    if any(transformers_js.is_too_long(proof.folder, proof.texts)):
        rows["transformers.js fp32, too long"] = lambda: too_long_row(proof)
    rows["transformers.js q8"] = lambda: quantized_row(proof)
    return rows


def python_row(proof: Proof, client: Client) -> Measured:
    """Load by id with a client in its own environment."""

    def encode() -> tei.Vectors:
        return called(proof, lambda work: [str(python_of(client)), "-P", str(HELPERS / client.script), REPO])

    def version() -> str:
        packages = (client.package, "transformers", "huggingface_hub")
        return " / ".join(installed_version(python_of(client), package) for package in packages)

    return proof.row(client.engine, version, encode)


def tei_row(proof: Proof, backend: tei.Backend) -> Measured:
    """Parse strictly; then the vectors that follow from what was parsed. A layer that is dropped is a failure."""
    reading = tei.read(proof.folder)
    engine = f"text-embeddings-inference {backend}"
    if reading.all:
        return Measured(engine, "files", None, None, "; ".join(reading.all))
    return proof.row(engine, lambda: "files", lambda: tei.vectors(proof.folder, proof.texts, backend))


def node_row(proof: Proof) -> Measured:
    """Load by id with transformers.js and encode every text that need not be cut."""
    fitting = proof.only([not flag for flag in transformers_js.is_too_long(proof.folder, proof.texts)])
    return fitting.row("transformers.js fp32", node_version, lambda: node_vectors(fitting, "fp32"))


def too_long_row(proof: Proof) -> Measured:
    """Encode the texts that are cut: transformers.js cuts off their last token, [SEP], as well.

    No file of the repo can change that, so these are compared with the same graph on tokens cut in that way.
    """
    cut = proof.only(transformers_js.is_too_long(proof.folder, proof.texts))
    expected = transformers_js.graph_vectors(cut.folder, cut.folder / "onnx" / "model.onnx", cut.texts)
    return against_graph(cut, "transformers.js fp32, too long", "fp32", expected, MAX_DISTANCE)


def quantized_row(proof: Proof) -> Measured:
    """Compare the quantized graph with itself in onnxruntime, and say how far it is from the tuned vectors."""
    graph = proof.folder / "onnx" / "model_quantized.onnx"
    if not graph.is_file():
        return Measured("transformers.js q8", "-", None, None, "the repo has no onnx/model_quantized.onnx")
    expected = transformers_js.graph_vectors(proof.folder, graph, proof.texts)
    return against_graph(proof, "transformers.js q8", "q8", expected, MAX_QUANTIZED_DISTANCE)


def against_graph(proof: Proof, engine: str, dtype: str, expected: tei.Vectors, tolerance: float) -> Measured:
    """Compare transformers.js with onnxruntime on the same file, where it cannot give the tuned vectors exactly."""
    measured: list[tei.Vectors] = []

    def encode() -> tei.Vectors:
        measured.append(node_vectors(proof, dtype))
        return measured[0]

    row = proof.row(engine, node_version, encode)
    if not measured or row.tuned is None:
        return row
    same = float(np.abs(measured[0] - expected).max())
    to_tuned, to_base = ((measured[0] * other).sum(axis=1).mean() for other in (proof.tuned, proof.base))
    problem = ""
    # Written so that NaN fails.
    if not same <= tolerance:
        problem = f"differs from onnxruntime on the same file by {same:.1e}"
    elif not to_tuned > to_base:
        problem = "is nearer to the base than to the tuned vectors"
    note = f"to the same file in onnxruntime {same:.1e}; mean cosine to tuned {to_tuned:.4f}, to base {to_base:.4f}"
    return Measured(engine, row.version, row.tuned, row.base, problem, note)


def node_version() -> str:
    """Return the installed version of transformers.js."""
    package = node_folder(NODE_CLIENT) / "node_modules" / NODE_CLIENT.package / "package.json"
    return str(json.loads(package.read_text(encoding="utf-8"))["version"])


def node_vectors(proof: Proof, dtype: str) -> tei.Vectors:
    """Run transformers.js under Node with an empty cache."""
    main_file = node_folder(NODE_CLIENT) / "node_modules" / NODE_CLIENT.package / "dist" / "transformers.node.mjs"
    command = ["node", str(HELPERS / NODE_CLIENT.script), str(main_file), REPO]
    return called(proof, lambda work: command, dtype)


def called(proof: Proof, command: Callable[[Path], list[str]], *more: str) -> tei.Vectors:
    """Run an engine's script on the texts, in an empty folder, and return the vectors that it wrote."""
    with tempfile.TemporaryDirectory(prefix="hfembed-engine-") as folder:
        work = Path(folder)
        texts, out = work / "texts.json", work / "vectors.json"
        texts.write_text(json.dumps(proof.texts), encoding="utf-8")
        proof.run([*command(work), str(texts), str(out), *more, *([str(work / "cache")] if more else [])], work)
        return np.array(json.loads(out.read_text(encoding="utf-8")), dtype=np.float32)


def print_table(rows: list[Measured]) -> None:
    """Print one line per engine."""
    print(f"{'engine':34} {'version (transformers / hub client)':37} {'to tuned':>9} {'to base':>9}  result")
    for row in rows:
        numbers = " ".join(f"{value:9.1e}" if value is not None else f"{'-':>9}" for value in (row.tuned, row.base))
        result = "pass" if row.passed else f"FAIL {row.problem}"
        print(f"{row.engine:34} {row.version:37} {numbers}  {result}{f'  ({row.note})' if row.note else ''}")


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
