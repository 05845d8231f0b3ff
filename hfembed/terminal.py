"""What a person sees: words and progress on stderr, results on stdout."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Task as ProgressTask
from rich.table import Table
from rich.text import Text

from hfembed.compare import Hit, Ranking
from hfembed.errors import HfembedError
from hfembed.events import Event, Listener
from hfembed.measure import Measured
from hfembed.terminal_facts import show_facts

if TYPE_CHECKING:
    from hfembed.deploy import Deployed

SNIPPET, COMMENT_WIDTH = 96, 100
# Without a terminal (a log file, a job) a line of progress appears this often.
LOG_INTERVAL = 10.0
VERDICT_STYLES = {"better": "bold green", "no difference": "bold yellow", "worse": "bold red"}

words = Console(stderr=True, highlight=False, soft_wrap=True)
results = Console(highlight=False, soft_wrap=True)


class CountColumn(ProgressColumn):
    """How many of how many, how fast, and how long still; or how long already where nothing is counted."""

    def render(self, task: ProgressTask) -> Text:
        """Show what is known so far."""
        if task.total is None and not task.completed:
            return Text(show_seconds(task.elapsed or 0.0), "dim")
        parts = [f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total is not None else "")]
        if task.speed:
            parts.append(show_rate(task.speed, task.fields["unit"]))
        if task.time_remaining is not None and not task.finished:
            parts.append(f"{show_seconds(task.time_remaining)} left")
        parts += [task.fields["detail"]] if task.fields.get("detail") else []
        return Text(", ".join(parts), "dim")


class Screen:
    """Renders events as they come: a line for each stage, and a bar under the one at work."""

    def __init__(self, progress: Progress) -> None:
        """Draw through `progress`."""
        self._bars = progress
        self._bar: TaskID | None = None
        self._message = ""
        self._logged = 0.0

    def show(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "progress":
            self._show_progress(event)
            return
        self._remove_bar()
        if event.kind != "failed":  # the error itself is printed once, at the end
            self._bars.console.print(describe_event(event))
        if event.kind in ("start", "note"):  # until the next event something moves, so nobody wonders
            self._bar = self._bars.add_task(f"  [dim]{event.stage} is working[/]", total=None, unit="")
            self._message = ""

    def _show_progress(self, event: Event) -> None:
        if not self._bars.console.is_terminal:
            self._log_progress(event)
            return
        if self._bar is None or event.message != self._message or event.done == 0:
            self._remove_bar()
            self._message = event.message
            self._bar = self._bars.add_task(f"  {escape(event.message)}", total=event.total, unit=event.unit)
        self._bars.update(self._bar, completed=event.done, total=event.total, detail=event.data.get("detail", ""))

    def _log_progress(self, event: Event) -> None:
        if not event.done or time.monotonic() - self._logged < LOG_INTERVAL:
            return
        self._logged = time.monotonic()
        rate = event.done / max(event.seconds, 1e-3)
        left = f", {show_seconds((event.total - event.done) / rate)} left" if event.total else ""
        of = f" of {event.total:,}" if event.total else ""
        detail = f", {escape(event.data['detail'])}" if event.data.get("detail") else ""
        shown = f"{event.done:,}{of}, {show_rate(rate, event.unit)}{left}{detail}"
        self._bars.console.print(f"  {escape(event.message)}: {shown}")

    def _remove_bar(self) -> None:
        if self._bar is not None:
            self._bars.remove_task(self._bar)
            self._bar = None


@contextmanager
def screen() -> Iterator[Listener]:
    """Give a listener that draws events on stderr."""
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        CountColumn(),
    ]
    with Progress(*columns, console=words, transient=True) as progress:
        yield Screen(progress).show


def show_error(error: HfembedError) -> None:
    """Print what failed and the next step."""
    words.print(f"[bold red]Error:[/] {escape(error.message)}")
    if error.hint:
        words.print(f"[dim]{escape(error.hint)}[/]")


def print_json(value: Any) -> None:
    """Print one JSON object on stdout, and nothing else."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def show_run(summary: dict[str, Any]) -> None:
    """Print stages, scores, verdict and where the model is."""
    if summary["working"]:
        results.print(f"[bold]working on[/] {escape(summary['working'])}")
    if summary["stages"]:
        results.print()
        results.print(_stage_table(summary["stages"]))
        if not summary["stages"][-1]["skipped"]:
            show_facts(results, summary["stages"][-1]["facts"])
    if summary["report"]:
        results.print()
        results.print(_report_table(summary["report"]))
        results.print(f"[{VERDICT_STYLES[summary['verdict']]}]{escape(summary['report']['sentence'])}[/]")
        _show_public(summary["report"]["public"])
    for row in summary["onnx"]["files"] if summary["onnx"] else []:
        results.print(
            f"[dim]{row['file']}: nDCG@10 {row['ndcg_delta']:+.4f} against torch, "
            f"{row['docs_per_second']:.0f} documents/s (torch {row['torch_docs_per_second']:.0f})[/]"
        )
    show_published(summary["published"])
    if summary["model"]:
        results.print(f'\nYour model: [bold]SentenceTransformer("{escape(summary["model"])}")[/]')


