"""Queries by a language model behind a server: nothing is lost, paid twice or told to anyone."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import Listener, job_for, keep_documents, recipe_for, some_documents, write_beir
from huggingface_hub import constants
from llm_process import KEY, ONLY_KEYWORDS, LlmServer, as_rows, llm_server, make, only, write

from hfembed.errors import RecipeError, StageError
from hfembed.generate import generate
from hfembed.generate.llm.desk import Desk, Unit
from hfembed.generate.llm.interrupts import Interrupts
from hfembed.generate.llm.journal import Entry, Journal
from hfembed.generate.llm.messages import Reply, Request
from hfembed.generate.llm.prompts import Prompts, prompts_folder
from hfembed.generate.llm.refusals import judge_error
from hfembed.generate.llm.spend import Spend
from hfembed.generate.preview import preview
from hfembed.generate.query import Split
from hfembed.recipe import Llm, LlmTask, QueryKind, make_recipe
from hfembed.run import LAYOUT, Run
from hfembed.stage import Sources, stage_inputs


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client out: the server is on this machine."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlmServer]:
    with llm_server(tmp_path_factory.mktemp("llm")) as running:
        yield running


# From documents to files


def test_a_model_writes_all_kinds_and_multi_hop_rows_keep_all_their_documents(server: LlmServer, tmp_path: Path):
    every = dict.fromkeys((task.value for task in LlmTask), 1) | {"question": 3}
    outcome = make(tmp_path, server.settings(only(**every)), count=40)
    kinds = ("question", "multi_hop", "claim", "keyword", "title", "definition", "triple", "entity_map")
    assert all(outcome.counts[kind] > 0 for kind in kinds)
    assert outcome.dropped["judged_low"] > 0 and outcome.dropped["entity_not_in_source"] > 0
    run = Run(tmp_path)
    train = pq.read_table(run.path(LAYOUT.pairs)).to_pylist()
    several = Counter(row["query_id"] for row in train if row["kind"] == "multi_hop")
    assert several and set(several.values()) == {2}
    for row in train:
        assert row["writer"] == "scripted"
        assert len(row["negatives"]) == (5 if row["kind"] in ("definition", "triple") else 0)
        assert row["kind"] == "entity_map" or row["judge_score"] >= 7
    question = next(row for row in train if row["kind"] == "question")
    assert {"answer", "reasoning_type", "hops", "judge_clarity"} <= set(json.loads(question["details"]))
    with (run.path(LAYOUT.test) / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as handle:
        judged = Counter(row["query-id"] for row in csv.DictReader(handle, delimiter="\t"))
    assert {count for query, count in judged.items() if query.startswith("multi_hop")} == {2}


def test_the_same_answers_give_the_same_queries_however_many_are_asked_at_once(server: LlmServer, tmp_path: Path):
    made = [
        write(tmp_path / str(at), server.settings(f"generate.llm.concurrency={at}"))[0] for at in (1, 7)
    ]  # fmt: skip
    assert made[0] == made[1] and len(made[0]) > 40


def test_faults_of_the_server_lose_no_record(tmp_path: Path):
    faults = {
        "_429": 0.1,
        "_500": 0.05,
        "timeout": 0.03,
        "broken": 0.05,
        "malformed": 0.1,
        "garbage": 0.05,
        "truncated": 0.05,
    }
    patient = ("generate.llm.patience.timeout=1", "generate.llm.patience.answers=8", "generate.llm.concurrency=16")
    with llm_server(tmp_path / "server", **faults, timeout_seconds=2) as troubled:
        queries, report = write(tmp_path / "run", troubled.settings(*patient), count=20)
        met = {row["fault"] for row in troubled.requests()}
    assert {"429", "500", "broken", "malformed", "garbage"} <= met
    assert not any(reason.startswith("no_answer") for reason in report.dropped)
    assert report.facts["unfinished"] == 0 and report.facts["repaired_share"] > 0
    assert len({query.rows for query in queries if query.kind is QueryKind.QUESTION}) == 20
    assert report.facts["requests"] > report.facts["answers"] >= report.facts["records"]


def test_a_server_without_schemas_is_asked_without_after_one_refusal(tmp_path: Path):
    listener = Listener()
    with llm_server(tmp_path / "server", no_schema=1, no_max_tokens=1) as old:
        queries, _ = write(tmp_path / "run", old.settings(*ONLY_KEYWORDS), count=4, listener=listener)
        refused = [row["fault"] for row in old.requests() if row["fault"] != "none"]
    assert sorted(set(refused)) == ["no_max_tokens", "no_schema"] and len(refused) == 2 and len(queries) == 8
    assert sum("is left out" in message for message in listener.messages("note")) == 2


# Kill and resume


CHILD = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
sys.path.insert(0, sys.argv[1])
from builders import job_for, recipe_for
from hfembed.corpus import Documents
from hfembed.generate import generate
from hfembed.run import LAYOUT, Run
generate(job_for(Run(Path(sys.argv[2])), recipe_for("unused", *sys.argv[3:]), "generate"))
"""


