"""What a person sees of domains: where there is most to gain, on which tasks, and what could be learned from."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from hfembed.domains.chart import show_size
from hfembed.domains.headroom import WITHIN, Corpus, Domain, TaskHeadroom
from hfembed.domains.rank import Found
from hfembed.terminal import results, words

SHOWN_CORPORA = 12


def show_domains(found: Found) -> None:
    """Print the domains, the tasks of the first one, and its corpora."""
    table = Table("", "headroom", "tasks", "most to gain on", box=None, pad_edge=False, header_style="dim")
    for domain in found.domains:
        table.add_row(*_domain_cells(domain))
    for column in table.columns[:3]:
        column.no_wrap = True
    results.print(table)
    near = f"models of up to {show_size(WITHIN * found.size)} parameters"
    words.print(f"[dim]headroom: points that the best of the {near} is behind the best of all, weighted by task[/]")
    first = found.first
    if first is None:
        words.print(f"[yellow]Nothing could be ranked: no task has results of {near}.[/]")
        return
    results.print()
    results.print(_task_table(first))
    for reason in dict.fromkeys(first.unscored.values()):
        names = ", ".join(sorted(name for name, why in first.unscored.items() if why == reason))
        results.print(f"[dim]{escape(reason)}: {escape(names)}[/]")
    if first.corpora:
        results.print()
        results.print(_corpus_table(first))
        words.print("[dim]Learning from the documents of a task that is scored is to be said where the score is.[/]")


def _domain_cells(domain: Domain) -> list[str]:
    count = f"{len(domain.tasks)} of {len(domain.tasks) + len(domain.unscored)}"
    if domain.headroom is None:
        reasons = ", ".join(dict.fromkeys(domain.unscored.values()))
        return [escape(domain.name), "[dim]-[/]", count, f"[dim]{escape(reasons)}[/]"]
    most = ", ".join(f"{task.task} {100 * task.headroom:+.1f}" for task in domain.tasks[:3])
    return [f"[bold cyan]{escape(domain.name)}[/]", f"[bold]{100 * domain.headroom:.1f}[/]", count, escape(most)]


def _task_table(domain: Domain) -> Table:
    table = Table(
        escape(domain.name), "headroom", "our size", "", "best", "", "weight", box=None, pad_edge=False,
        header_style="dim",
    )  # fmt: skip
    for task in domain.tasks:
        table.add_row(*_task_cells(task))
    return table


def _task_cells(task: TaskHeadroom) -> list[str]:
    return [
        escape(task.task), f"[bold]{100 * task.headroom:.1f}[/]", f"{task.near:.4f}", f"[dim]{escape(task.near_model)}[/]",
        f"{task.best:.4f}", f"[dim]{escape(task.best_model)}[/]", f"{task.weight:.2f}",
    ]  # fmt: skip


def _corpus_table(domain: Domain) -> Table:
    table = Table("to learn from", "documents", "licence", "asked by", box=None, pad_edge=False, header_style="dim")
    for corpus in domain.corpora[:SHOWN_CORPORA]:
        table.add_row(*_corpus_cells(corpus))
    if len(domain.corpora) > SHOWN_CORPORA:
        table.add_row(f"[dim]and {len(domain.corpora) - SHOWN_CORPORA} more: --format json[/]")
    return table


def _corpus_cells(corpus: Corpus) -> list[str]:
    return [
        escape(corpus.dataset), f"{corpus.documents:,}" if corpus.documents else "[dim]-[/]",
        escape(corpus.licence) if corpus.licence else "[yellow]not said[/]", f"[dim]{escape(', '.join(corpus.tasks))}[/]",
    ]  # fmt: skip
