"""push_folder: publish a sentence-transformers folder that hfembed did not make, and say what is missing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfembed.compatible import write_compatible
from hfembed.embed import load_model
from hfembed.errors import ModelError, first_line
from hfembed.events import Reporter, silent
from hfembed.hub import REPO_ID, Published, Upload, local_model
from hfembed.push.card import join_card, render_text
from hfembed.push.deliver import deliver
from hfembed.push.measured import KEY, Proof
from hfembed.push.origins import FRONT_MATTER, read_front_matter
from hfembed.push.serving import ONNX, QUANTIZED, Serving
from hfembed.push.uploads import MESSAGE
from hfembed.run import MANIFEST

if TYPE_CHECKING:
    from hfembed.hub.cards import CardData

TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction")
# Weights and what reads them. Pickles can run code, and checkpoints are no part of a model.
SUFFIXES = {".json", ".safetensors", ".txt", ".model", ".onnx", ".onnx_data", ".jinja", ".md", ".png", ".svg"}
LEFT_OUT_FOLDERS = ("checkpoint-", "runs", "eval", "__pycache__", ".")
UNMEASURED = "measured results; hfembed run evaluates on a corpus of yours"
PROBES = ("a short question", "A passage of a document, with some numbers: 12.7 V, 256 tokens.", "¿Qué dice?")


@dataclass(frozen=True)
class Pushed:
    """What was published, and what its card could not say."""

    published: Published
    missing: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as `--format json` prints it."""
        return {"published": [asdict(self.published)], "missing": self.missing}


def push_folder(
    folder: Path,
    repo: str,
    *,
    public: bool = False,
    pull_request: bool = False,
    proof: Proof | None = None,
    report: Reporter | None = None,
) -> Pushed:
    """Publish any sentence-transformers model; the folder itself is left as it is.

    Its configs go up in the form that every engine reads, and its card keeps what is written and gains
    what the files tell, and what was measured. What none of them tells is reported, on the card too.
    """
    report = report or silent()
    with tempfile.TemporaryDirectory(prefix="hfembed-push-") as name:
        upload, missing = folder_upload(folder, repo, Path(name), proof)
        upload = replace(upload, public=public, pull_request=pull_request)
        for sentence in missing:
            report.warn(f"missing: {sentence}")
        return Pushed(deliver(upload, Path(name), report, folder, PROBES), missing)


def folder_upload(folder: Path, repo: str, parent: Path, proof: Proof | None = None) -> tuple[Upload, list[str]]:
    """Write below `parent` what of a model has to be written, and return all that goes up, and what is missing."""
    source = local_model(folder.resolve().name, folder)  # refuses what is no model, and pickled weights
    if not (folder / "modules.json").is_file():
        raise ModelError(
            f"'{folder}' is a bare transformer: it does not say how tokens become one vector.",
            "Save it with SentenceTransformer(folder).save_pretrained(other) first, and push that.",
        )
    work = parent / "model"
    _copy_configs(folder, work)
    write_compatible(work, load_model(source))
    serving = Serving.read(folder)
    missing = [sentence for sentence in what_is_missing(folder, serving) if proof is None or sentence != UNMEASURED]
    (work / "README.md").write_text(folder_card(folder, repo, serving, missing, proof), encoding="utf-8")
    return Upload(repo, "model", _files(folder, work), MESSAGE), missing


def what_is_missing(folder: Path, serving: Serving) -> Iterator[str]:
    """Yield what neither the card nor the files tell, or what an engine would need."""
    card = _written_card(folder)
    if not card.get("license"):
        yield "a licence; without one nobody may use the model (license: in README.md)"
    if not _base_of(card):
        yield "the base model (base_model: in README.md)"
    if not card.get("datasets"):
        yield "the data it was trained on (datasets: in README.md)"
    if not card.get("language"):
        yield "its language (language: in README.md)"
    if not card.get("model-index"):
        yield UNMEASURED
    if not serving.tokenizer:
        yield "tokenizer.json, which text-embeddings-inference and transformers.js need"
    if not serving.plain:
        yield "a plain ending: engines other than sentence-transformers would leave out " + ", ".join(serving.modules)
    elif ONNX not in serving.onnx:
        yield f"onnx/{ONNX} and onnx/{QUANTIZED}, for ONNX Runtime and transformers.js"


def folder_card(folder: Path, repo: str, serving: Serving, missing: list[str], proof: Proof | None = None) -> str:
    """Return the folder's own card with its metadata filled in, or a first card where it has none."""
    written = _written_card(folder)
    if proof is not None:
        written = {**written, KEY: proof.index(written.get(KEY), repo.split("/")[-1])}
    metadata = folder_metadata(written, serving)
    file = folder / "README.md"
    body = FRONT_MATTER.sub("", file.read_text(encoding="utf-8")).strip() if file.is_file() else ""
    values = {"name": repo.split("/")[-1], "repo": repo, "serving": serving, "missing": missing}
    body = body or render_text("folder.md", **values)
    return join_card(metadata, proof.on(body) if proof else body)


def folder_metadata(written: dict[str, Any], serving: Serving) -> CardData:
    """Return the metadata that is written, completed by what the files tell; nothing written is changed."""
    from hfembed.hub.cards import CardData, ModelCardData

    filled = {"library_name": "sentence-transformers", "pipeline_tag": "sentence-similarity", **written}
    tags = written.get("tags") or []
    filled["tags"] = list(dict.fromkeys([*([tags] if isinstance(tags, str) else tags), *TAGS, *serving.tags()]))
    if base := _base_of(written):
        filled["base_model"] = base
    else:
        filled.pop("base_model", None)  # a path of the machine it was trained on
    try:
        ModelCardData(**filled)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"The metadata in README.md is not valid: {first_line(error)}", "Mend its front matter."
        ) from error
    # Kept as it is written: the client's own class for models would drop keys that it does not know.
    return CardData(**filled)


def _written_card(folder: Path) -> dict[str, Any]:
    file = folder / "README.md"
    return read_front_matter(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _base_of(card: dict[str, Any]) -> str | list[str] | None:
    written = card.get("base_model")
    named = [str(name) for name in (written if isinstance(written, list) else [written]) if name]
    names = [name for name in named if REPO_ID.match(name)]
    return (names if isinstance(written, list) else names[0]) if names else None


def _copy_configs(folder: Path, work: Path) -> None:
    for file in folder.rglob("*.json"):
        target = work / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _files(folder: Path, work: Path) -> list[tuple[str, Path | bytes]]:
    """Return every file to publish: from `work` what was rewritten, from `folder` all else."""
    own = {name.relative_to(folder).as_posix(): name for name in folder.rglob("*") if _belongs(name, folder)}
    new = {file.relative_to(work).as_posix(): file for file in work.rglob("*") if file.is_file()}
    chosen = {name: new.get(name, file) for name, file in own.items()}
    return sorted({**chosen, **{name: new[name] for name in ("README.md", "sentence_bert_config.json")}}.items())


def _belongs(file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    inside = file.resolve().is_relative_to(folder.resolve())  # a link may point to anything of this machine
    hidden = any(part.startswith(LEFT_OUT_FOLDERS) for part in parts[:-1]) or parts[-1].startswith(".")
    return file.is_file() and inside and not hidden and file.suffix in SUFFIXES and file.name != MANIFEST
