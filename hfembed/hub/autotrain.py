"""AutoTrain: a project in a Space of its own, or on an instance that runs, in the words of autotrain-advanced 0.8.36.

Which fields there are was read from its source: `trainers/sent_transformers/params.py`, `parser.py`,
`backends/spaces.py` and `app/api_routes.py`. That project has rested since January 2025.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hfembed.errors import HubError, first_line
from hfembed.events import Reporter
from hfembed.hub.identity import client, job_token
from hfembed.hub.models import MODEL_FILES, locate_model
from hfembed.hub.problems import hub_errors
from hfembed.hub.publish import retry
from hfembed.hub.runs import RunRepo, missing_files
from hfembed.hub.spaces import Space, SpaceState

TASK, CONFIG_TASK, TASK_ID = "st:triplet", "sentence-transformers:triplet", "30"
COLUMNS = {"sentence1_column": "anchor", "sentence2_column": "positive", "sentence3_column": "negative"}
TRAIN, DATA_FILE, CONFIG_FILE = "train", "data/train-00000-of-00001.parquet", "autotrain.yaml"
# Hardware as its Space backend names it, behind the prefix `spaces-`.
FLAVORS = (
    "cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l4x4", "l40sx1", "l40sx4", "l40sx8", "a10g-small",
    "a10g-large", "a10g-largex2", "a10g-largex4", "a100-large",
)  # fmt: skip
SLEEP_SECONDS = 604_800
DOCKERFILE = (
    "FROM huggingface/autotrain-advanced:latest\n\nCMD pip uninstall -y autotrain-advanced && "
    "pip install -U autotrain-advanced && autotrain api --port 7860 --host 0.0.0.0"
)
CARD = """---
title: {name}
emoji: 🚀
colorFrom: green
colorTo: indigo
sdk: docker
pinned: false
tags:
- autotrain
duplicated_from: autotrain-projects/autotrain-advanced
---
"""
# What an upload in one commit ends with.
TRAINED = ("modules.json", "config.json")
REQUEST_SECONDS, LAST_LINES = 60, 12


@dataclass(frozen=True)
class Project:
    """One training. settings are fields of its SentenceTransformersParams; the token pushes what was trained."""

    name: str
    owner: str
    base: str
    settings: Mapping[str, Any]
    token: str = field(repr=False)

    @property
    def data(self) -> str:
        """The private dataset repo that it learns from."""
        return f"{self.owner}/{self.name}-data"

    @property
    def trained(self) -> str:
        """The private model repo that it pushes to."""
        return f"{self.owner}/{self.name}"

    @property
    def space(self) -> str:
        """The Space that its own backend would make."""
        return f"{self.owner}/autotrain-{self.name}"

    def params(self) -> dict[str, Any]:
        """Return what its Space is given to train by; the token is in it, so it is a secret as a whole."""
        return {
            "data_path": self.data,
            "model": self.base,
            "project_name": self.name,
            "username": self.owner,
            "token": self.token,
            "push_to_hub": True,
            "log": "none",
            "trainer": TASK.partition(":")[2],
            "train_split": TRAIN,
            "valid_split": None,
            **COLUMNS,
            **self.settings,
        }

    def config(self, backend: str) -> dict[str, Any]:
        """Return the same as its command line reads it from a file; the token stays in the environment."""
        return {
            "task": CONFIG_TASK,
            "base_model": self.base,
            "project_name": self.name,
            "log": "none",
            "backend": backend,
            "data": {"path": self.data, "train_split": TRAIN, "valid_split": None, "column_mapping": dict(COLUMNS)},
            "params": dict(self.settings),
            "hub": {"username": self.owner, "token": "${HF_TOKEN}", "push_to_hub": True},
        }

    def request(self) -> dict[str, Any]:
        """Return what a running instance is asked for."""
        return {
            "project_name": self.name,
            "task": TASK,
            "base_model": self.base,
            "hardware": "local",
            "params": dict(self.settings),
            "username": self.owner,
            "column_mapping": dict(COLUMNS),
            "hub_dataset": self.data,
            "train_split": TRAIN,
            "valid_split": None,
        }


def find_token() -> str:
    """Return the token that AutoTrain is given: the one made for jobs alone, else the user's."""
    token = job_token()
    if not token:
        raise HubError("AutoTrain needs a token of the Hub, and there is none.", "hf auth login")
    return token


