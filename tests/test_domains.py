"""domains: where a model of a size has most to gain, from results that mteb itself wrote, without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import Listener
from typer.testing import CliRunner

from hfembed import terminal
from hfembed.cli import app
from hfembed.cli_domains import parse_size
from hfembed.domains import By, rank_domains
from hfembed.domains.headroom import trust
from hfembed.errors import InputError
from hfembed.events import Events, Reporter

pytestmark = pytest.mark.xdist_group("evaluate")

SMALL, TWICE, LARGE, CLOSED, RERANKER = "lab/small", "lab/twice", "lab/large", "lab/closed", "lab/reranker"
SIZES = {SMALL: 20_000_000, TWICE: 44_000_000, LARGE: 7_000_000_000, CLOSED: None, RERANKER: 20_000_000}
MEDICAL, LAW, CODE = "MTEB(Medical, v1)", "MTEB(Law, v1)", "MTEB(Code, v1)"
OUR_SIZE = 22_000_000

# What models scored: much is left to gain in law, little in medicine.
SCORES = {
    "NFCorpus": {SMALL: 0.30, TWICE: 0.34, LARGE: 0.38, CLOSED: 0.40, RERANKER: 0.99},
    "SciFact": {SMALL: 0.64, LARGE: 0.74},
    "AILAStatutes": {SMALL: 0.20, TWICE: 0.18, LARGE: 0.50},
    "LegalBenchConsumerContractsQA": {SMALL: 0.65, LARGE: 0.80},
    "AppsRetrieval": {LARGE: 0.90},
}


def result_of(task: str, score: float) -> Any:
    import mteb
    from mteb.results import TaskResult

    found = mteb.get_task(task)
    scores = {
        split: {subset: {"main_score": score, "hf_subset": subset, "languages": []} for subset in found.hf_subsets}
        for split in found.eval_splits
    }
    return TaskResult.from_task_results(found, scores, evaluation_time=1.0)


def model(name: str, revision: str = "one") -> Any:
    from mteb.models import ModelMeta

    return ModelMeta(
        loader=None, name=name, revision=revision, release_date=None, languages=None, n_parameters=SIZES[name],
        memory_usage_mb=None, max_tokens=None, embed_dim=None, license=None, open_weights=None,
        public_training_code=None, public_training_data=None, framework=[], similarity_fn_name=None,
        use_instructions=None, training_datasets=None,
        model_type=["cross-encoder" if name == RERANKER else "dense"],
    )  # fmt: skip


def write_results(folder: Path, scores: dict[str, dict[str, float]] = SCORES, revision: str = "one") -> Path:
    """Write results the way mteb keeps them."""
    from mteb import ResultCache

    cache = ResultCache(folder)
    for task, found in scores.items():
        for name, score in found.items():
            cache.save_to_cache(result_of(task, score), model(name, revision))
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("mteb"))


def rank(folder: Path, *benchmarks: str, by: By | None = None, size: int = OUR_SIZE) -> tuple[Any, Listener]:
    heard = Listener()
    found = rank_domains(folder, size, benchmarks, by, Reporter("domains", Events(listeners=[heard])))
    return found, heard


def test_the_domain_where_models_of_our_size_are_farthest_behind_comes_first(results: Path):
    found, _ = rank(results)
    assert found.by is By.BENCHMARKS and [domain.name for domain in found.domains[:2]] == [LAW, MEDICAL]
    law, medical = found.domains[:2]
    assert {task.task: round(task.headroom, 4) for task in law.tasks} == {
        "AILAStatutes": 0.30, "LegalBenchConsumerContractsQA": 0.15,
    }  # fmt: skip
    assert law.headroom > medical.headroom > 0 and found.first is law


def test_headroom_is_the_best_of_all_less_the_best_of_at_most_twice_our_size(results: Path):
    found, _ = rank(results, MEDICAL)
    (task,) = (task for task in found.domains[0].tasks if task.task == "NFCorpus")
    assert (task.best_model, task.near_model, task.models) == (CLOSED, TWICE, 4)  # a reranker embeds nothing
    assert task.headroom == pytest.approx(0.40 - 0.34)
    smaller, _ = rank(results, MEDICAL, size=OUR_SIZE - 1)
    (task,) = (task for task in smaller.domains[0].tasks if task.task == "NFCorpus")
    assert task.near_model == SMALL and task.headroom == pytest.approx(0.40 - 0.30)


def test_tasks_without_results_or_without_a_model_of_our_size_are_named_with_the_reason(results: Path):
    found, _ = rank(results)
    code = next(domain for domain in found.domains if domain.name == CODE)
    assert code.headroom is None and code.unscored["AppsRetrieval"].startswith("no model of at most 2 times")
    assert set(code.unscored.values()) == {"no results", code.unscored["AppsRetrieval"]}
    assert found.domains.index(code) > 1


def test_a_domain_counts_its_tasks_by_how_well_their_scores_are_known(results: Path):
    law = rank(results, LAW)[0].domains[0]
    few, many = law.tasks
    assert (few.task, few.queries, many.queries) == ("AILAStatutes", 50, 396)
    assert few.weight == trust(0.5, 50) < many.weight == trust(0.8, 396)
    assert law.headroom == pytest.approx((few.weight * 0.30 + many.weight * 0.15) / (few.weight + many.weight))


def test_trust_falls_to_half_where_the_noise_is_two_points_or_nobody_knows():
    assert trust(0.5, 625) == pytest.approx(0.5) and trust(0.5, None) == pytest.approx(0.5)
    assert trust(0.5, 62_500) > 0.98 and trust(1.0, 3) == 1


def test_corpora_are_named_with_their_size_and_their_licence(results: Path):
    corpora = {corpus.dataset: corpus for corpus in rank(results, MEDICAL)[0].domains[0].corpora}
    scifact = corpora["mteb/scifact"]
    assert (scifact.documents, scifact.tasks) == (5183, ("SciFact",)) and scifact.licence == "cc-by-nc-4.0"
    assert corpora["mteb/nfcorpus"].licence is None
    assert not any("clustering" in dataset for dataset in corpora)


def test_tasks_can_be_grouped_by_what_they_say_of_themselves(results: Path):
    found, _ = rank(results, by=By.DOMAINS)
    names = {domain.name for domain in found.domains}
    assert {"Medical", "Legal", "Programming"} <= names and not names & {"Written", "Web"}
    legal = next(domain for domain in found.domains if domain.name == "Legal")
    assert {task.task for task in legal.tasks} == {"AILAStatutes", "LegalBenchConsumerContractsQA"}


def test_results_of_other_tasks_alone_are_grouped_by_their_domain(tmp_path: Path):
    found, _ = rank(write_results(tmp_path, {"FiQA2018": {SMALL: 0.4, LARGE: 0.6}}))
    assert found.by is By.DOMAINS
    assert {domain.name for domain in found.domains} == {"Financial"}
    assert found.first is not None and found.first.headroom == pytest.approx(0.2)


@pytest.mark.parametrize("place", ["results", "remote/results", "."])
def test_every_layout_in_which_results_lie_is_read(tmp_path: Path, place: str):
    write_results(tmp_path / "made", {"SciFact": SCORES["SciFact"]})
    target = tmp_path / "other" / place
    target.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "made" / "results").rename(target)
    found, _ = rank(tmp_path / "other", MEDICAL)
    assert found.domains[0].headroom == pytest.approx(0.10)


def test_of_several_revisions_of_a_model_the_best_counts(tmp_path: Path):
    write_results(tmp_path, {"SciFact": {SMALL: 0.6, LARGE: 0.7}})
    write_results(tmp_path, {"SciFact": {SMALL: 0.5}}, revision="two")
    (task,) = rank(tmp_path, MEDICAL)[0].domains[0].tasks
    assert (task.near, task.models) == (0.6, 2)


def test_broken_and_partial_results_are_told_and_the_rest_counts(tmp_path: Path):
    write_results(
        tmp_path, {"SciFact": {SMALL: 0.6, TWICE: 0.6, LARGE: 0.7}, "PublicHealthQA": {SMALL: 0.5, LARGE: 0.6}}
    )
    (tmp_path / "results" / "lab__twice" / "one" / "SciFact.json").write_text("{", encoding="utf-8")
    partial = tmp_path / "results" / "lab__large" / "one" / "PublicHealthQA.json"
    kept = json.loads(partial.read_text(encoding="utf-8"))
    kept["scores"]["test"] = kept["scores"]["test"][:2]
    partial.write_text(json.dumps(kept), encoding="utf-8")
    found, heard = rank(tmp_path, MEDICAL)
    scored = {task.task: task for task in found.domains[0].tasks}
    assert scored["SciFact"].models == 2 and scored["PublicHealthQA"].best_model == SMALL
    (warning,) = heard.messages("warning")
    assert "1 files of results cannot be read" in warning and "lab__twice/SciFact.json" in warning
    assert any("1 results lack a part" in message for message in heard.messages("note"))


def test_a_model_without_a_card_of_its_own_has_the_size_that_mteb_knows(tmp_path: Path):
    write_results(tmp_path, {"SciFact": {SMALL: 0.6, LARGE: 0.7}})
    known = tmp_path / "results" / "sentence-transformers__all-MiniLM-L6-v2"
    (tmp_path / "results" / "lab__small").rename(known)
    (known / "one" / "model_meta.json").unlink()
    (task,) = rank(tmp_path, MEDICAL)[0].domains[0].tasks
    assert task.near_model == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_folder_without_results_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(InputError) as caught:
        rank(tmp_path)
    assert "holds no results of mteb" in caught.value.message and "--results DIR" in caught.value.hint


def test_without_a_folder_the_cache_of_mteb_is_read(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(InputError) as caught:
        rank_domains(None, OUR_SIZE)
    assert "mteb keeps no results" in caught.value.message and "download_from_remote" in caught.value.hint
    monkeypatch.setenv("MTEB_CACHE", str(results))
    assert rank_domains(None, OUR_SIZE, [LAW]).domains == rank(results, LAW)[0].domains


def test_an_unknown_benchmark_is_answered_with_the_nearest(results: Path):
    with pytest.raises(InputError) as caught:
        rank(results, "MTEB(Medicine, v1)")
    assert "mteb knows no benchmark" in caught.value.message


@pytest.mark.parametrize(("text", "size"), [("33M", 33_000_000), ("1.5B", 1_500_000_000), ("22,700,000", 22_700_000)])
def test_a_size_is_read_as_people_write_it(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "many", "0", "-3M", "3MB"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(InputError) as caught:
        parse_size(text)
    assert "number of parameters" in caught.value.message


def call(*arguments: str | Path) -> Any:
    """Run the command in this process, where mteb is imported already."""
    return CliRunner().invoke(app, ["domains", *map(str, arguments)])


def test_the_command_prints_a_table_and_draws_a_chart(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(terminal.results, "width", 160)
    shown = call("--results", results, "--chart", tmp_path / "charts" / "gain.png")
    assert shown.exit_code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[1].startswith(LAW) and "AILAStatutes +30.0" in lines[1] and "2 of 8" in lines[1]
    assert "models of up to 45.4M parameters" in shown.stderr and "licence" in shown.stdout
    assert "no results: AILACasedocs, GerDaLIRSmall" in shown.stdout
    assert (tmp_path / "charts" / "gain.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_answers_with_one_object(results: Path):
    told = json.loads(call("--results", results, "--size", "22M", "--benchmark", MEDICAL, "--format", "json").stdout)
    (domain,) = told["domains"]
    assert (told["size"], told["compared_with_models_up_to"], told["chart"]) == (22_000_000, 44_000_000, None)
    assert domain["name"] == MEDICAL and domain["tasks"][0]["headroom"] == pytest.approx(0.10)
    assert domain["unscored"]["TRECCOVID"] == "no results"


def test_the_command_refuses_what_cannot_be_meant(results: Path, tmp_path: Path):
    both = call("--results", results, "--by-domain", "--benchmark", LAW)
    assert both.exit_code == 2 and "by benchmarks or by domain" in both.stderr
    missing = call("--results", tmp_path / "nowhere", "--format", "json")
    assert missing.exit_code == 2 and "no folder" in json.loads(missing.stdout)["error"]["message"]
    chart = call("--results", results, "--benchmark", LAW, "--chart", tmp_path / "gain.svg")
    assert chart.exit_code == 2 and "--chart gain.png" in chart.stderr and not (tmp_path / "gain.svg").exists()
    unknown = call("--results", results, "--base", tmp_path)
    assert unknown.exit_code == 2 and "--size 33M" in unknown.stderr
