"""The parts of launching, each alone: the wheel, inputs, estimates, logs, and what counts as success."""

from __future__ import annotations

import email
import io
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import recipe_for, run_until, some_documents, write_beir
from packaging.requirements import Requirement

from hfembed import __version__
from hfembed.errors import HubError, InputError, LaunchError, RunError
from hfembed.events import Event, silent
from hfembed.hardware import HARDWARE, Hardware
from hfembed.hub.jobs import Jobs, JobSpec, LogLine
from hfembed.hub.runs import RunRepo
from hfembed.launch import learned
from hfembed.launch.bundle import WHEEL_NAME, build_wheel
from hfembed.launch.estimate import choose, offer, time_limit
from hfembed.launch.extras import extras_of, processes_of
from hfembed.launch.home import REPO_PREFIX, read_home
from hfembed.launch.inputs import MOST_FILES, find_inputs, hash_recipe, unpack, with_inputs, without_inputs
from hfembed.launch.keeper import Keeper
from hfembed.launch.local import this_hardware
from hfembed.launch.log import Place
from hfembed.launch.record import Attempt, Expected, Launch, LauncherName, Outcome, Standing
from hfembed.launch.stream import Printer, read_event
from hfembed.launch.watch import conclude
from hfembed.launch.workload import Size, Weights, Workload, measure_workload
from hfembed.pipeline import NAMES
from hfembed.recipe import make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import Sources, Stage, stage_inputs

# The wheel


def test_the_wheel_is_the_code_that_runs_here_and_the_same_bytes_each_time(tmp_path: Path):
    wheel = build_wheel()
    assert wheel == build_wheel()
    names = set(zipfile.ZipFile(io.BytesIO(wheel)).namelist())
    for name in ("launch/bundle.py", "presets/instant.yaml", "cards/model.md", "space/app.py", "constraints.txt"):
        assert f"hfembed/{name}" in names
    described = zipfile.ZipFile(io.BytesIO(wheel)).read(f"hfembed-{__version__}.dist-info/METADATA").decode()
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert all(f"Requires-Dist: {needed}\n" in described for needed in project["dependencies"])
    needed = [Requirement(found) for found in email.message_from_string(described).get_all("Requires-Dist") or []]
    assert len(needed) == len(project["dependencies"]) + sum(map(len, project["optional-dependencies"].values()))
    (loop,) = [one for one in needed if one.name == "uvloop"]  # has a condition of its own beside its extra
    serving = {"extra": "serve", "sys_platform": "linux"}
    assert loop.marker is not None and loop.marker.evaluate(serving)
    assert not loop.marker.evaluate({**serving, "sys_platform": "win32"}) and not loop.marker.evaluate(
        {"extra": "demo"}
    )
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests/", "bench/"))]
    file = tmp_path / WHEEL_NAME
    file.write_bytes(wheel)
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(file)], check=True, capture_output=True)
    # What it installs makes the same wheel again: a run that was sent can send itself on.
    code = "import sys, hfembed; from hfembed.launch.bundle import build_wheel; sys.stdout.buffer.write(build_wheel())"
    again = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(site)}, capture_output=True, check=True
    ).stdout
    ours, theirs = (zipfile.ZipFile(io.BytesIO(content)) for content in (wheel, again))
    code_names = [name for name in ours.namelist() if name.startswith("hfembed/")]
    assert all(ours.read(name) == theirs.read(name) for name in code_names)


# Inputs


def test_only_what_is_read_travels_and_the_hash_is_the_same_wherever_it_stands(tmp_path: Path, tiny_model: Path):
    found, hashes = [], set()
    for place in ("here", "there"):
        corpus = write_beir(tmp_path / place / "handbook", some_documents(12))
        (corpus / "queries.jsonl").write_text("{}\n")
        recipe = recipe_for(corpus, base=tiny_model)
        inputs = find_inputs(recipe)
        found = [name for entry in inputs for name, _ in entry.files]
        hashes.add(hash_recipe(recipe, inputs))
        kept = without_inputs(recipe, [entry.sent for entry in inputs])
        assert kept.corpus == "inputs/corpus/handbook" and str(tmp_path) not in kept.to_yaml()
        assert with_inputs(kept, [e.sent for e in inputs], Path("/x")).corpus == "/x/inputs/corpus/handbook"
    assert "corpus.jsonl" in found and "queries.jsonl" not in found and "model.safetensors" in found
    assert len(hashes) == 1
    (tmp_path / "there" / "handbook" / "corpus.jsonl").open("a").write('{"_id": "x", "text": "one document more"}\n')
    assert hash_recipe(recipe, find_inputs(recipe)) not in hashes


