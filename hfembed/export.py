"""export: write the tuned model as ONNX files through Optimum, and keep only those that prove equal."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from hfembed.corpus import Documents
from hfembed.embed import Precision, Role, Vectors, encode, load_model
from hfembed.encoder import reads_one_way
from hfembed.errors import MissingExtraError
from hfembed.hub import TUNED, local_model
from hfembed.ranking import mean_ndcg, top_documents
from hfembed.recipe import Export, Variant
from hfembed.run import LAYOUT, write_json
from hfembed.stage import Job, Outcome, release_memory, require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# The names engines look for: sentence-transformers and TEI take model.onnx, transformers.js model_quantized.onnx.
FILES = {Variant.FP32: "model.onnx", Variant.INT8: "model_quantized.onnx"}
# What every engine that reads last_hidden_state does by itself.
GRAPH_MODULES = ("Transformer", "Pooling", "Normalize")
GRAPH_TASK = "feature-extraction"
MAX_QUERIES = 500
WARM_UP_TEXTS = 8


@dataclass(frozen=True)
class Sample:
    """The documents and queries that parity, quality and speed are measured on."""

    documents: list[str]
    queries: list[str]
    positives: Any


@dataclass(frozen=True)
class Measured:
    """The sample under one engine."""

    documents: Vectors
    queries: Vectors
    docs_per_second: float
    ndcg: float


def export(job: Job) -> Outcome:
    """Write model/onnx/ with one file per variant that passes its gate, and what was measured."""
    _require_exporter()
    settings = job.recipe.export
    folder = job.run.path(LAYOUT.model)
    model = load_model(local_model(TUNED, folder))
    extra = _extra_modules(model)
    target = job.out / Path(LAYOUT.onnx).name
    target.mkdir()
    kept: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    unknown = _unknown_architecture(folder)
    if extra or unknown:
        reason = f"readers of the graph would drop {extra}" if extra else str(unknown)
        refused = dict.fromkeys((FILES[v] for v in settings.variants), reason)
        layer = f"whoever reads it would drop the model's {', '.join(extra)} layer"
        job.report.warn(f"No ONNX file is written: {layer if extra else unknown}.")
    else:
        sample = _read_sample(job, job.recipe.export)
        job.report.note(f"measuring torch on {len(sample.documents)} documents")
        reference = _measure(sample, model)
        del model  # its memory serves the ONNX runtime now
        with tempfile.TemporaryDirectory(dir=job.out, prefix=".work-") as work:
            kept, refused = _write_files(job, sample, reference, target, Path(work))
    write_json(target / Path(LAYOUT.onnx_report).name, {"files": kept, "refused": refused})
    return Outcome(counts={"files": len(kept)}, dropped=dict.fromkeys(refused, 1), facts={"files": kept})


def _write_files(
    job: Job, sample: Sample, reference: Measured, target: Path, work: Path
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Write every variant, measure it against torch, and keep those that pass their gate."""
    settings, folder = job.recipe.export, job.run.path(LAYOUT.model)
    release_memory()
    job.report.note("writing the ONNX graph")
    graph = _write_graph(folder, work)
    kept, refused = [], {}
    for variant in settings.variants:
        file = _write_variant(variant, graph, work)
        release_memory()
        job.report.note(f"checking {FILES[variant]} against torch")
        row = _compare(variant, reference, _measure(sample, _load_graph(folder, file, work)))
        problem = why_refused(variant, row, settings)
        if problem is None:
            shutil.copyfile(file, target / FILES[variant])
            kept.append(row)
        else:
            refused[FILES[variant]] = problem
            job.report.warn(f"{FILES[variant]} is not kept: {problem}.")
    return kept, refused


def why_refused(variant: Variant, row: dict[str, Any], settings: Export) -> str | None:
    """Return why a file may not be published, or None where it passes."""
    if row["ndcg_delta"] < -settings.max_ndcg_loss:
        return f"nDCG@10 {row['ndcg_delta']:+.4f} against torch, allowed {-settings.max_ndcg_loss:+.4f}"
    if variant is Variant.FP32 and row["max_cosine_distance"] > settings.max_cosine_distance:
        return f"cosine distance {row['max_cosine_distance']:.2e}, allowed {settings.max_cosine_distance:.0e}"
    return None