def test_killed_in_the_middle_it_goes_on_and_nothing_is_paid_twice(tmp_path: Path):
    run = Run(tmp_path / "run")
    keep_documents(run, as_rows(24))
    with llm_server(tmp_path / "server", seconds=0.05) as slow:
        settings = slow.settings("generate.llm.concurrency=4")
        command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(run.folder), *settings]
        child = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "0"})
        deadline = time.monotonic() + 60
        while sum(slow.count("answered").values()) < 50 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        time.sleep(0.2)
        kept = len(run.path(LAYOUT.answers).read_bytes().splitlines())
        before = sum(slow.count("asked").values())
        with run.path(LAYOUT.answers).open("ab") as journal:
            journal.write(b'{"key": "torn')
        job = job_for(run, recipe_for("unused", *settings), "generate")
        generate(job)
        again = [record for record, times in slow.count("answered").items() if times > 1]
        asked = sum(slow.count("asked").values())
    total = len(run.path(LAYOUT.answers).read_bytes().splitlines())
    assert kept >= 45 and before - kept <= 4  # what was in flight
    assert len(again) <= before - kept
    assert asked == total + (before - kept)


def test_interrupted_it_waits_for_what_is_in_flight_and_writes_it_down(tmp_path: Path):
    run = Run(tmp_path / "run")
    keep_documents(run, as_rows(24))
    with llm_server(tmp_path / "server", seconds=0.4) as slow:
        settings = slow.settings("generate.llm.concurrency=6")
        command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(run.folder), *settings]
        child = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "0"}, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while slow.count("asked").total() < 12 and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) != 0
        answered = slow.count("answered").total()
    assert len(run.path(LAYOUT.answers).read_bytes().splitlines()) == answered == slow.count("asked").total() >= 12


class CameError(Exception):
    """What a signal raises here."""


@pytest.fixture
def interrupted() -> Iterator[Callable[[], None]]:
    """Give a way to send this process a signal that raises."""

    def come(number: int, frame: object) -> None:
        raise CameError

    before = signal.signal(signal.SIGTERM, come)
    yield lambda: os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


def test_an_interruption_comes_through_only_where_nothing_is_under_way(interrupted: Callable[[], None]):
    interrupts, done, handler = Interrupts(), [], signal.getsignal(signal.SIGTERM)
    with pytest.raises(CameError), interrupts.held():
        interrupted()
        done.append("booked")
        with interrupts.let_through():
            done.append("waited")
    with pytest.raises(CameError):
        with interrupts.held():
            interrupted()
            done.append("booked")
        done.append("went on")
    with pytest.raises(CameError), interrupts.held(), interrupts.let_through():
        interrupted()
        done.append("waited")
    assert done == ["booked", "booked"]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_second_time_costs_nothing(server: LlmServer, tmp_path: Path):
    first, said = write(tmp_path, server.settings())
    asked = len(server.requests())
    second, report = write(tmp_path, server.settings("generate.llm.concurrency=3"))
    assert second == first and len(server.requests()) == asked
    assert report.facts["requests"] == 0 and report.facts["records"] == said.facts["records"]
    assert report.facts["cost"] == said.facts["cost"] > 0


def test_a_journal_drops_a_torn_line_and_keeps_the_rest(tmp_path: Path):
    file = tmp_path / "answers" / "answers.jsonl"
    journal = Journal(file)
    for number in range(3):
        journal.append("key", "task", Entry(Reply(f"answer {number} \n\u2028 ü", 10, 5), 0.5))
    journal.close()
    whole = file.read_bytes()
    for cut in range(1, 40, 7):
        file.write_bytes(whole[:-cut])
        again = Journal(file)
        assert [entry.reply.text[:8] for entry in again.entries("key")] == [
            "answer 0",
            "answer 1",
        ] and again.cost == 1.0
        again.append("key", "task", Entry(Reply("new", 1, 1, cut=True), 0.25))
        again.close()
        third = Journal(file)
        assert [entry.reply.text for entry in third.entries("key")][2] == "new" and len(third) == 3
        third.close()


