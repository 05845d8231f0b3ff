"""Uploaded files: checked before anything is launched, and copied under harmless names."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from hfembed.corpus import FILES, TABLES, kind_of
from hfembed.errors import CorpusError, choices

ALLOWED = FILES
MAX_NAME = 80
MAX_FILES = 2_000


def check_uploads(files: Sequence[Path], max_megabytes: int) -> None:
    """Refuse files that no run could use, with the sentence the visitor sees.

    Raises CorpusError for none or too many files, another suffix, too much in all, or texts mixed with tables.
    """
    if not files:
        raise CorpusError("No file is uploaded yet.", "Drop your documents into the box.")
    if len(files) > MAX_FILES:
        raise CorpusError(f"{len(files):,} files are more than {MAX_FILES:,}.", "Put the texts into one .jsonl file.")
    for file in files:
        if file.suffix.lower() not in ALLOWED:
            raise CorpusError(f"'{file.name}' cannot be read; a file must be {choices(ALLOWED)}.")
    size = sum(file.stat().st_size for file in files) / 1e6
    if size > max_megabytes:
        raise CorpusError(f"The files hold {size:,.0f} MB; this Space takes at most {max_megabytes:,} MB.")
    kinds = {kind: file.suffix for file in files if (kind := kind_of(file.suffix))}
    if len(kinds) > 1:
        named = " and ".join(f"{kind} ({suffix})" for kind, suffix in sorted(kinds.items()))
        raise CorpusError(f"{named.capitalize()} are mixed.", "Upload files of one kind.")


def safe_name(name: str) -> str:
    """Return a file name without folders, control characters or anything a shell or a page could trip over."""
    plain = unicodedata.normalize("NFKC", name.replace("\\", "/").rpartition("/")[2])
    stem, dot, suffix = plain.rpartition(".")
    stem, suffix = (stem, suffix) if dot else (plain, "")
    stem = re.sub(r"[^\w]+", "-", stem).strip("-_")[:MAX_NAME] or "document"
    suffix = re.sub(r"[^A-Za-z0-9]+", "", suffix)[:10].lower()
    return f"{stem}.{suffix}" if suffix else stem


def keep_uploads(files: Sequence[Path], folder: Path, *, only_look: bool = False) -> Path:
    """Put uploaded files into a new folder; return what to name as the corpus: the one table, or the folder.

    only_look: nothing is copied, since the folder is gone before the files are.
    """
    target = folder / folder_name(files)
    target.mkdir(parents=True)
    kept: list[Path] = []
    for file in files:
        place = target / safe_name(file.name)
        number = 2
        while place.exists():
            place = target / f"{Path(safe_name(file.name)).stem}-{number}{place.suffix}"
            number += 1
        if only_look:
            place.symlink_to(file)
        else:
            shutil.copyfile(file, place)
        kept.append(place)
    return kept[0] if len(kept) == 1 and kept[0].suffix in TABLES else target


def folder_name(files: Sequence[Path]) -> str:
    """Return what a corpus of uploaded files is called where only letters, digits and dashes may stand."""
    first = Path(safe_name(files[0].name)).stem
    return first if len(files) == 1 else f"{first}-and-{len(files) - 1}-more"
