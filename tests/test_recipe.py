"""The recipe: who wins when several places say something, and what a wrong word is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders  # noqa: F401 - settles hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hfembed import recipe as module
from hfembed.errors import RecipeError
from hfembed.pipeline import NAMES
from hfembed.recipe import (
    Recipe,
    apply_settings,
    load_preset,
    load_presets,
    make_recipe,
    merge,
    read_recipe,
    set_key,
    validate_recipe,
)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a preset `other` beside the shipped ones."""
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "instant.yaml").write_text("description: d\nneeds: n\nrecipe: {}\n", encoding="utf-8")
    preset = {"description": "d", "needs": "n", "recipe": {"seed": 1, "mine": {"negatives": 5, "candidates": 30}}}
    (folder / "other.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    monkeypatch.setattr(module, "presets_folder", lambda: folder)
    return folder


def write(folder: Path, text: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(*settings: str, file: Path | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        make_recipe(file=file, settings=settings)
    assert "\n" not in caught.value.message
    return caught.value.message


# Resolution order


def test_without_anything_the_recipe_holds_the_defaults_of_the_default_preset():
    assert make_recipe() == Recipe()
    assert make_recipe().preset == "instant"


def test_a_preset_wins_over_defaults_and_leaves_what_it_does_not_name(shelf: Path):
    resolved = make_recipe("other")
    assert (resolved.preset, resolved.seed, resolved.mine.negatives) == ("other", 1, 5)
    assert resolved.mine.block_size == Recipe().mine.block_size


def test_a_file_wins_over_the_preset_and_set_over_the_file_and_options_over_all(shelf: Path, tmp_path: Path):
    file = write(tmp_path, "seed: 2\nmine: {negatives: 6, candidates: 31}\n")
    assert make_recipe("other", file).seed == 2
    assert make_recipe("other", file).mine.candidates == 31
    assert make_recipe("other", file, ["seed=3", "mine.negatives=7"]).mine.negatives == 7
    resolved = make_recipe("other", file, ["seed=3", "mine.negatives=7"], {"seed": 4})
    assert (resolved.seed, resolved.mine.negatives, resolved.mine.candidates) == (4, 7, 31)


def test_a_file_may_name_its_preset_and_the_option_wins_over_it(shelf: Path, tmp_path: Path):
    file = write(tmp_path, "preset: other\n")
    assert make_recipe(file=file).mine.negatives == 5
    assert make_recipe("instant", file).mine.negatives == Recipe().mine.negatives
    assert make_recipe("instant", file).preset == "instant"


def test_options_that_were_not_given_change_nothing():
    assert make_recipe(options={"seed": None, "push.model_repo": None}) == Recipe()


def test_options_reach_into_sections():
    assert make_recipe(options={"push.model_repo": "me/model"}).push.model_repo == "me/model"


def test_the_last_of_two_settings_of_one_key_wins():
    assert make_recipe(settings=["seed=1", "seed=2"]).seed == 2


# --set


@pytest.mark.parametrize(
    ("setting", "section", "key", "value"),
    [
        ("train.strength=0.5", "train", "strength", 0.5),
        ("train.strength=auto", "train", "strength", "auto"),
        ("pull.limit=7", "pull", "limit", 7),
        ("pull.limit=null", "pull", "limit", None),
        ("pull.text_column=body", "pull", "text_column", "body"),
        ("pull.text_column=a=b", "pull", "text_column", "a=b"),
        ("push.public=true", "push", "public", True),
        ("export.variants=[fp32]", "export", "variants", ["fp32"]),
        ("pull.text_column=the_text", "pull", "text_column", "the_text"),
    ],
)
def test_set_reads_values_as_yaml(setting: str, section: str, key: str, value: object):
    assert make_recipe(settings=[setting]).model_dump(mode="json")[section][key] == value


def test_numbers_without_a_dot_before_the_exponent_are_numbers():
    assert make_recipe(settings=["export.max_cosine_distance=1e-4"]).export.max_cosine_distance == 1e-4


def test_a_number_addresses_an_item_of_a_list():
    assert make_recipe(settings=["train.phases.0.steps=3"]).train.phases[0].steps == 3
    whole = make_recipe(settings=["train.phases=[{steps: 1}, {steps: 2}]", "train.phases.1.steps=9"])
    assert [phase.steps for phase in whole.train.phases] == [1, 9]


@pytest.mark.parametrize("index", ["1", "-1", "x", "0x0", "1.0"])
def test_a_list_index_that_is_not_there_is_refused(index: str):
    message = refusal(f"train.phases.{index}.steps=3")
    assert f"'{index.split('.')[0]}'" in message and "train.phases" in message and "below 1" in message


def test_set_of_a_dictionary_merges_into_it():
    defaults = {str(kind): count for kind, count in make_recipe().generate.kinds.items()}
    kinds = make_recipe(settings=["generate.kinds={title: 9}"]).generate.kinds
    assert {str(kind): count for kind, count in kinds.items()} == {**defaults, "title": 9}


@pytest.mark.parametrize("setting", ["seed", "=3", ""])
def test_a_setting_without_key_or_value_shows_how_it_is_written(setting: str):
    with pytest.raises(RecipeError, match=r"--set needs section\.key=value") as caught:
        make_recipe(settings=[setting])
    assert "Example" in caught.value.hint and f"'{setting}'" in caught.value.message


def test_a_value_that_is_not_yaml_is_refused():
    assert "train.phases=[" in refusal("train.phases=[")


@pytest.mark.parametrize("dotted", ["seed.x", "train.strength.x", "pull.limit.x"])
def test_a_single_value_has_no_keys(dotted: str):
    assert f"'{dotted}'" in refusal(f"{dotted}=1")


# Unknown keys and wrong values


@pytest.mark.parametrize(
    ("setting", "key", "guess"),
    [
        ("sead=1", "sead", "seed"),
        ("trian.strength=1", "trian", "train"),
        ("train.strenght=1", "train.strenght", "strength"),
        ("train.phases.0.step=1", "train.phases.0.step", "steps"),
        ("mine.cap.valeu=1", "mine.cap.valeu", "value"),
        ("train.fold.batchsize=1", "train.fold.batchsize", "batch_size"),
    ],
)
def test_an_unknown_key_is_answered_with_the_allowed_ones_and_the_nearest(setting: str, key: str, guess: str):
    message = refusal(setting)
    assert f"'{key}'" in message
    assert "allowed: " in message and guess in message.split("allowed: ")[1].split(";")[0].split(". ")[0]
    assert f"Did you mean '{guess}'?" in message


def test_an_unknown_key_unlike_any_other_gets_no_guess():
    assert "Did you mean" not in refusal("qqqq=1")


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("mine.cap.type=percnt", ("'mine.cap.type'", "'percnt'", "'percent', 'absolute' or 'none'", "'percent'?")),
        ("train.phases.0.method=adaptor", ("'train.phases.0.method'", "'adaptor'", "Did you mean 'adapter'?")),
        ("generate.kinds.titel=1", ("'generate.kinds.titel'", "'sentence'", "Did you mean 'title'?")),
        ("generate.kinds.title=-1", ("'generate.kinds.title'", "-1", "greater than or equal to 0")),
        ("train.strength=2", ("'train.strength'", "2", "'auto'", "less than or equal to 1")),
        ("train.strength=atuo", ("'train.strength'", "'atuo'", "Did you mean 'auto'?")),
        ("train.strength=.nan", ("'train.strength'", "nan")),
        ("seed=-1", ("'seed'", "-1", "greater than or equal to 0")),
        ("seed=abc", ("'seed'", "'abc'", "integer")),
        ("generate.test_share=0.5", ("'generate.test_share'", "0.5", "less than 0.5")),
        ("generate.dev_share=0", ("'generate.dev_share'", "greater than 0")),
        ("evaluate.bootstrap=99", ("'evaluate.bootstrap'", "99", "100")),
        ("train.phases=[]", ("'train.phases'", "[]", "at least")),
        ("export.variants=[fp23]", ("'export.variants.0'", "'fp23'", "'fp32' or 'int8'")),
        ("push.words.title=" + "x" * 300, ("'push.words.title'", "at most 100 characters long", "xxx…, but")),
        ("push.model_repo=norepo", ("'push.model_repo'", "'norepo'")),
        ("base=", ("'base'",)),
        ("pull=3", ("'pull'", "3")),
        ("mine.negatives=1.5", ("'mine.negatives'", "1.5", "integer")),
    ],
)
def test_a_wrong_value_is_answered_with_field_value_and_rule(setting: str, parts: tuple[str, ...]):
    message = refusal(setting)
    for part in parts:
        assert part in message


def test_every_wrong_value_is_named_at_once():
    message = refusal("seed=-1", "mine.negatives=0")
    assert "'seed'" in message and "'mine.negatives'" in message


def test_a_refusal_says_where_every_key_can_be_seen():
    with pytest.raises(RecipeError) as caught:
        make_recipe(settings=["bogus=1"])
    assert "hfembed presets instant" in caught.value.hint


def test_a_superscript_is_no_list_index():
    refusal("train.phases.².steps=1")


def test_set_cannot_name_a_preset_that_does_not_exist():
    assert "preset" in refusal("preset=nope")


# Files


def test_a_missing_recipe_file_is_named_with_the_command_that_makes_one(tmp_path: Path):
    with pytest.raises(RecipeError, match="no recipe file") as caught:
        make_recipe(file=tmp_path / "gone.yaml")
    assert "gone.yaml" in caught.value.message and "hfembed presets" in caught.value.hint


def test_an_empty_recipe_file_means_the_defaults(tmp_path: Path):
    assert make_recipe(file=write(tmp_path, "# nothing yet\n")) == Recipe()


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "just words\n", "3\n"])
def test_a_recipe_file_must_hold_keys(tmp_path: Path, text: str):
    message = refusal(file=write(tmp_path, text))
    assert "recipe.yaml" in message and "must hold keys and values" in message


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path):
    with pytest.raises(RecipeError, match="cannot be read as YAML") as caught:
        make_recipe(file=write(tmp_path, "train: [\n"))
    assert "recipe.yaml" in caught.value.message and "line" in caught.value.message


