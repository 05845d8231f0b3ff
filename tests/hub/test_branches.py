"""Branches, tags, references and squashing, through the real client."""

import pytest
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError


def _add(api, repo_id, name, revision="main"):
    return api.upload_file(path_or_fileobj=name.encode(), path_in_repo=name, repo_id=repo_id, revision=revision)


def test_a_branch_with_a_slash_in_its_name_goes_its_own_way(api, model, tmp_path):
    start = api.model_info(model).sha
    _add(api, model, "first.txt")
    api.create_branch(model, branch="feature/one", revision=start)
    _add(api, model, "second.txt", revision="feature/one")
    assert "second.txt" in api.list_repo_files(model, revision="feature/one")
    assert "first.txt" not in api.list_repo_files(model, revision="feature/one")
    assert "second.txt" not in api.list_repo_files(model)
    found = api.hf_hub_download(model, "second.txt", revision="feature/one", cache_dir=tmp_path)
    with open(found) as stream:
        assert stream.read() == "second.txt"
    assert [item.path for item in api.get_paths_info(model, "second.txt", revision="feature/one")] == ["second.txt"]
    api.delete_branch(model, branch="feature/one")
    with pytest.raises(RevisionNotFoundError):
        api.list_repo_files(model, revision="feature/one")


def test_a_branch_is_made_once(api, model):
    api.create_branch(model, branch="dev")
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_branch(model, branch="dev")
    assert refused.value.response.status_code == 409
    api.create_branch(model, branch="dev", exist_ok=True)


def test_main_cannot_be_deleted(api, model):
    with pytest.raises(HfHubHTTPError):
        api.delete_branch(model, branch="main")
    assert api.list_repo_files(model)


def test_a_tag_stays_where_it_was_put(api, model):
    _add(api, model, "one.txt")
    api.create_tag(model, tag="v1.0", tag_message="the first")
    api.create_tag(model, tag="light")
    tagged = api.model_info(model).sha
    _add(api, model, "two.txt")
    for name in ("v1.0", "light"):
        assert api.model_info(model, revision=name).sha == tagged
    refs = api.list_repo_refs(model)
    assert {(tag.name, tag.target_commit) for tag in refs.tags} == {("v1.0", tagged), ("light", tagged)}
    assert [branch.name for branch in refs.branches] == ["main"]
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_tag(model, tag="light")
    assert refused.value.response.status_code == 409
    api.delete_tag(model, tag="light")
    assert [tag.name for tag in api.list_repo_refs(model).tags] == ["v1.0"]


@pytest.mark.parametrize("name", ["../../escape", "a..b", "has space", "x.lock"])
def test_a_name_that_git_refuses_is_refused(api, model, name):
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_branch(model, branch=name)
    assert refused.value.response.status_code == 400


def test_others_cannot_make_branches(other, model):
    with pytest.raises(HfHubHTTPError) as refused:
        other.create_branch(model, branch="mine")
    assert refused.value.response.status_code == 403


def test_squashing_leaves_one_commit_with_the_same_files(api, model):
    for number in range(3):
        _add(api, model, f"{number}.txt")
    before = api.list_repo_files(model)
    api.super_squash_history(model, commit_message="one")
    assert api.list_repo_files(model) == before
    assert [commit.title for commit in api.list_repo_commits(model)] == ["one"]


def test_a_long_history_comes_in_pages(api, model):
    for number in range(60):
        _add(api, model, f"{number % 3}-{number}.txt")
    titles = [commit.title for commit in api.list_repo_commits(model)]
    assert len(titles) == 61 and titles[-1] == "initial commit"