def is_address(place: str) -> bool:
    """Tell whether a place is a running instance, and not hardware for a Space."""
    return "://" in place


class Training:
    """A project and where it is worked on."""

    def __init__(self, project: Project, place: str, report: Reporter) -> None:
        """Address the project at `place`: hardware for a Space of its own, or the address of an instance."""
        self.project, self.place, self.report = project, place, report
        self._space = Space(project.space, report)

    def upload(self, repo: str, kind: str, files: Mapping[str, Path | bytes]) -> None:
        """Put files into a private repo."""
        from huggingface_hub import CommitOperationAdd

        def once() -> None:
            api = client()
            api.create_repo(repo, repo_type=kind, private=True, exist_ok=True)
            added = [
                CommitOperationAdd(name, part if isinstance(part, bytes) else str(part)) for name, part in files.items()
            ]
            api.create_commit(repo, added, commit_message="What AutoTrain needs", repo_type=kind)

        with hub_errors(f"{kind} {repo}"):
            retry(once, self.report)

    def start(self) -> None:
        """Begin: make the Space as its own backend does, or ask the instance."""
        project = self.project
        if is_address(self.place):
            self._ask_instance()
            return
        secrets = {
            "HF_TOKEN": project.token,
            "AUTOTRAIN_USERNAME": project.owner,
            "PROJECT_NAME": project.name,
            "TASK_ID": TASK_ID,
            "PARAMS": json.dumps(project.params()),
            "DATA_PATH": project.data,
            "MODEL": project.base,
        }
        self._space.delete()  # one that is left of a training that was cut off would begin with its old settings
        self._space.prepare("docker", self.place, SLEEP_SECONDS, secrets, {})
        files = {"README.md": CARD.format(name=project.name).encode(), "Dockerfile": DOCKERFILE.encode()}
        self._space.commit(files, "Train a project")

    def is_trained(self) -> bool:
        """Tell whether what was trained is on the Hub."""
        return missing_files(self.project.trained, "model", "main", TRAINED) == []

    def state(self) -> SpaceState | None:
        """Return how the Space stands; an instance tells nothing of a project."""
        return None if is_address(self.place) else self._space.state()

    def words(self) -> str:
        """Return the last that the Space said."""
        try:
            lines = [line.text for line in self._lines()]
        except Exception as error:  # without its words its end is told all the same
            return first_line(error)
        return "\n".join(lines[-LAST_LINES:])

    def stop(self) -> None:
        """Pause the Space; an instance goes on, for it can only stop Spaces."""
        if not is_address(self.place):
            self._space.pause()

    def download(self) -> Path:
        """Return the folder of what was trained: safetensors alone."""
        return locate_model(self.project.trained).path

    def clear(self) -> None:
        """Remove the Space and the data; the trained model stays."""
        if not is_address(self.place):
            self._space.delete()
        RunRepo(self.project.data, self.report).delete()

    def _lines(self) -> Iterator[Any]:
        for line in self._space.log():
            if line is None:
                return
            yield line

    def _ask_instance(self) -> None:
        from huggingface_hub.utils._http import get_session

        host = urlsplit(self.place)
        if host.scheme != "https" and host.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise HubError(f"'{self.place}' would be shown your token without https.", "--on autotrain:https://...")
        headers = {"Authorization": f"Bearer {self.project.token}"}
        address = self.place.rstrip("/") + "/api/create_project"
        try:
            answer: Any = get_session().request(
                "POST", address, headers=headers, json=self.project.request(), timeout=REQUEST_SECONDS
            )
        except Exception as error:  # of whichever library the client speaks through
            raise HubError(f"AutoTrain at {self.place} cannot be reached: {first_line(error)}") from error
        if answer.status_code >= 400 or not answer.json().get("success"):
            raise HubError(f"AutoTrain at {self.place} refuses the project: {answer.status_code} {answer.text[:500]}")


def model_files(folder: Path) -> dict[str, Path | bytes]:
    """Return the files of a model that lies in a folder, as they go into a repo."""
    found = {file for pattern in MODEL_FILES for file in folder.glob(pattern)}
    return {file.relative_to(folder).as_posix(): file for file in sorted(found)}
