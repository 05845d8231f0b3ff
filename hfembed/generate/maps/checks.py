"""What entity maps are like, whoever made them: each thing that looks wrong as a sentence, with what to do about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hfembed.generate.maps.form import MapForm
from hfembed.recipe import MapWriter

NUMBER = re.compile(r"\d+(?:[.,:/\u2013-]\d+)*")
DIGITS = re.compile(r"\d+")
# Where the makers of entity maps found that something is wrong (shares).
LEAST_VERBATIM, LOST_NUMBERS, EMPTY, LENGTHS, ALIKE = 0.9, 0.05, 0.02, (0.40, 0.85), 0.05
MIN_CHECKED = 20


def measure_maps(
    sources: Sequence[str], forms: Sequence[MapForm], groups: Sequence[str], verbatim: float = 1.0
) -> dict[str, Any]:
    """Return what the maps of documents are like. verbatim: share of the entities that stood in their document."""
    texts = [form.text() for form in forms]
    numbers = lost = 0
    for source, text in zip(sources, texts, strict=True):
        named, kept = set(NUMBER.findall(source)), set(NUMBER.findall(text))
        numbers, lost = numbers + len(named), lost + len(named - kept)
    words = sum(len(source.split()) for source in sources)
    return {
        "documents": len(forms),
        "verbatim": round(verbatim, 4),
        "lost_numbers": round(lost / max(1, numbers), 4),
        "length": round(sum(len(text.split()) for text in texts) / max(1, words), 4),
        "empty": round(sum(not text for text in texts) / max(1, len(texts)), 4),
        "alike": round(_alike(forms, groups), 4),
        "relations": sum(len(form.relations) for form in forms),
    }


def warnings_of_maps(measured: Mapping[str, Any], by: MapWriter) -> Iterator[str]:
    """Yield what gives cause to say something."""
    if measured["documents"] < MIN_CHECKED:
        return
    written = by is MapWriter.LLM
    prompt = "Say so in a prompt of your own (generate.llm.prompts)" if written else "Try generate.entity_maps.by=llm"
    if measured["verbatim"] < LEAST_VERBATIM:
        yield (
            f"Only {measured['verbatim']:.0%} of the entities stand in their document as written; the others are left "
            "out. Try a better model."
        )
    if measured["lost_numbers"] > LOST_NUMBERS:
        yield (
            f"{measured['lost_numbers']:.0%} of the numbers and dates of the documents stand in no entity map: "
            f"what tells documents apart is lost. {prompt}, or try a better model."
        )
    if not LENGTHS[0] <= measured["length"] <= LENGTHS[1]:
        remedy = f"{prompt} how much to list." if written else "--set generate.entity_maps.length=0.62"
        yield (
            f"Entity maps have {measured['length']:.0%} of the words of their documents; {LENGTHS[0]:.0%} to "
            f"{LENGTHS[1]:.0%} is usual. {remedy}"
        )
    if measured["empty"] > EMPTY:
        yield (
            f"{measured['empty']:.1%} of the documents have no entity map, because nothing was found to name in them. "
            "Rows of theirs are learned from as plain texts. Do the documents name anything? pull.min_chars drops short ones."
        )
    if measured["alike"] > ALIKE:
        yield (
            f"{measured['alike']:.0%} of the entity maps say the same as another document's, but for numbers: they leave "
            f"out what tells the documents apart. {prompt}, or mix both views: --set train.phases.0.view_share=0.5"
        )


def _alike(forms: Sequence[MapForm], groups: Sequence[str]) -> float:
    """Return the share of maps that are another's but for numbers; near-duplicate documents may be alike."""
    bare = [DIGITS.sub("0", " ".join(sorted(form.entities)).lower()) for form in forms]
    owners: dict[str, set[str]] = {}
    for text, group in zip(bare, groups, strict=True):
        owners.setdefault(text, set()).add(group)
    seen = Counter(bool(text) and len(owners[text]) > 1 for text in bare)
    return seen[True] / max(1, len(bare))
