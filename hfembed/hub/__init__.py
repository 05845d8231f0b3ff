"""Every call to the Hub; nothing else in hfembed makes one."""

from hfembed.hub.datasets import dataset_revision, stream_dataset
from hfembed.hub.models import REPO_ID, TUNED, ModelSource, fingerprint_model, local_model, locate_model
from hfembed.hub.publish import Published, Upload, publish, read_back

__all__ = [
    "REPO_ID",
    "TUNED",
    "ModelSource",
    "Published",
    "Upload",
    "dataset_revision",
    "fingerprint_model",
    "local_model",
    "locate_model",
    "publish",
    "read_back",
    "stream_dataset",
]
