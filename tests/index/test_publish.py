"""A published index: what lies on the Hub, and that it is searched as it lies there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from builders import Listener
from huggingface_hub import HfApi, hf_hub_download
from told import serve_hub

from hfembed.errors import InputError, ModelError
from hfembed.events import Events, Reporter
from hfembed.index import Built, Index, Mode
from hfembed.index.publish import publish_index
from hfembed.run import INDEX_LAYOUT

pytestmark = pytest.mark.xdist_group("index")

REPO, HEADED = "demo/devices-index", "demo/devices-heads"


def test_a_published_index_is_searched_where_it_lies(
    built: tuple[Path, Built],
    headed: tuple[Path, Built],
    tiny_model: Path,
    headed_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    folder, modes = built[0], built[1].manifest.modes
    told = Listener()
    with serve_hub(tmp_path / "hub", monkeypatch) as (_, api):
        publish_index(folder, REPO, Reporter("index", Events(listeners=[told])), public=True)
        refuse_what_is_ours_alone(api)
        there = [Index.open(REPO, str(tiny_model)).search("pump", 5, mode, ["title ~ Pump"]) for mode in modes]
        card = Path(hf_hub_download(REPO, "README.md", repo_type="dataset")).read_text(encoding="utf-8")
        with pytest.raises(ModelError, match="not where it was"):
            Index.open(REPO).search("pump")
        assert Index.open(REPO).search("pump", 2, Mode.BM25)
        publish_index(headed[0], HEADED, Reporter("index", Events()))
        by_heads = [Index.open(HEADED, str(headed_model)).search("pump", 5, mode) for mode in Mode]
        of_heads = Path(hf_hub_download(HEADED, "README.md", repo_type="dataset")).read_text(encoding="utf-8")
    assert by_heads == [Index(headed[0]).search("pump", 5, mode) for mode in Mode]
    assert "sparse (0.3)" in of_heads and "sparse" not in card
    assert there == [Index(folder).search("pump", 5, mode, ["title ~ Pump"]) for mode in modes]
    assert f'hfembed search {REPO} "your words"' in card and "24 documents" in card and "--model" in card
    assert {"public", "--model"} <= {word.strip(",.") for said in told.messages("warning") for word in said.split()}


def refuse_what_is_ours_alone(api: HfApi) -> None:
    names = api.list_repo_files(REPO, repo_type="dataset")
    assert INDEX_LAYOUT.manifest in names and any(name.startswith(INDEX_LAYOUT.table_folder) for name in names)
    assert not {INDEX_LAYOUT.place, INDEX_LAYOUT.lock} & {os.path.basename(name) for name in names}


def test_what_is_no_index_is_not_published(tmp_path: Path):
    with pytest.raises(InputError, match="is no index"):
        publish_index(tmp_path, REPO, Reporter("index", Events()))
