"""The commands that search a corpus: index and search."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hfembed.cli_base import Format, FormatOption, command_errors
from hfembed.cli_engine import AddressOption, EngineOption, working_with
from hfembed.engine import EngineName

# The members of `hfembed.index.Mode`, which takes too long to import for a --help.
SearchMode = StrEnum(
    "SearchMode",
    {
        "DENSE": "dense",
        "BM25": "bm25",
        "HYBRID": "hybrid",
        "SPARSE": "sparse",
        "MULTI_VECTOR": "multi_vector",
        "FUSED": "fused",
    },
)

ModelOption = Annotated[
    str | None, typer.Option(metavar="MODEL", help="A folder, a run or a Hub id; of a finished run its own is known.")
]


def index(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="Anything that pull reads, or a finished run.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder of the index; repeat it to bring it up to date.")
    ],
    model: ModelOption = None,
    exact_below: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Compare with all documents below so many; 50,000 if not given."),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            metavar="PART,PART",
            help="Of a model with heads: dense, sparse, multi_vector; all if not given. The last takes most of the disk.",
        ),
    ] = None,
    repo: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Publish the index there, as a dataset that can be searched.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everyone read that repo.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Build it anew, also under another model.")] = False,
    engine: EngineOption = EngineName.LOCAL,
    ray_address: AddressOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Index a corpus for search by meaning and by words; repeated, only what changed is embedded."""
    with command_errors(output):
        from hfembed import terminal, terminal_index
        from hfembed.events import Events, Reporter
        from hfembed.index import Settings, build_index
        from hfembed.index.build import EXACT_BELOW
        from hfembed.index.heads import read_parts
        from hfembed.index.publish import publish_index
        from hfembed.index.sources import model_of

        settings = Settings(exact_below or EXACT_BELOW, force, read_parts(parts) if parts is not None else None)
        with terminal.screen() as listener, working_with(engine, ray_address):
            report = Reporter("index", Events(listeners=[listener]))
            built = build_index(corpus, model or model_of(corpus), out, settings, report)
            published = [asdict(publish_index(out, repo, report, public=public))] if repo else []
        if output is Format.JSON:
            terminal.print_json({**built.to_json(), "published": published})
            return
        terminal_index.show_built(built, out)
        terminal.show_published(published)


def search(
    index: Annotated[str, typer.Argument(metavar="INDEX", help="The folder of an index, or org/name on the Hub.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    top: Annotated[int, typer.Option("--top", "-k", min=1, metavar="N", help="How many documents to show.")] = 10,
    mode: Annotated[
        SearchMode | None,
        typer.Option(
            help="What is compared; the last three only of a model with heads. What the index found best if not given.",
            show_default=False,
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="CONDITION", help='As "title ~ pump" or "group in (a, b)"; can be repeated.'),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say of each why it was found.")] = False,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Where the model of the index is, if it is not where it was.")
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Search an index with one query."""
    with command_errors(output):
        from hfembed import terminal, terminal_index
        from hfembed.index import Index, Mode

        opened = Index.open(index, model)
        compared = opened.chosen(Mode(mode) if mode else None)
        hits = opened.search(query, top, compared, filters or (), explain=explain)
        if output is Format.JSON:
            terminal.print_json({"query": query, "mode": compared, "hits": [hit.to_json() for hit in hits]})
        else:
            terminal_index.show_hits(hits, query)
