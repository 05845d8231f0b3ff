"""The engine: work spread by Ray comes to the same as work done here, and what goes wrong is said."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import recipe_for, run_until, some_documents, write_beir
from spread import Tripling
from typer.testing import CliRunner

from hfembed import cli, engine, pipeline
from hfembed.embed import Embedder
from hfembed.engine import EngineName
from hfembed.engine.cluster import Cluster
from hfembed.engine.parcel import Parcel, Tree
from hfembed.errors import EngineError, InputError, MissingExtraError, ModelError
from hfembed.events import Events, Reporter, silent
from hfembed.generate import parallel
from hfembed.hub import local_model
from hfembed.mine import candidates
from hfembed.run import LAYOUT

pytestmark = pytest.mark.xdist_group("ray")

NUMBERS = range(20)
# Blocks small enough that a tiny corpus has several of each kind.
SMALL = ((parallel, "CHUNK", 20), (candidates, "QUERY_BLOCK", 64), ("hfembed.embed", "BLOCK", 32))


@pytest.fixture(scope="module")
def ray() -> Iterator[Cluster]:
    """Ray on this machine, started once; its workers find the modules of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        patch.setenv("SOME_API_KEY", "not for workers")
        patch.setenv("HF_TOKEN", "not for workers either")
        patch.setattr("hfembed.engine.cluster._cores", lambda: 1)
        started = Cluster()
        list(started.map(Tripling(), [0, 1], 2, silent()))
        yield started
        started.close()


@pytest.fixture
def with_ray(ray: Cluster) -> Iterator[Cluster]:
    """The same, at work."""
    before = engine._engine.set(ray)
    yield ray
    engine._engine.reset(before)


# Results


def test_what_is_spread_comes_back_in_order_and_the_workers_hold_no_key(ray: Cluster):
    found = list(ray.map(Tripling(), NUMBERS, len(NUMBERS), silent()))
    assert [triple for triple, _, _ in found] == [3 * number for number in NUMBERS]
    assert {keys for _, _, keys in found} == {""} and os.getpid() not in {worker for _, worker, _ in found}
    (alone,) = ray.map(Tripling(), [5], 1, silent())
    assert alone[:2] == (15, os.getpid())  # nothing to spread


def test_a_run_comes_out_the_same_and_either_engine_goes_on_with_it(
    tmp_path: Path, tiny_model: Path, with_ray: Cluster, monkeypatch: pytest.MonkeyPatch
):
    for module, name, size in SMALL:
        monkeypatch.setattr(f"{module if isinstance(module, str) else module.__name__}.{name}", size)
    corpus = write_beir(tmp_path / "corpus", some_documents(80))
    settings = ("mine.sources=[dense,bm25]",)
    sent: list[str] = []
    pack = with_ray._pack
    monkeypatch.setattr(with_ray, "_pack", lambda work: sent.append(type(work).__name__) or pack(work))
    spread, _ = run_until(tmp_path / "spread", corpus, "mine", *settings, base=tiny_model)
    assert sent == ["_Writer", "Encoding", "Encoding", "Finding"]
    reset = engine._engine.set(None)
    plain, _ = run_until(tmp_path / "plain", corpus, "mine", *settings, base=tiny_model)
    again = pipeline.run(recipe_for(corpus, *settings, base=tiny_model), spread, until="mine")
    engine._engine.reset(reset)
    assert again == []  # who computed it is no part of what was computed
    for name in (LAYOUT.pairs, LAYOUT.dev, LAYOUT.train):
        assert spread.path(name).read_bytes() == plain.path(name).read_bytes(), name
    vectors = [sorted(run.path(LAYOUT.embeddings).rglob("vectors.f32")) for run in (spread, plain)]
    assert len(vectors[0]) == 2
    for ours, theirs in zip(*vectors, strict=True):
        assert ours.parent.name == theirs.parent.name
        assert np.abs(np.fromfile(ours, np.float32) - np.fromfile(theirs, np.float32)).max() <= 1e-6
    manifests = [pipeline.manifests(run) for run in (spread, plain)]
    for name, manifest in manifests[0].items():
        other = manifests[1][name]
        assert (manifest.inputs, manifest.output) == (other.inputs, other.output)
        assert {**manifest.facts, "precision": None} == {**other.facts, "precision": None}  # its speed was measured


