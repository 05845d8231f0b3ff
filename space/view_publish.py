"""What would be published, and what was: cards, files, links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hfembed.hub.repos import Change, FileChange, RepoState
from hfembed.push import RepoPreview

from .html import empty_box, error_box, tag, text
from .markdown import markdown_html

NO_RUN = (
    "Nothing to publish yet",
    "Finish a run on the Build page. Its report stands here then, and one button makes model and data repos of yours.",
)
NO_REPO = {
    "model": ("The model is not published", "Name a repo for it, and its card stands here as it will be written."),
    "dataset": ("The data is not published", "Name a repo for it, and its card stands here as it will be written."),
}
# Of a list in a card's front matter.
SHOWN_VALUES = 8
SHOWN_LETTERS = 200
USE = """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{repo}"{more})
print(model.encode_query("your question").shape)"""


def card_html(preview: RepoPreview | None, kind: str) -> str:
    """Return a card as it will be written: its metadata as a table, then its text."""
    if preview is None:
        return empty_box(*NO_REPO[kind])
    body = tag("div", markdown_html(preview.text, preview.pictures), class_="hf-pub-text")
    return tag("article", _metadata(preview.metadata), body, class_="hf-pub-card", aria_label=f"Card of the {kind}")


def files_html(repos: Sequence[RepoPreview], *, asked: bool) -> str:
    """Return what will be written into each repo; asked: the repos were looked at on the Hub."""
    if not repos:
        return empty_box("No repo is named", "Name one for the model, for the data, or for both.")
    return "".join(_repo(entry, asked) for entry in repos)


def warnings_html(sentences: Sequence[str]) -> str:
    """Return what the owner of the repos should know before."""
    rows = [tag("li", tag("strong", "Note: "), text(sentence)) for sentence in sentences]
    return tag("ul", *rows, class_="hf-pub-notes", aria_label="Before you publish") if rows else ""


def what_happens(state: RepoState, pull_request: bool) -> str:
    """Return in a sentence what becomes of a repo."""
    changed = state.count(Change.NEW, Change.CHANGED, Change.REMOVED)
    if not state.exists:
        return f"will be created, with {_files(len(state.changes))}" + (" as a pull request" if pull_request else "")
    if not changed:
        return "holds all of this already; nothing changes"
    if pull_request:
        return f"gets a pull request that changes {_files(changed)}"
    return f"will be updated: {_files(changed)} change{'s' if changed == 1 else ''}"


def published_html(published: Sequence[Mapping[str, Any]]) -> str:
    """Return links to what was published, and the lines that load it."""
    rows = []
    for entry in published:
        what = "pull request to the " if entry["pull_request"] else ""
        link = tag("a", text(entry["repo"]), href=entry["url"], target="_blank", rel="noopener")
        rows.append(tag("li", tag("span", text(f"{what}{entry['kind']}".capitalize()), class_="hf-tagname"), link))
    models = [entry for entry in published if entry["kind"] == "model"]
    lines = "".join(_load(entry) for entry in models)
    head = tag("h3", "Published", class_="hf-title")
    return tag(
        "section", head, tag("ul", *rows, class_="hf-pub-links"), lines, class_="hf-run hf-published", role="status"
    )


def failed_html(message: str, hint: str) -> str:
    """Return why nothing, or not all, was published."""
    return tag("div", error_box(message, hint), class_="hf-failed-push")


def size_words(size: int) -> str:
    """Return a size as people read it."""
    for limit, unit, digits in ((1e9, "GB", 1), (1e6, "MB", 1), (1e3, "kB", 0)):
        if size >= limit:
            return f"{size / limit:,.{digits}f} {unit}"
    return f"{size} B"


def _load(entry: Mapping[str, Any]) -> str:
    more = f', revision="refs/pr/{entry["pull_request"]}"' if entry["pull_request"] else ""
    words = tag("p", "Anywhere, with sentence-transformers (a private model after ", tag("code", "hf auth login"), "):")
    code = tag("pre", tag("code", text(USE.format(repo=entry["repo"], more=more))))
    return tag("div", words, code, class_="hf-use")


def _metadata(metadata: Mapping[str, Any]) -> str:
    rows = [
        tag("tr", tag("th", text(key), scope="row"), tag("td", text(_value(value)))) for key, value in metadata.items()
    ]
    table = tag("table", tag("tbody", *rows), class_="hf-pub-metadata")
    return tag("details", tag("summary", f"Metadata: {len(rows)} entries"), table, class_="hf-details") if rows else ""


def _value(value: Any) -> str:
    if isinstance(value, list):
        more = f" and {len(value) - SHOWN_VALUES} more" if len(value) > SHOWN_VALUES else ""
        return _shorten(", ".join(_value(entry) for entry in value[:SHOWN_VALUES])) + more
    if isinstance(value, Mapping):
        return _shorten(", ".join(f"{key}: {_value(entry)}" for key, entry in value.items()))
    return _shorten(str(value))


def _shorten(words: str) -> str:
    return words if len(words) <= SHOWN_LETTERS else words[: SHOWN_LETTERS - 1] + "…"


def _repo(entry: RepoPreview, asked: bool) -> str:
    visibility = "public" if entry.public else "private"
    if entry.state.exists:  # an existing repo keeps the one it has
        visibility = "private" if entry.state.private else "public"
    happens = what_happens(entry.state, entry.pull_request) if asked else f"{_files(len(entry.state.changes))}"
    total = sum(change.size for change in entry.state.changes if change.change is not Change.REMOVED)
    head = tag("h4", text(entry.repo), tag("span", text(f"{entry.kind}, {visibility}"), class_="hf-tagname"))
    words = tag("p", text(f"{happens[:1].upper()}{happens[1:]}; {size_words(total)} in all."), class_="hf-meta")
    rows = [_file(change) for change in sorted(entry.state.changes, key=lambda change: change.path.lower())]
    heads = tag("tr", *(tag("th", head, scope="col") for head in ("file", "size", "")))
    table = tag("table", tag("thead", heads), tag("tbody", *rows), class_="hf-scores hf-pub-files")
    return tag(
        "section", head, words, tag("div", table, class_="hf-scroll"), class_="hf-pub-repo", aria_label=entry.repo
    )


def _file(change: FileChange) -> str:
    mark = tag("span", change.change, class_=f"hf-pub-change hf-pub-change-{change.change}")
    size = tag("td", size_words(change.size), class_="hf-number")
    return tag("tr", tag("th", tag("code", text(change.path)), scope="row"), size, tag("td", mark))


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
