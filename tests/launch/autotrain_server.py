"""An AutoTrain that runs: its own interface, field by field, and a training that is none but changes every weight."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from huggingface_hub import HfApi
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.numpy import load_file, save_file


class Params(BaseModel):
    """SentenceTransformersParamsAPI of autotrain-advanced 0.8.36; what is hidden there is refused here."""

    model_config = ConfigDict(extra="forbid")

    lr: float = 3e-5
    epochs: int = 3
    max_seq_length: int = 128
    batch_size: int = 8
    warmup_ratio: float = 0.1
    gradient_accumulation: int = 1
    optimizer: str = "adamw_torch"
    scheduler: str = "linear"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    seed: int = 42
    logging_steps: int = -1
    auto_find_batch_size: bool = False
    mixed_precision: str | None = None
    save_total_limit: int = 1
    eval_strategy: str = "epoch"
    early_stopping_patience: int = 5
    early_stopping_threshold: float = 0.01


class Columns(BaseModel):
    """STTripletColumnMapping."""

    model_config = ConfigDict(extra="forbid")

    sentence1_column: str
    sentence2_column: str
    sentence3_column: str


class Project(BaseModel):
    """APICreateProjectModel, for the task that is asked for here."""

    model_config = ConfigDict(extra="forbid")

    project_name: str
    task: Literal["st:triplet"]
    base_model: str
    hardware: Literal["local"]
    params: Params
    username: str
    column_mapping: Columns
    hub_dataset: str
    train_split: str
    valid_split: str | None = None


class Whole(Params):
    """SentenceTransformersParams, which a Space of its own is given."""

    data_path: str
    model: str
    project_name: str
    username: str
    token: str
    push_to_hub: bool
    log: str
    trainer: Literal["triplet"]
    train_split: str
    valid_split: str | None
    sentence1_column: str
    sentence2_column: str
    sentence3_column: str


@dataclass
class Instance:
    """One that is served; it trains once it is told to."""

    endpoint: str
    folder: Path
    url: str = ""
    asked: list[Project] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def train(self, token: str, project: str, base: str, data: str, columns: Columns) -> None:
        """Learn something from the rows, and push it as the trainer does: in one commit, to a private repo."""
        api = HfApi(endpoint=self.endpoint, token=token)
        (file,) = [name for name in api.list_repo_files(data, repo_type="dataset") if name.endswith(".parquet")]
        table = pq.read_table(api.hf_hub_download(data, file, repo_type="dataset"))
        assert set(columns.model_dump().values()) <= set(table.column_names) and table.num_rows
        work = Path(api.snapshot_download(base, local_dir=self.folder / project.replace("/", "-")))
        (weights,) = work.rglob("*.safetensors")
        changed = {
            name: value * 1.01 if value.dtype.kind == "f" else value for name, value in load_file(weights).items()
        }
        save_file(changed, weights, {"format": "pt"})
        api.create_repo(project, private=True, exist_ok=True)
        api.upload_folder(repo_id=project, folder_path=work, ignore_patterns=[".cache/*", ".gitattributes"])


@contextmanager
def autotrain_instance(endpoint: str, folder: Path) -> Iterator[Instance]:
    """Serve one until the block ends."""
    instance = Instance(endpoint, folder)

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/api/create_project" or not token:
                self.answer(401, {"detail": "Invalid or expired token"})
                return
            try:
                project = Project.model_validate_json(content)
            except ValidationError as error:
                self.answer(422, {"detail": json.loads(error.json())})
                return
            instance.asked.append(project)
            arguments = (token, f"{project.username}/{project.project_name}", project.base_model, project.hub_dataset)
            threading.Thread(target=self.work, args=(*arguments, project.column_mapping), daemon=True).start()
            self.answer(200, {"message": "Project created", "job_id": "1", "success": True})

        def work(self, *arguments: Any) -> None:
            instance.go.wait()
            instance.train(*arguments)

        def answer(self, status: int, value: dict[str, Any]) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    instance.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield instance
    finally:
        instance.go.set()
        server.shutdown()
