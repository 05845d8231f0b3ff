"""push: publish the model and its triplets, each with one commit and a card that a reader can trust."""

from hfembed.push.dataset_files import dataset_files
from hfembed.push.facts import Facts, run_facts
from hfembed.push.folder import Pushed, push_folder
from hfembed.push.model_card import model_files
from hfembed.push.stage import push

__all__ = ["Facts", "Pushed", "dataset_files", "model_files", "push", "push_folder", "run_facts"]