# Money


def test_the_cap_is_never_passed_and_what_was_made_is_used(server: LlmServer, tmp_path: Path):
    listener = Listener()
    whole, full = write(tmp_path / "free", server.settings(), count=24)
    cap = round(full.facts["cost"] * 0.6, 5)
    settings = server.settings(f"generate.llm.max_cost={cap}", "generate.llm.sampling.max_tokens=600")
    some, report = write(tmp_path / "run", settings, count=24, listener=listener)
    assert 0.5 * cap < report.facts["spent"] <= cap
    assert 0 < len(some) < len(whole) and report.facts["unfinished"] > 0
    assert any("max_cost stopped the work" in message for message in listener.messages("warning"))
    kept = len((tmp_path / "run" / LAYOUT.answers).read_bytes().splitlines())
    rest, done = write(tmp_path / "run", server.settings("generate.llm.sampling.max_tokens=600"), count=24)
    assert rest == whole and done.facts["cost"] == pytest.approx(full.facts["cost"], rel=0.01)
    assert done.facts["answers"] == done.facts["records"] - kept


def test_the_worst_case_of_what_is_in_flight_counts():
    settings = Llm(price_in=1, price_out=1, max_cost=0.01)
    spend = Spend(settings, spent=0.0)
    request = Request("task", ({"role": "user", "content": "x" * 1000},), {}, 4000, 1)
    first, second = spend.reserve(request), spend.reserve(request)
    assert first is not None and first > 0.004 and second is not None and spend.reserve(request) is None
    spend.settle(request, Reply("short", 250, 10), first)
    assert spend.spent == pytest.approx(260e-6) and spend.reserve(request) is not None
    expensive = Reply("x", 900, 1)  # a language with a token for every letter
    before = spend.worst(request)
    spend.settle(request, expensive, second)
    assert spend.worst(request) > before


def test_a_cap_without_prices_is_refused():
    with pytest.raises(RecipeError, match="what tokens cost is not known"):
        make_recipe(settings=["generate.llm.max_cost=1"])


def test_tokens_are_estimated_where_the_server_counts_none(tmp_path: Path):
    listener = Listener()
    with llm_server(tmp_path / "server", no_usage=1) as silent_server:
        _, report = write(tmp_path / "run", silent_server.settings(*ONLY_KEYWORDS), count=4, listener=listener)
    assert report.facts["tokens_estimated"] and report.facts["tokens_in"] > 1000 and report.facts["cost"] > 0
    assert any("estimates" in message for message in listener.messages("note"))


def test_progress_tells_tokens_and_cost(server: LlmServer, tmp_path: Path):
    listener = Listener()
    write(tmp_path, server.settings(*ONLY_KEYWORDS), listener=listener)
    detail = [event for event in listener if event.kind == "progress"][-1].data["detail"]
    assert re.fullmatch(r"[\d,]+ tokens sent, [\d,]+ received, cost 0\.\d+", detail)


# The key


def test_the_key_stands_in_no_file_of_the_run_and_in_no_error(
    server: LlmServer, hfembed: Callable[..., Any], tmp_path: Path
):
    write_beir(tmp_path / "beir", some_documents(40))
    settings = [part for setting in server.settings() for part in ("--set", setting)]
    arguments = ["run", "--corpus", tmp_path / "beir", "--run", tmp_path / "run", "--until", "generate", *settings]
    wrong = hfembed(*arguments, HF_HUB_OFFLINE="0", OPENAI_API_KEY=f"{KEY}-wrong")
    assert wrong.code == 2 and "refuses the key (status 401)" in wrong.err and "OPENAI_API_KEY" in wrong.err
    assert KEY not in wrong.err and "***" in wrong.err  # the server repeats it
    done = hfembed(*arguments, HF_HUB_OFFLINE="0")
    assert done.code == 0, done.err
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert len(files) > 5
    assert not [file for file in files if KEY.encode() in file.read_bytes()]
    assert KEY not in done.out + done.err


