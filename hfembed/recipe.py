"""Recipe: everything a run does, one pydantic model per stage, each default written once, here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hfembed.errors import RecipeError, choices, nearest
from hfembed.resources import presets_folder

DEFAULT_PRESET = "instant"
DEFAULT_BASE = "sentence-transformers/all-MiniLM-L6-v2"

Share = Annotated[float, Field(gt=0, lt=0.5)]
Model = TypeVar("Model", bound=BaseModel)

RepoId = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]


class QueryKind(StrEnum):
    """What kind of query is made from a document."""

    TITLE = "title"
    SENTENCE = "sentence"
    KEYWORD = "keyword"


class GenerateMethod(StrEnum):
    """Who writes the queries."""

    EXTRACTIVE = "extractive"


class CapType(StrEnum):
    """How the highest score of a negative follows from the score of the positive."""

    PERCENT = "percent"
    ABSOLUTE = "absolute"
    NONE = "none"


class TrainMethod(StrEnum):
    """What a training phase changes."""

    ADAPTER = "adapter"


class Variant(StrEnum):
    """An ONNX file that export writes."""

    FP32 = "fp32"
    INT8 = "int8"


class Section(BaseModel):
    """One stage's part of the recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Pull(Section):
    """Where the text stands in the source, and which documents are kept."""

    text_column: str | None = Field(None, description="column with the text; guessed when not set")
    title_column: str | None = Field(None, description="column with the title; guessed when not set")
    id_column: str | None = Field(None, description="column with the id; guessed, else numbered")
    split: str = Field("train", description="split of a Hub dataset")
    min_chars: int = Field(10, ge=1, description="shorter documents are dropped")
    max_chars: int = Field(
        1_000_000, ge=1_000, le=1_000_000_000, description="a longer document is refused as a broken file"
    )
    limit: int | None = Field(None, ge=1, description="read at most this many documents")


class Generate(Section):
    """How queries are made, and how documents are split into train, dev and test."""

    method: GenerateMethod = Field(GenerateMethod.EXTRACTIVE, description="who writes the queries")
    kinds: dict[QueryKind, Annotated[int, Field(ge=0, le=20)]] = Field(
        {QueryKind.TITLE: 1, QueryKind.SENTENCE: 2, QueryKind.KEYWORD: 3},
        description="queries per document, by kind",
    )
    dev_share: Share = Field(0.15, description="share of the documents whose queries choose settings")
    test_share: Share = Field(0.2, description="share of the documents whose queries give the verdict")
    max_documents: int = Field(20_000, ge=10, description="documents that get queries, drawn at random")
    max_test_queries: int = Field(2_000, ge=10, description="test queries kept, drawn at random")


class Cap(Section):
    """The highest score a negative may have, so that it is not an unmarked positive."""

    type: CapType = Field(CapType.PERCENT, description="percent of the positive's score, or a margin below")
    value: float = Field(0.95, gt=0, le=1, description="the percentage (0.95) or the margin (0.05)")


class Mine(Section):
    """How hard negatives are found."""

    negatives: int = Field(4, ge=1, le=32, description="negatives per training row")
    candidates: int = Field(64, ge=2, le=1_000, description="nearest documents looked at per query")
    cap: Cap = Field(Cap(), description="the cap on a negative's score")
    block_size: int = Field(8_192, ge=16, description="documents scored at a time; bounds the memory")


class Phase(Section):
    """One training phase."""

    method: TrainMethod = Field(TrainMethod.ADAPTER, description="what is trained")
    temperature: float = Field(0.05, gt=0, le=1, description="softmax temperature")
    steps: int = Field(60, ge=1, description="optimiser steps")
    batch_size: int = Field(256, ge=2, description="pairs per step")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW learning rate")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay")
    pool: int = Field(16_384, ge=16, description="documents each query is compared with, drawn when more")


class Fold(Section):
    """How the trained map is folded into the encoder's last layer, so that every engine serves it."""

    max_documents: int = Field(3_000, ge=1, description="documents the fold is fitted on")
    max_queries: int = Field(2_000, ge=1, description="queries the fold is fitted on")
    batch_size: int = Field(16, ge=1, description="texts per step")
    learning_rate: float = Field(5e-4, gt=0, description="peak learning rate, decays linearly")
    min_cosine: float = Field(0.99, gt=0, le=1, description="gate: mean cosine to the map on unseen texts")
    max_ndcg_loss: float = Field(0.01, ge=0, description="gate: nDCG@10 the fold may lose against the map")