def test_a_file_that_is_not_text_is_named(tmp_path: Path):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read as YAML"):
        make_recipe(file=file)


def test_a_folder_is_no_recipe_file(tmp_path: Path):
    with pytest.raises(RecipeError, match="cannot be read as YAML"):
        make_recipe(file=tmp_path)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("train: {strenght: 1}", "Did you mean 'strength'?"),
        ("1: 2", "'1'"),
        ("train: {phases: [{}, {step: 1}]}", "'train.phases.1.step'"),
        ("preset: nope", "There is no preset 'nope'; allowed: "),
    ],
)
def test_what_a_file_says_wrong_is_answered_like_a_setting(tmp_path: Path, text: str, part: str):
    assert part in refusal(file=write(tmp_path, text))


# Round trip


@given(
    seed=st.integers(0, 2**40),
    strength=st.one_of(st.just("auto"), st.floats(0, 1)),
    column=st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)),
    kinds=st.dictionaries(st.sampled_from(["title", "sentence", "keyword"]), st.integers(0, 20)),
    steps=st.lists(st.integers(1, 999), min_size=1, max_size=3),
)
def test_yaml_holds_the_whole_recipe(seed: int, strength: Any, column: str | None, kinds: Any, steps: list[int]):
    made = validate_recipe(
        {
            "seed": seed,
            "corpus": column,
            "pull": {"text_column": column},
            "generate": {"kinds": kinds},
            "train": {"strength": strength, "phases": [{"steps": count} for count in steps]},
        },
        "recipe",
    )
    assert validate_recipe(yaml.safe_load(made.to_yaml()), "recipe") == made