def test_a_key_in_place_of_the_name_of_its_variable_is_refused_and_not_repeated():
    for setting in (f"generate.llm.key_env={KEY}", f"generate.llm.endpoint=https://user:{KEY}@host/v1"):
        with pytest.raises(RecipeError) as caught:
            make_recipe(settings=[setting])
        assert KEY not in caught.value.message + caught.value.hint


def test_an_endpoint_is_never_sent_the_key_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with llm_server(tmp_path / "server", key="none") as open_server:  # answers 401 to any other
        queries, _ = write(tmp_path / "run", open_server.settings(*ONLY_KEYWORDS), count=2)
    assert len(queries) == 4


def test_a_named_variable_that_is_not_set_is_said_before_anything_is_asked(server: LlmServer, tmp_path: Path):
    with pytest.raises(StageError, match="MY_KEY, which should hold the key, is not set"):
        write(tmp_path, server.settings("generate.llm.key_env=MY_KEY"))


# What cannot work is said after the first call


def test_a_model_that_the_server_does_not_know_is_said_after_one_request(server: LlmServer, tmp_path: Path):
    asked = len(server.requests())
    with pytest.raises(StageError, match=r"knows no model 'unknown'.*does not exist"):
        write(tmp_path, server.settings("generate.llm.model=unknown"))
    assert len(server.requests()) == asked  # it refuses before it logs


def test_a_server_that_is_not_there_is_said_at_once(tmp_path: Path):
    settings = ["generate.method=llm", "generate.llm.model=m", "generate.llm.endpoint=http://127.0.0.1:9/v1"]
    started = time.monotonic()
    with pytest.raises(StageError, match=r"http://127\.0\.0\.1:9/v1 cannot be reached"):
        write(tmp_path, settings)
    assert time.monotonic() - started < 10


def test_a_server_that_never_answers_is_said_after_the_first_request(tmp_path: Path):
    settings = ("generate.llm.patience.tries=3", "generate.llm.patience.timeout=0.4")
    with llm_server(tmp_path / "server", seconds=5) as slow:
        with pytest.raises(StageError, match=r"gave no answer to the first request, .* timeout"):
            write(tmp_path / "run", slow.settings(*ONLY_KEYWORDS, *settings))
        assert len(slow.count("asked")) == 1 and slow.count("asked").total() == 3


def test_without_a_model_the_method_is_refused():
    with pytest.raises(RecipeError, match="no language model is named"):
        make_recipe(settings=["generate.method=llm"])


def test_too_many_failures_stop_the_work_with_their_reason(tmp_path: Path):
    with llm_server(tmp_path / "server", garbage=1.0) as useless:
        settings = useless.settings(*ONLY_KEYWORDS, "generate.llm.patience.answers=1")
        with pytest.raises(StageError, match=r"came to nothing, .* 'no_answer_no_json'"):
            write(tmp_path / "run", settings, count=40)
        assert 20 <= sum(useless.count("asked").values()) < 40
    kept = Journal(tmp_path / "run" / LAYOUT.answers)
    assert len(kept) >= 20
    kept.close()


class Answered:
    """What the client's error carries."""

    def __init__(self, status: int, text: str = "", **headers: str) -> None:
        self.status_code, self.text = status, text
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def refusal(status: int, text: str = "", *, reached: bool = True, **headers: str) -> Any:
    error = RuntimeError("refused")
    error.response = Answered(status, text, **headers)  # type: ignore[attr-defined]
    return judge_error(error, Llm(model="m", endpoint="http://host/v1"), reached=reached, secret="s3cret")


def test_patience_is_as_long_as_the_server_asks_for():
    asked = refusal(429, Retry_After="7").refusal
    assert asked.passing and asked.wait == 7 and asked.for_all
    assert refusal(503).refusal.passing and refusal(503).refusal.wait is None
    dated = refusal(503, Retry_After="Wed, 21 Oct 2065 07:28:00 GMT").refusal
    assert dated.wait is not None and dated.wait > 1e6
    assert not refusal(413).refusal.passing


def test_what_no_request_can_change_ends_it():
    for status, text in ((401, ""), (402, ""), (429, "insufficient_quota")):
        assert refusal(status, text).fatal is not None
    assert refusal(404).fatal is None and refusal(404, reached=False).fatal is not None
    assert refusal(403).fatal is None and refusal(403, reached=False).fatal is not None
    assert "s3cret" not in str(refusal(401, "the key s3cret is wrong").fatal)


