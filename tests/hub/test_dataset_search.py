"""Finding datasets by their names, what a model is, and whether a name is free: as somebody, and as nobody."""

import pytest

from hfembed.errors import HubError, ModelError
from hfembed.hub import acting_as
from hfembed.hub.search import is_taken, look_up_model, search_datasets


@pytest.fixture
def names(api, other, repo_id):
    """A private dataset of demo's and a public one of somebody else's, with names alike."""
    word = repo_id.partition("/")[2]
    api.create_repo(f"demo/{word}-mine", repo_type="dataset", private=True)
    other.create_repo(f"other/{word}-theirs", repo_type="dataset")
    card = b"---\nlicense: mit\nsize_categories: [1K<n<10K]\n---\n"
    other.upload_file(
        path_or_fileobj=card, path_in_repo="README.md", repo_id=f"other/{word}-theirs", repo_type="dataset"
    )
    return word


def test_whoever_is_signed_in_finds_their_own_first(names, token):
    with acting_as(token):
        found = search_datasets(names, "demo")
    assert [one.repo for one in found] == [f"demo/{names}-mine", f"other/{names}-theirs"]
    assert [one.is_private for one in found] == [True, False]
    assert [one.rows for one in found] == ["", "1,000 to 10,000 rows"]


def test_nobody_finds_what_is_private(names):
    with acting_as(None):
        assert [one.repo for one in search_datasets(names)] == [f"other/{names}-theirs"]


@pytest.mark.parametrize("words", ["", " ", "a", "/", "-_", "a/"])
def test_nothing_is_asked_for_fewer_than_two_letters(words, hub):
    hub.set_faults("rate=1,status=403")
    try:
        assert search_datasets(words) == []
    finally:
        hub.set_faults("")


def test_a_model_tells_its_licence_and_languages_before_it_is_downloaded(api, token, model):
    with acting_as(token), pytest.raises(ModelError, match=r"holds no \.safetensors weights"):
        look_up_model(model)
    card = b"---\nlicense: mit\nlanguage: [de, fr]\n---\n"
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=model)
    api.upload_file(path_or_fileobj=b"weights", path_in_repo="model.safetensors", repo_id=model)
    with acting_as(token):
        facts = look_up_model(model)
    assert (facts.repo, facts.licence, facts.languages) == (model, "mit", ("de", "fr"))
    with acting_as(token), pytest.raises(HubError, match="does not exist"):
        look_up_model("demo/there-is-no-such-model")


def test_a_name_is_taken_or_free_for_its_kind(token, model):
    with acting_as(token):
        assert is_taken(model, "model") and not is_taken(model, "dataset")
        with pytest.raises(HubError, match="The Hub refuses the model"):
            is_taken("demo/..", "model")
