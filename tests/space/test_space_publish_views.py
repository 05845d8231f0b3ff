"""What the Publish and Learn pages show is what the run says, and never markup from outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from told import tell_run

from hfembed.glossary import read_glossary
from hfembed.hub.repos import Change, FileChange, RepoState
from hfembed.push import RepoPreview, run_facts
from hfembed.push.names import propose_repos
from hfembed.recipe import load_presets
from hfembed.run import LAYOUT, Run, write_json
from hfembed.summary import summarize
from space.learn_page import learn_html
from space.markdown import markdown_html
from space.view_publish import card_html, files_html, published_html, size_words, what_happens
from space.view_report import bar, difference_plot, report_html

pytestmark = pytest.mark.xdist_group("cards")

VOID = {"img", "br", "hr", "input"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """The run whose every word is known."""
    run = tell_run(tmp_path_factory.mktemp("told") / "run", tiny_model)
    run.path(LAYOUT.onnx).mkdir()
    write_json(run.path(LAYOUT.onnx_report), {"files": []})
    return run


class Checker(HTMLParser):
    """Fails where tags do not close, and remembers what was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(html: str) -> list[tuple[str, dict[str, str | None]]]:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker.seen


def test_the_report_draws_every_score_with_the_interval_of_the_tuned_one(told: Run) -> None:
    figures = [told.path(LAYOUT.figures) / "changes.png"]
    html = report_html(summarize(told), "<ul><li>few queries</li></ul>", figures)
    drawn = [attributes["aria-label"] for tag, attributes in checked(html) if tag == "svg"]
    assert len([label for label in drawn if label and label.startswith("tuned 0.7127, 0.6413 to 0.7830")]) == 4
    assert "BM25 1.0000" in drawn and "tuned + BM25 0.9000" in drawn
    assert len([label for label in drawn if label and label.startswith("tuned minus base: +0.0817 (+0.0103")]) == 2
    assert "A difference below 0.1000 would have gone unseen on this test." in html
    assert "few queries" in html and 'src="data:image/png;base64,' in html and 'class="hf-up"' in html


def test_bars_stay_in_their_place_whatever_the_value() -> None:
    inside = [float(found) for found in re.findall(r'"(-?[\d.]+)%"', bar(1.2, (-0.3, 1.4), "x") + bar(0, None, "y"))]
    inside += [float(found) for found in re.findall(r'"(-?[\d.]+)%"', difference_plot(0.5, (-9, 9), 0.1, "z"))]
    assert inside and all(0 <= value <= 100 for value in inside)


def test_a_card_shows_its_own_pictures_and_links_to_the_web_alone() -> None:
    words = (
        "# A <script>alert(1)</script>\n\n<!-- unseen -->\n\n![mine](figures/a.png) ![theirs](https://evil.example/pixel.png)\n\n"
        "[in the repo](recipe.yaml) [code](javascript:alert(1)) [web](https://a.example/)\n\n| a |\n|---|\n| <b>x</b> |\n"
    )
    html = markdown_html(words, {"figures/a.png": b"png"})
    seen = checked(html)
    assert "unseen" not in html
    tags = [tag for tag, _ in seen]
    assert "script" not in tags and "b" not in tags and "table" in tags
    assert [attributes["src"] for tag, attributes in seen if tag == "img"] == ["data:image/png;base64,cG5n"]
    assert [attributes["href"] for tag, attributes in seen if tag == "a"] == ["https://a.example/"]


def preview(card: str, state: RepoState, **more: Any) -> RepoPreview:
    return RepoPreview("me/a<b>", "model", more.get("public", False), False, card, {}, state)


def test_a_preview_escapes_metadata_and_names_what_becomes_of_each_file() -> None:
    changes = tuple(FileChange(f"{kind}<i>.json", 2_500_000, kind) for kind in Change)
    shown = preview('---\ntags: ["<u>"]\nlicense: mit\n---\n# T', RepoState(True, True, changes), public=True)
    html = card_html(shown, "model") + files_html([shown], asked=True)
    tags = [tag for tag, _ in checked(html)]
    assert not {"i", "b", "u"} & set(tags)
    assert "Will be updated: 3 files change; 7.5 MB in all." in html
    assert "model, private" in html  # it is there already, and stays as it is
    assert [html.count(f"hf-pub-change-{kind}") for kind in Change] == [1, 1, 1, 1]
    assert "is not published" in card_html(None, "dataset")


def test_what_becomes_of_a_repo_is_said_in_a_sentence() -> None:
    one, same = FileChange("a", 1, Change.NEW), FileChange("b", 1, Change.SAME)
    assert what_happens(RepoState(False, None, (one,)), False) == "will be created, with 1 file"
    assert what_happens(RepoState(True, True, (one, same)), False) == "will be updated: 1 file changes"
    assert what_happens(RepoState(True, True, (one, same)), True) == "gets a pull request that changes 1 file"
    assert "nothing changes" in what_happens(RepoState(True, True, (same,)), False)
    assert [size_words(size) for size in (12, 3_400, 90_000_000, 2_500_000_000)] == [
        "12 B",
        "3 kB",
        "90.0 MB",
        "2.5 GB",
    ]


def test_what_was_published_is_linked_with_the_lines_that_load_it() -> None:
    entry = {"repo": "me/model", "kind": "model", "url": "http://hub/me/model", "pull_request": None}
    html = published_html([entry, {**entry, "kind": "dataset", "repo": "me/data"}])
    assert [found["href"] for tag, found in checked(html) if tag == "a"] == [entry["url"]] * 2
    assert "SentenceTransformer(&quot;me/model&quot;)" in html
    assert "refs/pr/3" in published_html([{**entry, "pull_request": 3}])


def test_a_run_that_publishes_otherwise_reads_its_documents_only_once(told: Run) -> None:
    facts = run_facts(told)
    texts = facts.texts
    other = facts.under(facts.recipe.model_copy(update={"seed": 7}))
    assert other.texts is texts and other.recipe.seed == 7 and facts.recipe.seed != 7


def test_learn_explains_every_preset_and_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    html = learn_html(is_local=False)
    checked(html)
    for name, preset in load_presets().items():
        assert name in html and preset.description.split(",")[0] in html
    for word in read_glossary():
        assert f"<dt>{word}</dt>" in html
    assert "util.semantic_search" in html and "transformers.js" in html and "only your browser" in html
    assert "only your browser" not in learn_html(is_local=True)


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("sample", "sample"),
        ("BeIR/scifact:corpus@main", "scifact-corpus"),
        ("hf://datasets/org/notes/data/*.parquet", "notes"),
        ("/data/visitors/abc/uploads", "my-documents"),
        ("/data/My Notes (2).jsonl", "my-notes-2"),
        (None, "my-documents"),
    ],
)
def test_repos_are_called_after_the_corpus_and_the_base(corpus: str | None, name: str) -> None:
    base = "sentence-transformers/all-MiniLM-L6-v2@main"
    assert propose_repos("me", corpus, base) == (f"me/{name}-all-minilm-l6-v2", f"me/{name}-triplets")