def _require_exporter() -> None:
    require("onnx", "onnx", "onnxruntime")
    try:
        import optimum.exporters.onnx
        import optimum.onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"Optimum's ONNX exporter is not installed, or does not work with this transformers ({error}).",
            'pip install "hfembed[onnx]" takes transformers below 4.58; or stop before it: --until evaluate',
        ) from error
    warnings.filterwarnings("ignore", module=r"torch\.|optimum\.|transformers\.")
    for noisy in ("optimum", "transformers", "onnxruntime"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def _read_sample(job: Job, settings: Export) -> Sample:
    """Take dev queries and their documents, filled up with others: a small search with known answers."""
    documents = Documents.read(job.run.path(LAYOUT.documents))
    dev = pq.read_table(job.run.path(LAYOUT.dev), columns=["query", "positive_id"]).to_pydict()
    row_of = {identity: row for row, identity in enumerate(documents.ids)}
    answers = list(dict.fromkeys(row_of[identity] for identity in dev["positive_id"]))[: settings.sample]
    others = [row for row in range(len(documents)) if row not in set(answers)]
    rows = (answers + others[:: max(1, len(others) // settings.sample)])[: settings.sample]
    place = {row: at for at, row in enumerate(rows)}
    usable = [
        (query, place[row_of[identity]])
        for query, identity in zip(dev["query"], dev["positive_id"], strict=True)
        if row_of[identity] in place
    ][:MAX_QUERIES]
    texts = documents.texts()
    return Sample([texts[row] for row in rows], [query for query, _ in usable], np.array([at for _, at in usable]))


def _measure(sample: Sample, model: SentenceTransformer) -> Measured:
    encode(model, sample.documents[:WARM_UP_TEXTS], Role.DOCUMENT, Precision.FP32)
    started = time.perf_counter()
    documents = encode(model, sample.documents, Role.DOCUMENT, Precision.FP32)
    seconds = time.perf_counter() - started
    queries = encode(model, sample.queries, Role.QUERY, Precision.FP32)
    score = mean_ndcg(top_documents(queries, documents, 10), sample.positives)
    return Measured(documents, queries, len(sample.documents) / seconds, score)


def _compare(variant: Variant, torch_measured: Measured, measured: Measured) -> dict[str, Any]:
    reference = np.concatenate([torch_measured.documents, torch_measured.queries])
    found = np.concatenate([measured.documents, measured.queries])
    # For vectors of length one this is 1 - cosine; where lengths count, it sees those too.
    distances = ((reference - found) ** 2).sum(1) / (2 * np.maximum((reference**2).sum(1), 1e-12))
    return {
        "variant": str(variant),
        "file": f"{Path(LAYOUT.onnx).name}/{FILES[variant]}",
        "max_cosine_distance": float(f"{float(distances.max()):.3g}"),
        "ndcg_delta": round(measured.ndcg - torch_measured.ndcg, 5),
        "docs_per_second": round(measured.docs_per_second, 1),
        "torch_docs_per_second": round(torch_measured.docs_per_second, 1),
        "documents": len(measured.documents),
        "queries": len(measured.queries),
    }


def _write_graph(model: Path, work: Path) -> Path:
    """Export the bare transformer: the graph with last_hidden_state is the one every engine understands."""
    from optimum.exporters.onnx import main_export

    main_export(
        str(model),
        work / "graph",
        task=GRAPH_TASK,
        library_name="transformers",
        do_validation=False,  # the gate below compares whole vectors on real documents instead
        trust_remote_code=False,
        device="cpu",
        custom_onnx_configs=_without_positions(model) if reads_one_way(model) else None,
    )
    return work / "graph" / FILES[Variant.FP32]


def _unknown_architecture(folder: Path) -> str | None:
    """Return why Optimum cannot write this model's graph; None where it can."""
    import optimum.exporters.onnx.model_configs  # noqa: F401 - what it knows is known once this is loaded
    from optimum.exporters.tasks import TasksManager

    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(kind, exporter="onnx", library_name="transformers")
    except KeyError:
        tasks = {}
    return None if GRAPH_TASK in tasks else f"Optimum's exporter does not know the architecture '{kind}'"


def _without_positions(folder: Path) -> dict[str, Any]:
    """Return how to export a model that reads one way: without positions as an input, which nobody who embeds gives."""
    from optimum.exporters.tasks import TasksManager
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    make = TasksManager.get_exporter_config_constructor(
        "onnx", model_type=config.model_type, task=GRAPH_TASK, library_name="transformers"
    )
    known: Any = type(make(config))

    class Graph(known):  # type: ignore[misc]
        @property
        def inputs(self) -> dict[str, Any]:
            return {name: axes for name, axes in super().inputs.items() if name != "position_ids"}

    return {"model": Graph(config, task=GRAPH_TASK)}


def _write_variant(variant: Variant, graph: Path, work: Path) -> Path:
    if variant is Variant.FP32:
        return graph
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    quantizer = ORTQuantizer.from_pretrained(graph.parent, file_name=graph.name)
    # Per-tensor dynamic weights and activations: the one int8 form that every processor's runtime accepts.
    configuration = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    quantizer.quantize(save_dir=work / str(variant), quantization_config=configuration, file_suffix="quantized")
    return work / str(variant) / FILES[variant]


def _load_graph(model: Path, graph: Path, work: Path) -> SentenceTransformer:
    """Load the model the way its users will: sentence-transformers' own ONNX backend reading onnx/."""
    from sentence_transformers import SentenceTransformer

    folder = work / f"load-{graph.stem}"
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("onnx", "*.safetensors"))
    target = folder / Path(LAYOUT.onnx).name / graph.name
    target.parent.mkdir()
    target.symlink_to(graph.resolve())
    name = target.relative_to(folder).as_posix()
    return SentenceTransformer(
        str(folder), backend="onnx", model_kwargs={"file_name": name, "provider": "CPUExecutionProvider"}
    )


def _extra_modules(model: SentenceTransformer) -> list[str]:
    """Name the modules that no reader of the bare graph applies."""
    return [type(module).__name__ for module in model if type(module).__name__ not in GRAPH_MODULES]
