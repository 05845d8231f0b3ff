"""A published index: what lies on the Hub, and that it is searched as it lies there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from builders import Listener
from huggingface_hub import HfApi, hf_hub_download
from told import serve_hub

from hfembed.errors import InputError, ModelError
from hfembed.events import Events, Reporter
from hfembed.index import Built, Index, Mode
from hfembed.index.foreign import names_others
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


def test_an_index_that_would_read_another_table_of_this_machine_is_not_opened(
    built: tuple[Path, Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import lancedb

    cloned = tmp_path / "cloned"
    cloned.mkdir()
    shutil.copy(built[0] / INDEX_LAYOUT.manifest, cloned)
    source = str(built[0] / INDEX_LAYOUT.table_folder)
    # It needs no file of its own: LanceDB follows the path to the other table.
    table = lancedb.connect(cloned).clone_table(INDEX_LAYOUT.table, source, is_shallow=True)
    assert table.count_rows() == 24
    assert names_others(cloned / INDEX_LAYOUT.table_folder) and not names_others(built[0] / INDEX_LAYOUT.table_folder)
    with serve_hub(tmp_path / "hub", monkeypatch) as (_, api):
        api.create_repo("demo/sly", repo_type="dataset")
        api.upload_folder(repo_id="demo/sly", folder_path=cloned, repo_type="dataset")
        with pytest.raises(InputError, match="files that are not in it"):
            Index.open("demo/sly")


def test_a_version_that_cannot_be_understood_counts_as_one_that_reads_elsewhere(tmp_path: Path):
    versions = tmp_path / "_versions"
    versions.mkdir()
    assert not names_others(tmp_path)
    for content in (b"", b"LANC", b"x" * 40, b"\x00" * 28 + b"LANC", b"\xff" * 64):
        (versions / "1.manifest").write_bytes(content)
        assert names_others(tmp_path)


def test_what_is_no_index_is_not_published(tmp_path: Path):
    with pytest.raises(InputError, match="is no index"):
        publish_index(tmp_path, REPO, Reporter("index", Events()))
