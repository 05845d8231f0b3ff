"""Errors: one tree, each a sentence with the next step."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hfembed import errors
from hfembed.errors import HfembedError, InputError, NoSpaceError, RecipeError, RunError, choices, nearest
from hfembed.stage import explain

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HfembedError)]


def test_the_tree_drawn_in_the_module_is_the_tree_that_is():
    assert errors.__doc__ is not None
    lines = errors.__doc__.splitlines()
    for kind in TREE:
        (line,) = [line for line in lines if kind.__name__ in line.replace("─", " ").split()]
        assert line.index(kind.__name__) == 4 * (len(kind.mro()) - len(HfembedError.mro()))


@pytest.mark.parametrize("kind", TREE)
def test_every_error_keeps_its_sentence_and_its_hint(kind: type[HfembedError]):
    error = kind("what failed", "what to type")
    assert str(error) == "what failed"
    assert error.to_json() == {"type": kind.__name__, "message": "what failed", "hint": "what to type"}
    assert kind("what failed").hint == ""


@pytest.mark.parametrize("kind", TREE)
def test_every_error_exits_with_2_and_says_when_it_happens(kind: type[HfembedError]):
    assert kind.exit_code == 2 and kind.__doc__


def test_wrong_input_is_told_from_a_wrong_run_folder():
    assert issubclass(RecipeError, InputError) and not issubclass(RunError, InputError)


@pytest.mark.parametrize(
    ("name", "known", "answer"),
    [
        ("strenght", ["strength", "steps"], "Did you mean 'strength'?"),
        ("STRENGTH", ["strength"], "Did you mean 'strength'?"),
        ("zzz", ["strength", "steps"], ""),
        ("x", [], ""),
        ("", ["strength"], ""),
    ],
)
def test_the_nearest_name_is_offered_only_when_it_is_near(name: str, known: list[str], answer: str):
    assert nearest(name, known) == answer


def test_choices_are_listed_in_order_and_none_is_said():
    assert choices(["b", "a"]) == "b, a"
    assert choices([]) == "none"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("[enforce fail at inline_container.cc] . write failed: No space left on device"),
        ValueError("I/O error: os error 28"),
    ],
)
def test_a_full_disk_is_recognised_however_a_library_says_it(error: Exception, tmp_path: Path):
    explained = explain(error, "train", tmp_path)
    assert isinstance(explained, NoSpaceError)
    assert "train" in explained.message and str(tmp_path) in explained.message and "MB free" in explained.message
    assert "finished stages are kept" in explained.hint


def test_a_full_disk_is_said_of_a_folder_that_is_not_there_yet(tmp_path: Path):
    assert isinstance(explain(OSError(errno.ENOSPC, "full"), "pull", tmp_path / "gone"), NoSpaceError)


def test_memory_that_ran_out_is_said_with_a_way_out(tmp_path: Path):
    explained = explain(MemoryError(), "mine", tmp_path)
    assert isinstance(explained, HfembedError) and "mine ran out of memory" in explained.message and explained.hint


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), KeyError("x"), KeyboardInterrupt()])
def test_what_is_not_known_stays_what_it_is(error: BaseException, tmp_path: Path):
    assert explain(error, "train", tmp_path) is error


def test_our_own_errors_are_not_explained_again(tmp_path: Path):
    error = RecipeError("no space left for another key")
    assert explain(error, "train", tmp_path) is error
