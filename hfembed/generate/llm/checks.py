"""What the answers tell about the writer: each thing that looks wrong as a sentence, with what to do about it."""

from __future__ import annotations

from hfembed.events import Reporter
from hfembed.generate.llm.desk import Desk
from hfembed.generate.llm.runner import Tally
from hfembed.recipe import LlmTask

# Where the makers of synthetic queries found that something is wrong (shares).
UNREADABLE, WRONG_COUNTS, HOPS_OFF = 0.05, 0.05, 0.10
LEAST_VERBATIM, EMPTY_MAPS, MAP_LENGTHS = 0.9, 0.02, (0.40, 0.85)
LEAST_NEGATIVES = 0.9
MIN_CHECKED = 20


def warn_of_troubles(desk: Desk, tally: Tally, report: Reporter) -> None:
    """Say what looks wrong."""
    lost = sum(tally.dropped.values())
    if lost:
        reasons = ", ".join(
            f"{count:,} {reason.removeprefix('no_answer_')}" for reason, count in tally.dropped.most_common(3)
        )
        report.warn(
            f"{lost:,} of {lost + tally.records:,} requests were given up ({reasons}). "
            "--rerun generate tries them again; generate.llm.patience sets how often."
        )
    if tally.estimated:
        report.note("the server does not count tokens: tokens and costs are estimates")
    for sentence in (*_answers(desk, tally), *_hops(desk), *_maps(desk), *_negatives(desk)):
        report.warn(sentence)


def _answers(desk: Desk, tally: Tally) -> list[str]:
    answers = tally.records + sum(tally.unusable.values())
    if answers < MIN_CHECKED:
        return []
    found = []
    unreadable = sum(tally.unusable.values()) - tally.unusable["wrong_count"]
    if unreadable > UNREADABLE * answers:
        found.append(
            f"{unreadable / answers:.0%} of the answers were of no use and paid all the same. A server that keeps to a "
            "JSON schema, a better model, or a larger generate.llm.sampling.max_tokens would help."
        )
    if tally.unusable["wrong_count"] > WRONG_COUNTS * max(1, desk.seen["judge_records"]):
        found.append(
            "The judge often scores more or fewer queries than it is shown. Ask for fewer per document "
            "(generate.llm.tasks), or use a better model."
        )
    return found


def _hops(desk: Desk) -> list[str]:
    questions = sum(desk.hops.values())
    asked = desk.seen[f"asked_{LlmTask.MULTI_HOP}"]
    total = asked + desk.seen[f"asked_{LlmTask.QUESTION}"]
    if not asked or questions < MIN_CHECKED:
        return []
    wanted, got = asked / total, desk.seen["got_multi_hop"] / questions
    if abs(wanted - got) <= HOPS_OFF:
        return []
    return [
        f"{got:.0%} of the questions need several documents, where {wanted:.0%} were asked for: the bundles do not "
        "belong together, or the model takes the easy way. Try generate.llm.questions.bundle=2, or a better model."
    ]


def _maps(desk: Desk) -> list[str]:
    seen, found = desk.seen, []
    if seen["maps"] < MIN_CHECKED:
        return []
    if seen["entities_in_source"] < LEAST_VERBATIM * seen["entities"]:
        share = seen["entities_in_source"] / seen["entities"]
        found.append(f"Only {share:.0%} of the entities stand in their document as written: try a better model.")
    if seen["empty_maps"] > EMPTY_MAPS * seen["maps"]:
        found.append(
            f"{seen['empty_maps']:,} of {seen['maps']:,} entity maps are empty: do the documents name anything?"
        )
    ratio = seen["map_words"] / max(1, seen["source_words"])
    if not MAP_LENGTHS[0] <= ratio <= MAP_LENGTHS[1]:
        found.append(
            f"Entity maps have {ratio:.0%} of the words of their documents; {MAP_LENGTHS[0]:.0%} to {MAP_LENGTHS[1]:.0%} "
            "is usual. Say in a prompt of your own how much to list (generate.llm.prompts)."
        )
    return found


def _negatives(desk: Desk) -> list[str]:
    asked, got = desk.seen["negatives_asked"], desk.seen["negatives_got"]
    if asked < MIN_CHECKED or got >= LEAST_NEGATIVES * asked:
        return []
    return [
        f"Only {got:,} of {asked:,} negatives were written; mine finds the rest. A better model would write them all."
    ]