def test_what_was_encoded_before_it_was_interrupted_is_not_encoded_again(
    tmp_path: Path, tiny_model: Path, with_ray: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hfembed.embed.BLOCK", 32)
    texts = [f"Pump number {number} leaks." for number in range(200)]

    def interrupt(event: object) -> None:
        if getattr(event, "done", 0) >= 96:
            raise KeyboardInterrupt

    source = local_model("tiny", tiny_model)
    loud = Reporter("mine", Events(listeners=[interrupt]))
    monkeypatch.setattr("hfembed.events.MIN_INTERVAL", 0)
    with pytest.raises(KeyboardInterrupt):
        Embedder(source, tmp_path, loud).documents(texts)
    left = Embedder(source, tmp_path)
    assert 0 < left.lacks(texts) == 200 - 96
    assert len(left.documents(texts)) == 200 and left.lacks(texts) == 0


# What goes wrong


def test_a_worker_that_dies_is_replaced_and_the_one_that_always_dies_is_told(
    ray: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    died = Tripling(dies=tmp_path / "died")
    found = list(ray.map(died, NUMBERS, len(NUMBERS), silent()))
    assert (tmp_path / "died").exists() and [triple for triple, _, _ in found] == [3 * number for number in NUMBERS]
    done: list[int] = []
    monkeypatch.setattr("hfembed.engine.cluster.RETRIES", 1)
    with pytest.raises(EngineError, match=r"mine: a worker of Ray was lost after \d+ of 20 blocks") as told:
        for triple, _, _ in ray.map(
            Tripling(dies=tmp_path / "died", always=True), NUMBERS, 20, Reporter("mine", Events())
        ):
            done.append(triple)
    assert "goes on where it stopped" in told.value.hint and done == [3 * number for number in range(len(done))]
    assert capfd.readouterr().out == ""  # stdout is the command's


def test_an_error_of_ours_comes_back_as_it_was_raised(ray: Cluster):
    with pytest.raises(ModelError, match="Numbers begin at 0") as told:
        list(ray.map(Tripling(), [1, -1, 2], 3, silent()))
    assert told.value.hint == "Give others."


def test_an_address_that_nobody_answers_at_is_refused_before_any_work():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        with pytest.raises(EngineError, match="No cluster answers at"):
            Cluster(f"127.0.0.1:{taken.getsockname()[1]}")
    for address in ("somewhere", "http://127.0.0.1:1", "host:port"):
        with pytest.raises(InputError, match="is no address of a cluster"):
            Cluster(address)
    with pytest.raises(InputError, match="which Ray Data does not work through"):
        Cluster("ray://127.0.0.1:10001")


def test_without_ray_the_command_to_type_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hfembed.engine.cluster.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as told, engine.using(EngineName.RAY):
        pass
    assert told.value.hint == 'pip install "hfembed[ray]"'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ray-address", "auto"], "but the engine is local"),
        (["--engine", "ray", "--on", "local"], "with --on local another one does it"),
        (["--engine", "ray", "--ray-address", "nowhere"], "is no address of a cluster"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str], said: str, tmp_path: Path):
    told = CliRunner().invoke(cli.app, ["run", "--corpus", "sample", "--run", str(tmp_path / "run"), *options])
    assert told.exit_code == 2 and said in " ".join(told.stderr.split())
    assert not (tmp_path / "run").exists()


# Files


def test_what_lies_at_the_same_place_is_read_there_and_what_does_not_is_brought_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hfembed.engine.parcel.CHUNK", 4)
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "weights").write_bytes(bytes(range(11)))
    sent: list[bytes] = []
    tree = Tree.of(folder, lambda chunk: sent.append(chunk) or len(sent) - 1)
    assert len(sent) == 4 and tree.place(sent.__getitem__) == folder
    folder.rename(tmp_path / "elsewhere")
    brought = tree.place(sent.__getitem__)
    assert brought != folder and (brought / "deep" / "weights").read_bytes() == bytes(range(11))
    assert tree.place(lambda chunk: pytest.fail("it is there already")) == brought
    with pytest.raises(EngineError, match="is not there as it was"):
        Tree(folder, tree.items).place(sent.__getitem__)
    alone = tmp_path / "vectors.npy"
    alone.write_bytes(b"123456")
    file = Tree.of(alone, lambda chunk: sent.append(chunk) or len(sent) - 1)
    alone.unlink()
    assert file.place(sent.__getitem__).read_bytes() == b"123456"


def test_a_machine_with_other_versions_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    parcel = Parcel.of(Tripling())
    monkeypatch.setattr("hfembed.engine.parcel.versions", lambda: {**parcel.versions, "numpy": "0.1"})
    with pytest.raises(EngineError, match=r"The machine far has numpy 0\.1 instead of") as told:
        parcel.open(bytes, "far")
    assert f"numpy=={parcel.versions['numpy']}" in told.value.hint