def test_yaml_is_complete_and_in_the_order_of_the_stages():
    keys = list(yaml.safe_load(Recipe().to_yaml()))
    assert keys == ["preset", "corpus", "base", "encoder", "seed", *NAMES]
    assert set(yaml.safe_load(Recipe().to_yaml())["train"]) == set(Recipe().train.model_dump())


def test_a_written_recipe_reads_back(tmp_path: Path):
    made = make_recipe(settings=["seed=5", "train.strength=0.25"])
    assert read_recipe(write(tmp_path, made.to_yaml())) == made


def test_a_recipe_cannot_be_changed_after_it_was_made():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().seed = 1  # type: ignore[misc]


# Presets


@pytest.mark.parametrize("name", sorted(load_presets()))
def test_every_shipped_preset_resolves_and_says_what_it_is_for(name: str):
    preset = load_preset(name)
    assert make_recipe(name).preset == name
    assert preset.description and preset.needs


@pytest.mark.parametrize("name", sorted(load_presets()))
def test_a_preset_holds_only_differences_from_the_defaults(name: str):
    def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
        found: dict[tuple[str, ...], Any] = {}
        for key, value in values.items():
            found |= leaves(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}
        return found

    defaults = leaves(Recipe().model_dump(mode="json"))
    same = [path for path, value in leaves(load_preset(name).recipe).items() if defaults.get(path) == value]
    assert same == []


