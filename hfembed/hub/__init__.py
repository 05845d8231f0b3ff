"""Every call to the Hub; nothing else in hfembed makes one."""

from hfembed.hub.chat import Chat, is_forbidden_offline
from hfembed.hub.collections import collect
from hfembed.hub.datasets import (
    dataset_bytes,
    dataset_file,
    dataset_files,
    dataset_paths,
    dataset_revision,
    dataset_snapshot,
    stream_dataset,
)
from hfembed.hub.identity import JOB_TOKEN, acting_as, is_visitor, job_token, process_environment, stored_token
from hfembed.hub.models import (
    REPO_ID,
    TUNED,
    ModelSource,
    bring_graph,
    bring_model,
    fingerprint_model,
    local_model,
    locate_model,
    model_configs,
)
from hfembed.hub.publish import Published, Upload, publish, read_back
from hfembed.hub.tokenizers import TokenizerSource, locate_tokenizer

__all__ = [
    "JOB_TOKEN",
    "REPO_ID",
    "TUNED",
    "Chat",
    "ModelSource",
    "Published",
    "TokenizerSource",
    "Upload",
    "acting_as",
    "bring_graph",
    "bring_model",
    "collect",
    "dataset_bytes",
    "dataset_file",
    "dataset_files",
    "dataset_paths",
    "dataset_revision",
    "dataset_snapshot",
    "fingerprint_model",
    "is_forbidden_offline",
    "is_visitor",
    "job_token",
    "local_model",
    "locate_model",
    "locate_tokenizer",
    "model_configs",
    "process_environment",
    "publish",
    "read_back",
    "stored_token",
    "stream_dataset",
]