def test_many_files_travel_as_one_and_come_out_as_they_were(tmp_path: Path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(MOST_FILES + 1):
        (folder / f"{number}.txt").write_text(f"note {number} of many, which says a little about everything")
    (entry,) = find_inputs(recipe_for(folder))
    (tmp_path / "work").mkdir()
    ((name, archive),) = entry.contents(tmp_path / "work")
    place = tmp_path / "root" / name
    place.parent.mkdir(parents=True)
    archive.rename(place)
    unpack([entry.sent], tmp_path / "root")
    came = {file.name: file.read_text() for file in (place.parent / "notes").iterdir()}
    assert came == {file.name: file.read_text() for file in folder.iterdir()} and not place.exists()


def test_a_stage_is_the_same_wherever_its_inputs_stand(tmp_path: Path):
    stage = Stage("train", "model", owner=True, needs=())
    hashes = set()
    for place, text in (("a", "same"), ("b", "same"), ("c", "other")):
        file = tmp_path / place / "questions.jsonl"
        file.parent.mkdir()
        file.write_text(text)
        recipe = recipe_for(tmp_path, f"train.dev_queries={file}")
        hashes.add(stage_inputs(stage, recipe, {}, Sources(recipe)))
    assert len(hashes) == 2


def test_a_run_asks_for_the_libraries_its_stages_need_and_a_process_for_each_gpu_that_trains_weights(tmp_path: Path):
    corpus = write_beir(tmp_path / "c", some_documents(12))
    recipe = recipe_for(corpus)
    assert extras_of(recipe, "generate") == []
    assert extras_of(recipe, "evaluate") == ["train"]
    assert extras_of(recipe, "push") == ["onnx", "train"]
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.html").write_text("<p>a page</p>")
    assert extras_of(recipe_for(tmp_path / "pages"), "generate") == ["files"]
    assert "train" in extras_of(recipe_for("org/corpus"), "pull")
    four = next(item for item in HARDWARE if item.name == "l4x4")
    tuned = recipe_for(corpus, "train.phases=[{method: full}]")
    assert (processes_of(recipe, four), processes_of(tuned, four)) == (1, 4)


# Estimates

MINILM = Weights(22_700_000, 10_600_000, 6, 384)


def load_of(documents: int, tokens: float = 150.0) -> Workload:
    return Workload(Size(documents, tokens * 4.4, tokens, 1.0), MINILM, None, 1_000_000)


def test_the_cheapest_that_fits_is_recommended_and_a_large_corpus_takes_a_faster_one():
    recipe = make_recipe()
    small, large = (
        choose([offer(recipe, NAMES, load_of(count), item, remote=True) for item in HARDWARE], None)
        for count in (500, 2_000_000)
    )
    assert small.hardware.name.startswith("cpu-") and large.hardware.gpus
    assert large.expected.seconds > small.expected.seconds
    assert small.expected.low < small.expected.seconds < small.expected.high < time_limit(small.expected)


def test_a_machine_with_too_little_memory_says_so():
    recipe = make_recipe(settings=["train.phases=[{method: full, batch_size: 512}]"])
    large = Workload(Size(1_000, 2_000, 512, 1.0), Weights(7_000_000_000, 6_500_000_000, 32, 4096), None, 0)
    offers = {item.name: offer(recipe, NAMES, large, item, remote=True) for item in HARDWARE}
    assert "GPU memory" in offers["t4-small"].refusal
    with pytest.raises(LaunchError, match="memory"):
        choose(list(offers.values()), None)


def test_stages_that_are_done_are_not_estimated_and_more_documents_take_longer():
    recipe, here = make_recipe(), this_hardware()
    whole, rest = (offer(recipe, left, load_of(5_000), here, remote=False) for left in (NAMES[:6], NAMES[3:6]))
    assert set(rest.expected.stages) == {"train", "evaluate", "export"}
    assert rest.expected.seconds < whole.expected.seconds
    assert offer(recipe, NAMES[:6], load_of(50_000), here, remote=False).expected.seconds > whole.expected.seconds


def test_the_size_of_a_corpus_is_counted_and_a_pulled_run_is_believed(tmp_path: Path, tiny_model: Path):
    corpus = write_beir(tmp_path / "c", some_documents(700))
    recipe = recipe_for(corpus, base=tiny_model)
    load = measure_workload(recipe, Run(tmp_path / "none"), 0)
    assert 600 <= load.size.documents <= 800 and 30 <= load.size.tokens <= 128
    assert load.base.computed < load.base.parameters < 100_000 and load.base.width == 32
    run, _ = run_until(tmp_path / "run", corpus, "pull", base=tiny_model)
    pulled = measure_workload(recipe, run, 0).size
    assert pulled.documents == 700 and pulled.sure == 1.0
    assert load.size.tokens == pytest.approx(pulled.tokens, rel=0.5)


def expected_of(stages: dict[str, float], ratio: float = 1.0) -> Expected:
    total = sum(stages.values())
    return Expected(seconds=total, low=total / 2, high=total * 2, memory=1, stages=stages, ratio=ratio)


def launch_of(stages: dict[str, float], number: int = 1, publishes: dict[str, str] | None = None) -> Launch:
    attempt = Attempt(
        number=1, launcher=LauncherName.JOBS, flavor="l4x1", job="j", owner="demo", seconds=900,
        submitted="2026-01-01T00:00:00+00:00", expected=expected_of(stages), hfembed="0",
    )  # fmt: skip
    return Launch(
        id=f"20260101-00000{number}-abcdef", name="c instant", repo="demo/none", recipe_hash="a" * 64, until="push",
        rerun=None, publishes=publishes or {}, inputs=[], load=load_of(100), extras=[], attempts=[attempt],
    )  # fmt: skip


def outcome_of(stages: dict[str, float], published: list[dict[str, Any]] | None = None) -> Outcome:
    return Outcome(
        attempt=1, error=None, seconds=sum(stages.values()), stages=stages, verdict=None, published=published or [],
        machine="m", finished="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def test_what_a_run_really_took_is_learned_once_and_makes_the_next_estimate_surer():
    recipe, card = make_recipe(), next(item for item in HARDWARE if item.name == "l4x1")
    before = offer(recipe, NAMES[:6], load_of(1_000), card, remote=False).expected
    for number in (1, 2, 3, 3):
        learned.learn(launch_of({"mine": 10.0, "train": 10.0}, number), outcome_of({"mine": 25.0, "train": 15.0}))
    after = offer(recipe, NAMES[:6], load_of(1_000), card, remote=False).expected
    assert after.seconds == pytest.approx(2 * before.seconds)
    assert after.high / after.seconds < before.high / before.seconds
    # Half of a run says nothing of the whole.
    assert learned.learn(launch_of({"mine": 10.0, "train": 10.0}, 4), outcome_of({"mine": 90.0})) is None


# The Hub's jobs


def spec_of(code: str, **labels: str) -> JobSpec:
    return JobSpec("python:3.11", ["python", "-c", code], "cpu-basic", 60, labels, secrets={"S": "kept secret"})


def test_prices_come_from_the_hub(logged_in):
    found = {item.name: item for item in Jobs("demo").hardware()}
    assert set(found) == {item.name for item in HARDWARE}
    for item in HARDWARE:
        assert found[item.name].dollars(3600) == pytest.approx(item.dollars(3600), rel=1e-2)
        assert (found[item.name].gpus, found[item.name].memory) == (item.gpus, item.memory)


def test_a_job_is_started_once_though_the_answer_to_the_request_is_lost(logged_in):
    jobs = Jobs("demo")
    logged_in.set_faults("drop=0.7,seed=5,path=^/api/jobs/demo$")
    try:
        job = jobs.start(spec_of("print('once')", run="lost"))
    finally:
        logged_in.set_faults("")
    assert [found.id for found in jobs.find({"run": "lost"})] == [job.id]
    assert "kept secret" not in repr(spec_of("pass"))


def test_a_job_that_is_refused_says_why(logged_in):
    with pytest.raises(HubError, match="job of nobody"):
        Jobs("nobody").start(spec_of("pass"))


def test_a_log_that_is_sent_again_is_read_on_where_it_was():
    def lines(*numbers: int) -> Iterator[LogLine]:
        yield from (LogLine(f"line {number}", f"2026-01-01T00:00:0{number // 2}") for number in numbers)

    place = Place()
    first = list(place.after(lines(0, 1, 2, 3, 4)))
    # From its first line again, and then with its beginning gone.
    again = list(place.after(lines(*range(8))))
    cut = list(place.after(lines(*range(6, 10))))
    assert first + again + cut == [f"line {number}" for number in range(10)]


# Events in a log


def test_an_event_is_found_again_even_behind_what_a_library_left_on_the_line():
    out = io.StringIO()
    Printer(out)(Event("progress", "mine", "encoding", 3, 3, "documents"))
    line = out.getvalue().rstrip("\n")
    for prefix in ("", "50%|#####     | "):
        event = read_event(prefix + line)
        assert event is not None and (event.stage, event.done, event.total) == ("mine", 3, 3)
    assert read_event("plain words") is None and read_event(line[:-5]) is None


# What is kept


def test_what_changes_is_kept_what_goes_goes_and_an_outage_loses_nothing(logged_in, tmp_path: Path):
    repo = RunRepo("demo/kept")
    repo.create()
    run = Run(tmp_path / "run")
    (run.folder / "corpus").mkdir(parents=True)
    keeper = Keeper(run, repo, 60, silent())
    (run.folder / "corpus" / "a.txt").write_text("one")
    (run.folder / LAYOUT.lock).write_text("")
    (run.folder / LAYOUT.recipe).write_text("paths of this machine")
    keeper.save()
    assert repo.files() - {".gitattributes", "README.md"} == {"run/corpus/a.txt"}
    (run.folder / "corpus" / "a.txt").unlink()
    (run.folder / "corpus" / "b.txt").write_text("two")
    logged_in.set_faults("rate=0.3,status=503,seed=3")
    try:
        keeper.save({"outcome.json": b"{}"})
    finally:
        logged_in.set_faults("")
    assert repo.files() - {".gitattributes", "README.md"} == {"run/corpus/b.txt", "outcome.json"}
    assert repo.read("run/corpus/b.txt") == b"two" and repo.read("nothing") is None


class Stub:
    """A launcher whose run has ended as told."""

    def __init__(self, outcome: Outcome | None, stage: str = "COMPLETED") -> None:
        self._outcome, self._stage = outcome, stage

    def standing(self, *_: Any) -> Standing:
        return Standing(stage=self._stage, is_over=True, url="http://hub/job")

    def outcome(self, *_: Any) -> Outcome | None:
        return self._outcome


@pytest.mark.parametrize(
    "values", [{"id": "../elsewhere"}, {"inputs": [{"name": ".."}]}, {"inputs": [{"key": "../x"}]}]
)
def test_what_a_repo_keeps_leads_nowhere_but_to_its_run(logged_in, values: Any):
    launch = launch_of({"push": 1.0})
    sent = {"key": "corpus", "name": "handbook", "packed": False}
    repo = RunRepo(f"demo/{REPO_PREFIX}{launch.id}", silent())
    repo.create()
    repo.commit({"run.json": launch.to_text().encode()}, message="Keep")
    assert read_home(repo).id == launch.id
    told = launch.model_dump(mode="json") | values
    told["inputs"] = [sent | entry for entry in values.get("inputs", [])]
    repo.commit({"run.json": json.dumps(told).encode()}, message="Lead elsewhere")
    with pytest.raises((InputError, RunError)):
        read_home(repo)


def test_a_run_that_says_it_is_done_is_believed_only_when_its_repos_hold_all_at_that_commit(logged_in):
    from huggingface_hub import HfApi

    api = HfApi(endpoint=logged_in.url)
    api.create_repo("demo/half")
    for name in ("config.json", "modules.json", "tokenizer.json"):
        revision = api.upload_file(path_or_fileobj=b"{}", path_in_repo=name, repo_id="demo/half").oid
    launch = launch_of({"push": 1.0}, publishes={"model": "demo/half"})

    def verdict(*published: dict[str, Any]) -> str:
        with pytest.raises(LaunchError) as refused:
            conclude(Stub(outcome_of({"push": 1.0}, list(published))), launch, None)  # type: ignore[arg-type]
        assert "http://hub/job" in refused.value.hint and launch.id in refused.value.hint
        return refused.value.message

    entry = {"repo": "demo/half", "kind": "model", "revision": revision, "url": "u"}
    assert "README.md in model demo/half is missing, and 1 more" in verdict(entry) or "recipe.yaml" in verdict(entry)
    assert "a commit to model demo/half is missing" in verdict()
    assert "model demo/half at 000000000000 is missing" in verdict({**entry, "revision": "0" * 40})
    for name in ("README.md", "recipe.yaml"):
        revision = api.upload_file(path_or_fileobj=b"---\n---\n", path_in_repo=name, repo_id="demo/half").oid
    whole = outcome_of({"push": 1.0}, [{**entry, "revision": revision}])
    assert conclude(Stub(whole), launch, None) is whole  # type: ignore[arg-type]
    with pytest.raises(LaunchError, match="ended before it was done: ERROR"):
        conclude(Stub(None, "ERROR"), launch, None)  # type: ignore[arg-type]


def test_this_machine_is_told_as_it_is():
    here = this_hardware()
    assert isinstance(here, Hardware) and here.cpus >= 1 and here.memory > 0.5 and here.hourly is None