def _show_public(public: dict[str, Any]) -> None:
    """Print what became of public tasks."""
    for row in public.get("scores", []):
        bm25 = f", BM25 {row['bm25']:.4f}" if row["bm25"] is not None else ""
        results.print(
            f"{escape(row['task'])} {row['metric']}: base {row['base']:.4f}, tuned [bold]{row['tuned']:.4f}[/] "
            f"({row['delta']:+.4f}){bm25}"
        )
    for row in public.get("unscored", []):
        results.print(f"[yellow]{escape(row['task'])}[/] could not be scored: {escape(row['reason'])}")


def show_measured(found: Measured) -> None:
    """Print what a model is worth on labelled queries."""
    names = [name for name in ("base", "model", "bm25", "fusion") if name in found.metrics["ndcg@10"]]
    labels = {"bm25": "BM25", "fusion": "model + BM25"}
    table = Table("", *(labels.get(name, name) for name in names), box=None, pad_edge=False, header_style="dim")
    for metric, row in found.metrics.items():
        table.add_row(metric, *(f"{row[name]:.4f}" for name in names))
    results.print(table)
    if found.difference:
        results.print(f"[{VERDICT_STYLES[found.difference['verdict']]}]{escape(found.difference['sentence'])}[/]")
    results.print(f"[dim]{found.queries:,} queries over {found.documents:,} documents[/]")


def show_published(published: Sequence[dict[str, Any]]) -> None:
    """Print the links of what was pushed."""
    for entry in published:
        what = f"Pull request {entry['pull_request']}" if entry["pull_request"] else "Published"
        results.print(f"{what}: [link={entry['url']}]{entry['url']}[/]")


def show_deployed(done: Deployed) -> None:
    """Print where a Space is, and where its app answers."""
    if done.pull_request is not None:
        results.print(f"Pull request {done.pull_request}: [link={done.url}]{done.url}[/]")
        return
    results.print(f"[link={done.url}]{done.url}[/]  [dim]{done.stage}, {done.hardware}, {done.revision[:12]}[/]")
    if done.address:
        results.print(f"Its app: [link={done.address}]{done.address}[/]")


def show_demo(links: dict[str, str], search: dict[str, Any]) -> None:
    """Print what questions by people found before and after, and where the repos are."""
    results.print(
        f"\nOf {search['questions']} questions written by people the answer rose for {search['rose']} "
        f"and fell for {search['fell']}. The {len(search['examples'])} that rose most:"
    )
    for example in search["examples"]:
        results.print(f"\n[bold]{escape(example['question'])}[/]")
        for when in ("before", "after"):
            found = example[when]
            results.print(f"  {when:6}  answer on rank {found['rank']}, first: {escape(found['first'])}")
        results.print(f"  [dim]the answer: {escape(example['answer'])}[/]")
    results.print()
    for name, link in links.items():
        results.print(f"{name:9} [link={link}]{link}[/]")


def show_preview(preview: dict[str, Any]) -> None:
    """Print documents with the queries that were written for them, and what all of them would cost."""
    for shown in preview["documents"]:
        results.print(f"\n[bold]{escape(', '.join(shown['ids']))}[/]  [dim]{escape(shown['text'])}[/]")
        for query in shown["queries"]:
            score = f" [dim]{query['score']:.1f}[/]" if "score" in query else ""
            results.print(f"  [cyan]{query['kind']}[/]{score}  {escape(query['query'])}")
            for negative in query.get("negatives", []):
                results.print(f"    [dim]not: {escape(negative)}[/]")
        if not shown["queries"]:
            results.print("  [dim]nothing that was kept[/]")
    if preview["dropped"]:
        results.print(f"\ndropped: {escape(_counts(preview['dropped']))}")
    if preview["cost"] is not None:
        results.print(
            f"\nThis took {preview['tokens']:,} tokens and cost {preview['cost']:.4f}; "
            f"the whole corpus would cost about {preview['whole_cost']:.2f}."
        )
    elif preview["tokens"]:
        results.print(
            f"\nThis took {preview['tokens']:,} tokens. "
            "With generate.llm.price_in and price_out set, the cost of the whole corpus is told."
        )


