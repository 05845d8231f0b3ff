"""Preview: what push would write into each repo and what would change there; nothing is sent."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfembed.hub import Upload
from hfembed.hub.repos import Change, RepoState, compare_upload, compare_with_nothing, refuse_others_repo
from hfembed.push.facts import Facts
from hfembed.push.origins import FRONT_MATTER, read_front_matter
from hfembed.push.uploads import make_uploads, warnings_about

CARD = "README.md"


@dataclass(frozen=True)
class RepoPreview:
    """What goes into one repo, and how it stands; pictures: what the card shows, by path."""

    repo: str
    kind: str
    public: bool
    pull_request: bool
    card: str
    pictures: dict[str, bytes]
    state: RepoState

    def changes_something(self) -> bool:
        """Tell whether a push would leave the repo other than it is."""
        return not self.state.exists or self.state.count(Change.SAME) < len(self.state.changes)

    @property
    def metadata(self) -> dict[str, Any]:
        """The card's front matter."""
        return read_front_matter(self.card)

    @property
    def text(self) -> str:
        """The card below its front matter."""
        return FRONT_MATTER.sub("", self.card).strip()


@dataclass(frozen=True)
class Preview:
    """What would be published, and what its owner should know before."""

    repos: tuple[RepoPreview, ...]
    warnings: tuple[str, ...]

    def of(self, kind: str) -> RepoPreview | None:
        """Return the repo of a kind, if one is named."""
        return next((entry for entry in self.repos if entry.kind == kind), None)


def preview_push(facts: Facts, *, ask_hub: bool) -> Preview:
    """Write both repos' files somewhere else, and compare them with what stands in the repos where the Hub is asked.

    Raises an error of hfembed.errors for whatever would keep them from being published.
    """
    with tempfile.TemporaryDirectory(prefix="hfembed-preview-") as work:
        repos = tuple(preview_upload(upload, ask_hub=ask_hub) for upload in make_uploads(facts, Path(work)))
    return Preview(repos, tuple(warnings_about(facts)))


def preview_upload(upload: Upload, *, ask_hub: bool) -> RepoPreview:
    """Look at one upload; whoever acts now must be allowed to make it."""
    state = compare_upload(upload) if ask_hub else compare_with_nothing(upload)
    if ask_hub:
        refuse_others_repo(upload.repo, state.exists, upload.pull_request)
    contents = {path: _read(content) for path, content in upload.files if path == CARD or path.endswith(".png")}
    card = contents.pop(CARD).decode()
    return RepoPreview(upload.repo, upload.kind, upload.public, upload.pull_request, card, contents, state)


def _read(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()
