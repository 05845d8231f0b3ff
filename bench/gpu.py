"""Measure presets that need a GPU at the width they are made for: texts a second, and the memory that takes.

    python bench/gpu.py [--preset NAME ...] [--base MODEL] [--documents 2000] [--steps 30] [--set KEY=VALUE ...] [--tiny]

Presets are neuromap and bmretriever, as far as they ship, unless others are named. Without --base the model is made
here, of the width and depth of the preset's own base and of random weights: how fast it is does not depend on what
it knows, and nothing is downloaded. Documents are made of the sample's sentences, some 200 words each.

encode: documents a second with the vectors of the preset's model, in the precision that hfembed chooses here. train:
texts a second (query, document and negatives) in each phase of the preset, in a run of the real pipeline; looks at
dev are not counted. Memory is the most that torch held on the GPU at a time; on a CPU, of the process.

On a machine without a GPU nothing is measured at real width: --tiny runs the same on the CPU with a tiny model, and
is what happens there by itself.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfembed import pipeline
from hfembed.cli_base import prepare_process
from hfembed.embed import Precision, Role, encode, load_model, measure_precision
from hfembed.events import Event
from hfembed.recipe import Recipe, Tuning, load_presets, make_recipe
from hfembed.resources import sample_folder
from hfembed.run import Run
from hfembed.stage import PeakMemory, Sources
from hfembed.text import split_sentences

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

PRESETS = ("neuromap", "bmretriever")
WORDS = 200
TRAINING, ANNOUNCED = "training the weights", 0.1
# A model of random weights finds nothing again and everything alike: what depends on that is left out.
PLAIN = (
    "generate.filters.round_trip.enabled=false", "generate.filters.duplicates=null", "generate.filters.retriever=null",
    "mine.retriever=null", "mine.cap.type=none", "generate.max_dev_queries=100", "train.strength=1",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A model's kind, width and depth."""

    kind: str
    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int


# What the presets' own bases are like, by what their names hold.
SHAPES = {
    "pythia-410m": Shape("gpt_neox", 1024, 24, 16, 4096, 50_304),
    "BioLORD": Shape("bert", 768, 12, 12, 3072, 30_527),
    "Qwen3-Embedding-0.6B": Shape("llama", 1024, 28, 16, 3072, 151_669),
    "MiniLM": Shape("bert", 384, 6, 12, 1536, 30_522),
    "": Shape("bert", 768, 12, 12, 3072, 30_522),
}
TINY = {"width": 32, "layers": 2, "heads": 2, "inner": 64, "vocabulary": 1_000}


@dataclass
class Steps:
    """Listens to a run for how long its steps take, phase by phase: (seconds, steps done) of each."""

    phases: list[list[tuple[float, int]]] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Take the time of an event."""
        if event.message != TRAINING:
            return
        if event.done == 0:
            # It is announced when it is planned, and again once the trainer is ready.
            self.phases += [[]] if event.seconds < ANNOUNCED else []
        elif event.total is None or event.done < event.total:  # the last one is told after the last look at dev
            self.phases[-1].append((event.seconds, event.done))

    def rates(self) -> Iterator[float | None]:
        """Yield the steps a second of each phase; None where there were too few to tell."""
        for seen in self.phases:
            (start, first), (end, last) = (seen[0], seen[-1]) if len(seen) > 1 else ((0.0, 0), (0.0, 0))
            yield (last - first) / (end - start) if end > start and last > first else None


def main() -> None:
    """Measure every preset."""
    arguments = parse()
    device = gpu()
    if device is None:
        print("This machine has no GPU: nothing is measured at real width, and a tiny model runs on the CPU instead.")
        arguments.tiny = True
    print(f"on {device or 'the CPU'}{', tiny' if arguments.tiny else ''}", flush=True)
    shipped = load_presets()
    for name in arguments.presets or PRESETS:
        if name not in shipped:
            print(f"{name}: not a preset of this version; there are {', '.join(shipped)}")
            continue
        with tempfile.TemporaryDirectory() as work:
            measure(name, Path(work), arguments)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", action="append", dest="presets")
    parser.add_argument("--base", help="a model to measure instead of one of random weights")
    parser.add_argument("--documents", type=int, default=2_000)
    parser.add_argument("--steps", type=int, default=30, help="of every phase")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, few documents, few steps")
    return parser.parse_args()


def gpu() -> str | None:
    """Return the name of the GPU, if there is one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def measure(name: str, work: Path, arguments: argparse.Namespace) -> None:
    """Measure one preset and print what it does."""
    documents, steps = (60, 4) if arguments.tiny else (arguments.documents, arguments.steps)
    corpus = write_documents(work / "beir", documents)
    own = make_recipe(name).base
    shape = next(shape for part, shape in SHAPES.items() if part in own)
    base = arguments.base or str(make_model(work / "base", Shape(shape.kind, **TINY) if arguments.tiny else shape))
    recipe = recipe_for(name, corpus, base, steps, arguments)
    print(f"\n{name}: {base if arguments.base else f'as large as {own}'}, {documents:,} documents")
    with memory() as held:
        texts = [row["text"] for row in map(json.loads, (corpus / "corpus.jsonl").open(encoding="utf-8"))]
        print(f"  encode  {encode_rate(recipe, texts)}", end="")
    print(f", {held[0]:,.0f} MB", flush=True)
    heard = Steps()
    with memory() as held:
        pipeline.run(recipe, Run(work / "run"), until="train", listeners=[heard])
    for number, (phase, told, rate) in enumerate(phases(recipe, work / "run", heard), start=1):
        texts_each = phase.batch_size * phase.accumulate * (2 + phase.negatives)
        shown = "too few steps to tell" if rate is None else f"{rate:.2f} steps/s, {rate * texts_each:,.1f} texts/s"
        print(f"  train {number} {told['method']}, batch {phase.batch_size}, {told['max_length']} tokens: {shown}")
    print(f"  run     until train {held[0]:,.0f} MB", flush=True)