class Train(Section):
    """What is trained, and how far the result moves away from the base."""

    phases: list[Phase] = Field([Phase()], min_length=1, description="training phases, in order")
    strength: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "auto", description="0 is the base, 1 all that was learned; auto is chosen on dev"
    )
    fold: Fold = Field(Fold(), description="folding the map into the weights")


class Evaluate(Section):
    """How base and tuned are compared."""

    bootstrap: int = Field(2_000, ge=100, description="resamples of the paired bootstrap")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence of the intervals")


class Export(Section):
    """Which ONNX files are written, and when one is refused."""

    variants: list[Variant] = Field([Variant.FP32, Variant.INT8], description="ONNX files to write")
    max_cosine_distance: float = Field(1e-3, gt=0, description="gate of fp32: largest distance to torch")
    max_ndcg_loss: float = Field(0.01, ge=0, description="gate of every file: nDCG@10 lost against torch")
    sample: int = Field(256, ge=2, description="documents that parity and speed are measured on")


class Push(Section):
    """Where results are published."""

    model_repo: RepoId | None = Field(None, description="ORG/NAME of the model on the Hub")
    dataset_repo: RepoId | None = Field(None, description="ORG/NAME of the triplet dataset on the Hub")
    public: bool = Field(False, description="make new repos public")
    pull_request: bool = Field(False, description="open a pull request instead of changing main")
    force: bool = Field(False, description="let a model that is worse than its base go to main")


class Recipe(Section):
    """Everything about a run."""

    preset: str = Field(DEFAULT_PRESET, description="the preset this recipe started from")
    corpus: str | None = Field(None, min_length=1, description="a path, or a Hub dataset: org/name[:config][@revision]")
    base: str = Field(DEFAULT_BASE, min_length=1, description="a model folder, or a Hub model: org/name[@revision]")
    seed: int = Field(42, ge=0, description="seed of everything drawn at random")
    pull: Pull = Pull()
    generate: Generate = Generate()
    mine: Mine = Mine()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    push: Push = Push()

    def to_yaml(self) -> str:
        """Return the recipe with every default, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class Preset(Section):
    """A recipe that ships with the package: what it is for, and how it differs from the defaults."""

    description: str
    needs: str
    recipe: dict[str, Any] = {}


def load_presets() -> dict[str, Preset]:
    """Return every shipped preset by name."""
    files = sorted(presets_folder().glob("*.yaml"))
    return {file.stem: _validate(Preset, _read_yaml(file), f"preset {file.stem}") for file in files}


def load_preset(name: str) -> Preset:
    """Return one preset; an unknown name is answered with the known ones."""
    presets = load_presets()
    if name not in presets:
        raise RecipeError(
            f"There is no preset '{name}'; allowed: {choices(presets)}. {nearest(name, presets)}".strip(),
            "hfembed presets lists them.",
        )
    return presets[name]


def make_recipe(
    preset: str | None = None,
    file: Path | None = None,
    settings: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """Resolve a recipe: defaults, then the preset, then the file, then --set, then options.

    settings: `section.key=value` strings; a number addresses an item of a list.
    options: dotted key to value; values of None are passed over.
    """
    written = _read_yaml(file) if file else {}
    name = preset or str(written.get("preset", DEFAULT_PRESET))
    values: dict[str, Any] = Recipe().model_dump(mode="json")
    merge(values, load_preset(name).recipe)
    merge(values, written)
    values["preset"] = name
    return apply_settings(values, settings, options)


def apply_settings(
    values: dict[str, Any], settings: Iterable[str] = (), options: Mapping[str, Any] | None = None
) -> Recipe:
    """Return the recipe of `values` changed by --set strings and options."""
    for setting in settings:
        key, found, text = setting.partition("=")
        if not found or not key:
            raise RecipeError(f"--set needs section.key=value, got '{setting}'.", "Example: --set train.strength=0.5")
        if key.strip() == "preset":
            raise RecipeError("The preset cannot be changed by --set.", "Choose it with --preset NAME.")
        set_key(values, key.strip(), _parse_value(setting, text))
    for key, value in (options or {}).items():
        if value is not None:
            set_key(values, key, value)
    return validate_recipe(values, "recipe")


def validate_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Return the validated recipe, or raise with the field, the value and what is allowed."""
    return _validate(Recipe, values, where)


