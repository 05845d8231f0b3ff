"""What a person sees of an index: what a build did, and what a search found and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from hfembed.heads import FUSED
from hfembed.index import Hit, Mode
from hfembed.index.build import Built
from hfembed.index.finish import TABLE
from hfembed.index.manifest import Fusion
from hfembed.index.search import Part, passage
from hfembed.terminal import results, words

PASSAGE_CHARS = 240


def show_built(built: Built, folder: Path) -> None:
    """Print what a build did and how good the search is."""
    manifest = built.manifest
    counts = [
        (built.new, "new"),
        (built.changed, "changed"),
        (built.removed, "removed"),
        (built.unchanged, "as before"),
    ]
    said = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    results.print(f"[bold]{manifest.documents:,} documents[/]: {said}; {built.encoded:,} encoded")
    how = manifest.approximate
    if how is None:
        results.print(f"search compares with all of them (approximate from {manifest.exact_below:,} on)")
    else:
        results.print(
            f"search looks into {how.probes:,} of {how.partitions:,} parts and finds [bold]{how.recall:.1%}[/] of the "
            f"ten nearest (measured on {how.queries:,} queries)"
        )
    results.print(_fusion(built))
    if manifest.sizes:
        results.print(_sizes(manifest.sizes))
    words.print(f'[dim]hfembed search {escape(str(folder))} "your words"[/]')


def show_hits(hits: Sequence[Hit], query: str) -> None:
    """Print what was found, with the reasons where they were asked for."""
    if not hits:
        words.print("[yellow]Nothing was found.[/]")
    for hit in hits:
        title = f"[bold]{escape(hit.title)}[/] " if hit.title else ""
        results.print(f"{hit.rank:>2}  {title}[dim]{escape(hit.id)}  {hit.score:.4f}[/]")
        results.print(f"    {escape(passage(hit, query, PASSAGE_CHARS))}")
        if hit.parts:
            parts = "; ".join(_part(name, part) for name, part in hit.parts.items())
            shared = f"shared words: {', '.join(hit.words)}" if hit.words else "no shared word"
            results.print(f"    [cyan]{escape(parts)}; {escape(shared)}[/]")


def _fusion(built: Built) -> str:
    fusion, by_heads = built.manifest.fusion, bool(built.manifest.heads)
    meant = "heads" if fusion.joined == FUSED else "vectors"
    shares = f"{meant} count {fusion.share:.0%}, words {1 - fusion.share:.0%}"
    if not fusion.queries:
        alone = "; search is by heads alone unless --mode says hybrid" if by_heads else ""
        return f"{shares}: the default, for want of queries of dev{alone}"
    heads = f", heads alone {fusion.ndcg_fused:.4f}" if fusion.ndcg_fused is not None else ""
    return (
        f"{shares}: chosen on {fusion.queries:,} queries {_asked_by(fusion)}, nDCG@10 {fusion.ndcg_hybrid:.4f} (vectors alone "
        f"{fusion.ndcg_dense:.4f}{heads}, words alone {fusion.ndcg_bm25:.4f}); "
        f"gain on queries that did not choose [bold]{fusion.gain:+.4f}[/]"
    )


def _asked_by(fusion: Fusion) -> str:
    return "that people asked" if fusion.by_people else "made from documents, which give words half at most"


def _sizes(sizes: Mapping[str, int]) -> str:
    listed = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in sizes.items() if name != TABLE)
    return f"on disk {sum(sizes.values()) / 1e6:,.1f} MB: {listed}, texts and words {sizes[TABLE] / 1e6:,.1f} MB"


def _part(name: str, part: Part) -> str:
    digits = 2 if name == Mode.BM25 else 4
    score = "" if part.score is None else f" {part.score:.{digits}f}"
    rank = f"rank {part.rank}" if part.rank is not None else "not among the first"
    return f"{name}{score}, {rank}" if score else f"{name}: {rank}"