def test_an_error_that_nobody_foresaw_is_raised():
    with pytest.raises(ZeroDivisionError):
        judge_error(ZeroDivisionError("bug"), Llm(model="m"), reached=True, secret=None)


# Prompts


def test_a_prompt_of_ones_own_replaces_the_shipped_one_and_changes_the_stage(server: LlmServer, tmp_path: Path):
    own = tmp_path / "prompts"
    own.mkdir()
    (own / "keyword.txt").write_text(
        "You are terse.\n---\n{% for d in documents %}=== Document {{ d.number }} ===\n{{ d.text }}\n\n{% endfor %}"
        'Write {{ count }} searches for pilots.\nAnswer with JSON only:\n{"queries": []}', encoding="utf-8",
    )  # fmt: skip
    settings = server.settings(*ONLY_KEYWORDS, f"generate.llm.prompts={own}")
    prompts = Prompts(str(own))
    values = {"documents": Desk(make_recipe().generate, keep_documents(Run(tmp_path / "d"), as_rows(1)), prompts, "").passages(
        Unit(0, (0,), Split.TRAIN, {})), "count": 2}  # fmt: skip
    messages = prompts.messages("keyword", values)
    assert (
        messages[0] == {"role": "system", "content": "You are terse."}
        and "2 searches for pilots" in messages[1]["content"]
    )
    assert prompts.texts()["claim"] == Prompts().texts()["claim"]
    queries, _ = write(tmp_path / "run", settings, count=2)
    assert len(queries) == 4

    def inputs() -> str:
        from hfembed.pipeline import STAGES

        recipe = recipe_for("unused", *settings)
        (stage,) = (stage for stage in STAGES if stage.name == "generate")
        return stage_inputs(
            stage, recipe, {"pull": type("Done", (), {"output": "x"})()}, Sources(recipe)  # type: ignore[dict-item]
        )  # fmt: skip

    before = inputs()
    (own / "keyword.txt").write_text((own / "keyword.txt").read_text().replace("terse", "wordy"))
    assert inputs() != before


# Preview


def test_a_preview_shows_queries_and_the_cost_of_all_and_is_not_paid_again(server: LlmServer, tmp_path: Path):
    run = Run(tmp_path / "run")
    keep_documents(run, as_rows(40))
    recipe = recipe_for("unused", *server.settings())
    shown = preview(recipe, run, 4)
    assert sum(len(one.ids) == 1 for one in shown.documents) == 4 and any(len(one.ids) == 2 for one in shown.documents)
    assert all(one.queries for one in shown.documents) and shown.cost and shown.whole_cost
    asked = sum(server.count("asked").values())
    assert preview(recipe, run, 4) == shown or sum(server.count("asked").values()) == asked
    journal = run.path(LAYOUT.answers).read_bytes()
    job = job_for(run, recipe, "generate")
    outcome = generate(job)
    assert run.path(LAYOUT.answers).read_bytes().startswith(journal)
    assert outcome.facts["answers"] == outcome.facts["records"] - len(journal.splitlines())
    assert shown.whole_cost == pytest.approx(outcome.facts["cost"], rel=0.15)


def test_a_preview_works_without_a_run_and_for_every_method(
    server: LlmServer, hfembed: Callable[..., Any], tmp_path: Path
):
    write_beir(tmp_path / "beir", some_documents(30))
    corpus = ["generate", "--preview", "--corpus", tmp_path / "beir", "--documents", "2"]
    plain = hfembed(*corpus)
    assert plain.code == 0 and "keyword" in plain.out and not list(tmp_path.glob("runs"))
    settings = [part for setting in server.settings() for part in ("--set", setting)]
    answer = hfembed(*corpus, *settings, "--format", "json", HF_HUB_OFFLINE="0").json()
    assert answer["whole_cost"] > answer["cost"] > 0 and len(answer["documents"]) == 3
    told = hfembed(*corpus, *settings, "--max-cost", "0.000001", HF_HUB_OFFLINE="0")
    assert told.code == 0 and "max_cost stopped the work" in told.err
    assert "one of them" in hfembed("generate", "--preview").err
    assert Path(hfembed("generate", "--prompts").out.strip()) == prompts_folder()