def recipe_for(name: str, corpus: Path, base: str, steps: int, arguments: argparse.Namespace) -> Recipe:
    """Return the preset's recipe, shortened to what is measured."""
    known = make_recipe(name)
    short = [
        setting
        for number, phase in enumerate(known.train.phases)
        for setting in shortened(number, phase, steps, tiny=arguments.tiny)
    ]
    options = {"corpus": str(corpus), "base": base}
    return make_recipe(name, None, [*PLAIN, *short, *arguments.settings], options)


def shortened(number: int, phase: Any, steps: int, *, tiny: bool) -> list[str]:
    """Return settings that cut a phase to so many steps and one look at dev."""
    key = f"train.phases.{number}"
    found = [f"{key}.steps={steps}"]
    if isinstance(phase, Tuning):
        found += [f"{key}.stop.looks=1", f"{key}.stop.forgetting=null", f"{key}.stop.preconvergence=null"]
        found += [f"{key}.kinds={{}}", *([f"{key}.mini_batch=4"] if tiny and phase.mini_batch else [])]
    return [*found, f"{key}.batch_size=8"] if tiny else found


def phases(recipe: Recipe, folder: Path, heard: Steps) -> Iterator[tuple[Tuning, dict[str, Any], float | None]]:
    """Yield the phases on weights, what the run tells of each, and its steps a second."""
    told = pipeline.manifests(Run(folder))["train"].facts["phases"]
    on_weights = [
        (phase, facts) for phase, facts in zip(recipe.train.phases, told, strict=True) if isinstance(phase, Tuning)
    ]
    for (phase, facts), rate in zip(on_weights, heard.rates(), strict=True):
        yield phase, facts, rate


def encode_rate(recipe: Recipe, texts: list[str]) -> str:
    """Return how many documents a second the preset's model encodes."""
    model = load_model(Sources(recipe).base)
    precision = Precision(measure_precision(model, texts)["precision"])
    encode(model, texts[:64], Role.DOCUMENT, precision)  # warm up
    started = time.perf_counter()
    encode(model, texts, Role.DOCUMENT, precision)
    return f"{len(texts) / (time.perf_counter() - started):,.1f} texts/s in {precision}"


@contextmanager
def memory() -> Iterator[list[float]]:
    """Yield what holds, once it is over, the MB that were held at most."""
    import torch

    held: list[float] = []
    peak = PeakMemory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    held.append(0.0)
    yield held
    held[0] = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else peak.megabytes()


def write_documents(folder: Path, count: int) -> Path:
    """Write documents of some 200 words each, drawn from the sample's sentences."""
    rows = [json.loads(line) for line in (sample_folder() / "corpus.jsonl").open(encoding="utf-8")]
    sentences = [sentence for row in rows for sentence in split_sentences(row["text"])]
    draw, written = random.Random(0), []
    for number in range(count):
        text = ""
        while len(text.split()) < WORDS:
            text += draw.choice(sentences) + " "
        written.append({"_id": f"d{number}", "title": f"Note {number}", "text": text.strip()})
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in written)
    (folder / "corpus.jsonl").write_text(lines, encoding="utf-8")
    return folder


def make_model(folder: Path, shape: Shape) -> Path:
    """Write a model of this shape with random weights, and a tokenizer that knows the sample."""
    import torch
    from decoders import make_decoder
    from sentence_transformers import SentenceTransformer, models
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, BertConfig

    torch.manual_seed(0)
    sizes = {
        "hidden_size": shape.width, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner, "vocab_size": shape.vocabulary, "max_position_embeddings": 512,
    }  # fmt: skip
    make_decoder(folder, "llama" if shape.kind == "bert" else shape.kind)
    if shape.kind != "bert":
        config = AutoConfig.from_pretrained(folder)
        config.update({**sizes, "num_key_value_heads": shape.heads, "head_dim": shape.width // shape.heads})
        AutoModelForCausalLM.from_config(config).save_pretrained(folder, safe_serialization=True)
        return folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    AutoModel.from_config(BertConfig(**sizes)).save_pretrained(folder, safe_serialization=True)
    transformer = models.Transformer(str(folder), max_seq_length=512)
    pooling = models.Pooling(shape.width, "mean")
    SentenceTransformer(modules=[transformer, pooling, models.Normalize()]).save_pretrained(
        str(folder.with_name("encoder")), create_model_card=False
    )
    return folder.with_name("encoder")


if __name__ == "__main__":
    prepare_process()
    main()
