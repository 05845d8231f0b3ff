"""push: publish the model and its triplets, each with one commit and a card that a reader can trust."""

from hfembed.push.dataset_files import dataset_files
from hfembed.push.facts import Facts, run_facts
from hfembed.push.folder import Pushed, folder_upload, push_folder
from hfembed.push.measured import Proof
from hfembed.push.model_card import model_files
from hfembed.push.names import propose_repos
from hfembed.push.preview import Preview, RepoPreview, preview_push, preview_upload
from hfembed.push.stage import push
from hfembed.push.use import how_to_search, how_to_use

__all__ = [
    "Facts",
    "Preview",
    "Proof",
    "Pushed",
    "RepoPreview",
    "dataset_files",
    "folder_upload",
    "how_to_search",
    "how_to_use",
    "model_files",
    "preview_push",
    "preview_upload",
    "propose_repos",
    "push",
    "push_folder",
    "run_facts",
]