def show_rankings(query: str, rankings: Sequence[Ranking]) -> None:
    """Print what each model answers, with how far each passage moved."""
    results.print(f"[bold]{escape(query)}[/]")
    for ranking in rankings:
        table = Table(
            "", "score", "moved", "passage", title=f"{ranking.model}  [dim]{ranking.milliseconds:.0f} ms[/]",
            title_justify="left", box=None, pad_edge=False,
        )  # fmt: skip
        for hit in ranking.hits:
            table.add_row(str(hit.rank), f"{hit.score:.3f}", _moved(hit, first=ranking is rankings[0]), _passage(hit))
        results.print()
        results.print(table)


def show_seconds(value: float) -> str:
    """Return a duration as people say it."""
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def as_comment(paragraphs: Iterable[str]) -> str:
    """Return paragraphs as a comment of YAML, so that what is printed still is a recipe."""
    return "".join(
        f"{line}\n"
        for text in paragraphs
        for line in textwrap.wrap(text, COMMENT_WIDTH, initial_indent="# ", subsequent_indent="#   ")
    )


def show_rate(rate: float, unit: str) -> str:
    """Return a rate with its unit."""
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"


def describe_event(event: Event) -> str:
    """Return what is said of an event that is no progress."""
    message = escape(event.message)
    if event.kind == "start":
        return f"[bold cyan]{event.stage}[/]"
    if event.kind == "skipped":
        return f"[bold cyan]{event.stage}[/]  [dim]already done, nothing to do[/]"
    if event.kind == "warning":
        return f"  [yellow]Warning:[/] {message}"
    if event.kind == "done":
        return f"  [green]done[/] in {show_seconds(event.seconds)}  [dim]{escape(_counts(event.data['counts']))}[/]"
    return f"  {message}"


# What a model with heads finds beside its one vector, as the report names it.
HEADS = {"sparse": "sparse", "multi_vector": "multi-vector", "fused": "all heads"}


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in counts.items() if value)


def _stage_table(stages: Sequence[dict[str, Any]]) -> Table:
    table = Table("stage", "time", "memory", "made", "dropped", box=None, pad_edge=False, header_style="dim")
    for stage in stages:
        table.add_row(
            f"[cyan]{stage['name']}[/]",
            "[dim]kept[/]" if stage["skipped"] else show_seconds(stage["seconds"]),
            f"{stage['peak_mb']:,.0f} MB",
            _counts(stage["counts"]),
            f"[dim]{_counts(stage['dropped'])}[/]",
        )
    return table


def _report_table(report: dict[str, Any]) -> Table:
    heads = [name for name in HEADS if name in next(iter(report.values()), {})]
    titles = [HEADS[name] for name in heads]
    table = Table("", "base", "tuned", *titles, "BM25", "difference", box=None, pad_edge=False, header_style="dim")
    for metric, row in report.items():
        if not metric.partition("@")[2]:
            continue
        table.add_row(
            metric,
            f"{row['base']:.4f}",
            f"[bold]{row['tuned']:.4f}[/]",
            *(f"{row[name]:.4f}" for name in heads),
            f"[dim]{row['bm25']:.4f}[/]",
            f"{row['delta']:+.4f} [dim]({row['ci'][0]:+.4f} to {row['ci'][1]:+.4f})[/]",
        )
    return table


def _moved(hit: Hit, *, first: bool) -> str:
    if first:
        return ""
    if hit.moved is None:
        return "[green]new[/]"
    return f"[green]↑{hit.moved}[/]" if hit.moved > 0 else f"[red]↓{-hit.moved}[/]" if hit.moved else "[dim]=[/]"


def _passage(hit: Hit) -> str:
    title = f"[bold]{escape(hit.title)}[/]  " if hit.title else ""
    text = " ".join(hit.text.split())
    return title + escape(text if len(text) <= SNIPPET else text[: SNIPPET - 1] + "…")