def read_recipe(file: Path) -> Recipe:
    """Read a resolved recipe, as a run keeps it."""
    return validate_recipe(_read_yaml(file), str(file))


def merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write nested changes over values, in place; dictionaries merge, everything else replaces."""
    for key, change in changes.items():
        if isinstance(change, Mapping) and isinstance(values.get(key), dict):
            merge(values[key], change)
        else:
            values[key] = change


def set_key(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one dotted key in place; steps through lists by number."""
    target: Any = values
    *parents, last = dotted.split(".")
    for part in parents:
        target = _step(target, part, dotted)
    if isinstance(target, list):
        _step(target, last, dotted)
        target[int(last)] = value
    elif isinstance(target, dict):
        if isinstance(target.get(last), dict) and isinstance(value, Mapping):
            merge(target[last], value)
        else:
            target[last] = value
    else:
        raise RecipeError(f"'{dotted}' does not name a setting: '{parents[-1]}' holds a single value.")


def _step(target: Any, part: str, dotted: str) -> Any:
    if isinstance(target, list):
        if part.isascii() and part.isdecimal() and int(part) < len(target):
            return target[int(part)]
        raise RecipeError(f"'{part}' in '{dotted}' must be a number below {len(target)}: it addresses a list.")
    if isinstance(target, dict) and part in target:
        return target[part]
    known = list(target) if isinstance(target, dict) else []
    raise RecipeError(f"Unknown key '{part}' in '{dotted}'; allowed: {choices(known)}. {nearest(part, known)}".strip())


def _parse_value(setting: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"The value in --set {setting} is not valid YAML.") from error
    # YAML reads 1e-4 as text because it has no dot; people write it everywhere.
    if isinstance(value, str):
        try:
            return float(value) if "e" in value.lower() else value
        except ValueError:
            return value
    return value


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"There is no recipe file '{file}'.", "hfembed presets instant > recipe.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"'{file}' cannot be read as YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RecipeError(f"'{file}' must hold keys and values, but it holds a {type(content).__name__}.")
    return content


def _validate(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems: dict[str, list[dict[str, Any]]] = {}
        for problem in error.errors():
            problems.setdefault(".".join(map(str, _location(problem))), []).append(dict(problem))
        sentences = [_sentence(model, key, found) for key, found in problems.items()]
        raise RecipeError(
            f"The {where} is not valid: " + " ".join(sentences), "hfembed presets instant shows every key."
        ) from None


def _location(problem: Mapping[str, Any]) -> list[str | int]:
    # Members of a union and keys of a dictionary put tags into the location that nobody typed.
    return [part for part in problem["loc"] if part not in ("literal['auto']", "constrained-float", "[key]")]


def _sentence(model: type[BaseModel], key: str, problems: list[dict[str, Any]]) -> str:
    first = problems[0]
    if first["type"] == "extra_forbidden":
        *parents, last = _location(first)
        known = _known_keys(model, parents)
        return f"unknown key '{key}'; allowed: {choices(known)}. {nearest(str(last), known)}".strip()
    rules = [_rule(problem) for problem in problems]
    guess = next((found for problem in problems if (found := _nearest_choice(problem, problem["input"]))), "")
    return f"'{key}' is {first['input']!r}, but must be {' or '.join(rules)}. {guess}".strip()


def _rule(problem: Mapping[str, Any]) -> str:
    words = {
        "string_pattern_mismatch": "of the form ORG/NAME",
        "too_short": "a list with at least one item",
        "model_type": "a group of keys and values",
    }
    return words.get(problem["type"], str(problem["msg"]).removeprefix("Input should be "))


def _nearest_choice(problem: dict[str, Any], seen: Any) -> str:
    expected = str(problem.get("ctx", {}).get("expected", ""))
    allowed = [part.strip("' ") for part in expected.replace(" or ", ", ").split(",")]
    return nearest(seen, allowed) if isinstance(seen, str) and expected else ""


def _known_keys(model: type[BaseModel], location: list[Any]) -> list[str]:
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        current = current.model_fields[part].annotation
        current = next((arg for arg in get_args(current) if isinstance(arg, type)), current)
    return list(current.model_fields)
