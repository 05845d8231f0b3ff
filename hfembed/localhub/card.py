"""Repository cards: the YAML front matter of README.md, its checks, and the tags it gives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from hfembed.localhub.records import RepoKind

_FRONT_MATTER = re.compile(r"\A(?:\ufeff)?\s*---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_REPO_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
_SPACE_SDKS = ("gradio", "docker", "static", "streamlit")
_SPACE_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LICENCES = frozenset(
    [
        "apache-2.0",
        "mit",
        "openrail",
        "bigscience-openrail-m",
        "creativeml-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigcode-openrail-m",
        "afl-3.0",
        "artistic-2.0",
        "bsl-1.0",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cdla-sharing-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "wtfpl",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "eupl-1.2",
        "agpl-3.0",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "isc",
        "h-research",
        "intel-research",
        "lppl-1.3c",
        "ms-pl",
        "apple-ascl",
        "apple-amlr",
        "mpl-2.0",
        "odc-by",
        "odbl",
        "open-mdw",
        "openrail++",
        "osl-3.0",
        "postgresql",
        "ofl-1.1",
        "ncsa",
        "unlicense",
        "zlib",
        "pddl",
        "lgpl-lr",
        "deepfloyd-if-license",
        "fair-noncommercial-research-license",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "grok2-community",
        "gemma",
        "unknown",
        "other",
    ]
)


@dataclass
class CardCheck:
    """What is wrong with a card: errors refuse it, warnings do not."""

    data: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def split_card(text: str) -> tuple[str | None, str]:
    """Return the front matter (None where there is none) and the text below it."""
    match = _FRONT_MATTER.match(text)
    return (None, text) if match is None else (match[1], text[match.end() :])


def read_card(text: str) -> dict[str, Any]:
    """Return the front matter as JSON would hold it; empty where it is missing or broken."""
    return check_card(text, None).data


def check_card(text: str, kind: RepoKind | None) -> CardCheck:
    """Check a card as the Hub does before it takes a commit; without a kind only the YAML is read."""
    check = CardCheck()
    front, _ = split_card(text)
    if front is None or not front.strip():
        check.warnings.append("empty or missing yaml metadata in repo card")
        return check
    try:
        parsed = yaml.safe_load(front)
    except yaml.YAMLError as error:
        check.errors.append("YAML Metadata Error: " + " ".join(str(error).split()))
        return check
    if not isinstance(parsed, dict):
        check.errors.append('YAML Metadata Error: "yaml metadata" must be of type object')
        return check
    # Dates and other YAML types become text, as they do in the Hub's JSON.
    check.data = json.loads(json.dumps(parsed, default=str, ensure_ascii=False))
    if kind is not None:
        for rule in _RULES[kind]:
            rule(check)
    return check


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _check_texts(name: str) -> Callable[[CardCheck], None]:
    def rule(check: CardCheck) -> None:
        value = check.data.get(name)
        if value is not None and not all(isinstance(item, str) for item in _as_list(value)):
            check.errors.append(f'"{name}" must be a string or an array of strings')

    return rule


def _check_licence(check: CardCheck) -> None:
    for licence in _as_list(check.data.get("license")):
        if licence not in LICENCES:
            check.errors.append(f'"license" must be one of [{", ".join(sorted(LICENCES))}]; got {licence!r}')
    if check.data.get("license") is None:
        check.warnings.append('"license" is missing')


def _check_ids(name: str, noun: str) -> Callable[[CardCheck], None]:
    def rule(check: CardCheck) -> None:
        for value in _as_list(check.data.get(name)):
            if not isinstance(value, str) or not _REPO_ID.fullmatch(value):
                check.errors.append(f'"{name}" with value "{value}" is not valid. Use a {noun} id from the Hub.')

    return rule


def _check_model_index(check: CardCheck) -> None:
    index = check.data.get("model-index")
    if index is None:
        return
    if not isinstance(index, list):
        check.errors.append('"model-index" must be an array')
        return
    for number, model in enumerate(index):
        where = f"model-index[{number}]"
        if not isinstance(model, dict) or not isinstance(model.get("results"), list):
            check.errors.append(f'"{where}.results" is required')
            continue
        if not isinstance(model.get("name"), str):
            check.errors.append(f'"{where}.name" is required')
        for place, result in enumerate(model["results"]):
            _check_result(check, f"{where}.results[{place}]", result)


def _check_result(check: CardCheck, where: str, result: Any) -> None:
    result = result if isinstance(result, dict) else {}
    for part, keys in (("task", ("type",)), ("dataset", ("type", "name"))):
        block = result.get(part)
        if not isinstance(block, dict):
            check.errors.append(f'"{where}.{part}" is required')
            continue
        check.errors += [f'"{where}.{part}.{key}" is required' for key in keys if not block.get(key)]
    metrics = result.get("metrics")
    if not isinstance(metrics, list):
        check.errors.append(f'"{where}.metrics" is required')
        return
    for number, metric in enumerate(metrics):
        for key in ("type", "value"):
            if not isinstance(metric, dict) or metric.get(key) is None:
                check.errors.append(f'"{where}.metrics[{number}].{key}" is required')


def _check_space(check: CardCheck) -> None:
    if check.data.get("sdk") not in _SPACE_SDKS:
        check.errors.append(f'"sdk" must be one of [{", ".join(_SPACE_SDKS)}]')
    for name in ("colorFrom", "colorTo"):
        if check.data.get(name) not in (None, *_SPACE_COLOURS):
            check.errors.append(f'"{name}" must be one of [{", ".join(_SPACE_COLOURS)}]')
    if len(str(check.data.get("short_description") or "")) > 60:
        check.errors.append('"short_description" length must be less than or equal to 60 characters long')


def _check_configs(check: CardCheck) -> None:
    for config in _as_list(check.data.get("configs")):
        if not isinstance(config, dict) or not isinstance(config.get("config_name"), str):
            check.errors.append('"configs[].config_name" is required')


_COMMON = (_check_texts("tags"), _check_texts("language"), _check_licence)
_RULES: dict[RepoKind, tuple[Callable[[CardCheck], None], ...]] = {
    RepoKind.MODEL: (
        *_COMMON,
        _check_texts("library_name"),
        _check_texts("pipeline_tag"),
        _check_ids("base_model", "model"),
        _check_ids("datasets", "dataset"),
        _check_model_index,
    ),
    RepoKind.DATASET: (
        *_COMMON,
        _check_texts("task_categories"),
        _check_texts("size_categories"),
        _check_configs,
    ),
    RepoKind.SPACE: (_check_texts("tags"), _check_space),
}


def tags_from_card(kind: RepoKind, data: dict[str, Any]) -> list[str]:
    """Return the tags that the Hub shows and filters by, from the card alone."""
    tags: list[str] = []
    if kind is RepoKind.DATASET:
        for name in ("task_categories", "task_ids", "language_creators", "multilinguality", "language"):
            tags += [f"{name}:{value}" for value in _as_list(data.get(name))]
        tags += [f"license:{value}" for value in _as_list(data.get("license"))]
        tags += [f"size_categories:{value}" for value in _as_list(data.get("size_categories"))]
        return tags + [str(tag) for tag in _as_list(data.get("tags"))]
    if kind is RepoKind.MODEL:
        tags += [str(value) for value in _as_list(data.get("library_name"))]
    tags += [str(tag) for tag in _as_list(data.get("tags"))]
    if kind is RepoKind.SPACE:
        return [str(data["sdk"]), *tags] if data.get("sdk") else tags
    tags += [str(value) for value in _as_list(data.get("language"))]
    tags += [f"dataset:{value}" for value in _as_list(data.get("datasets"))]
    relation = data.get("base_model_relation")
    for base in _as_list(data.get("base_model")):
        tags += [f"base_model:{base}", *([f"base_model:{relation}:{base}"] if relation else [])]
    return tags + [f"license:{value}" for value in _as_list(data.get("license"))]