def test_an_unknown_preset_is_answered_with_the_known_ones_and_the_nearest():
    with pytest.raises(RecipeError, match=r"no preset 'instnt'; allowed: .*instant.* Did you mean 'instant'\?"):
        make_recipe("instnt")


def test_a_preset_file_with_an_unknown_key_is_refused(shelf: Path):
    (shelf / "third.yaml").write_text("description: d\nneeds: n\nrecipee: {}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"preset third.*'recipee'.*Did you mean 'recipe'\?"):
        load_presets()


def test_every_field_says_what_it_is():
    def undescribed(model: Any) -> list[str]:
        return [name for name, field in model.model_fields.items() if not field.description and name not in NAMES]

    for name in NAMES:
        assert undescribed(Recipe.model_fields[name].annotation) == []
    assert undescribed(Recipe) == []


# merge and set_key

LEAF = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.lists(st.integers(), max_size=2))
KEY = st.text("abc", min_size=1, max_size=2)
TREE = st.dictionaries(KEY, st.recursive(LEAF, lambda inner: st.dictionaries(KEY, inner, max_size=3), max_leaves=6))


def lookup(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


def leaves_of(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in values.items():
        found += leaves_of(value, (*path, key)) if isinstance(value, dict) and value else [((*path, key), value)]
    return found


@given(values=TREE, changes=TREE)
def test_after_a_merge_every_change_is_there(values: dict[str, Any], changes: dict[str, Any]):
    merge(values, changes)
    for path, value in leaves_of(changes):
        if value != {}:  # an empty dictionary changes nothing of the one it is merged into
            assert lookup(values, path) == value


@given(values=TREE, changes=TREE)
def test_a_merge_keeps_what_no_change_touches(values: dict[str, Any], changes: dict[str, Any]):
    before = leaves_of(values)
    touched = [path for path, _ in leaves_of(changes)]
    merge(values, changes)
    for path, value in before:
        if not any(path[: len(other)] == other or other[: len(path)] == path for other in touched):
            assert lookup(values, path) == value


@given(values=TREE, changes=TREE)
def test_merging_twice_is_merging_once(values: dict[str, Any], changes: dict[str, Any]):
    merge(values, changes)
    once = leaves_of(values)
    merge(values, changes)
    assert leaves_of(values) == once


@given(values=TREE, value=st.integers(), data=st.data())
def test_set_key_changes_one_place_and_no_other(values: dict[str, Any], value: int, data: st.DataObject):
    paths = [path for path, leaf in leaves_of(values) if leaf != {}]
    if not paths:
        return
    path = data.draw(st.sampled_from(paths))
    before = leaves_of(values)
    set_key(values, ".".join(path), value)
    assert leaves_of(values) == [(where, value if where == path else leaf) for where, leaf in before]


@given(values=TREE, dotted=st.text("abc.0", min_size=1, max_size=6))
def test_set_key_sets_or_says_what_is_wrong(values: dict[str, Any], dotted: str):
    try:
        set_key(values, dotted, 7)
    except RecipeError as error:
        assert dotted in error.message
    else:
        target: Any = values
        for part in dotted.split("."):
            target = target[int(part)] if isinstance(target, list) else target[part]
        assert target == 7


def test_settings_do_not_leak_from_one_recipe_into_the_next():
    make_recipe(settings=["train.phases.0.steps=3", "generate.kinds.title=9"])
    assert make_recipe() == Recipe()


def test_apply_settings_takes_the_values_it_is_given():
    assert apply_settings(Recipe(seed=9).model_dump(mode="json"), ["mine.negatives=2"]).seed == 9
