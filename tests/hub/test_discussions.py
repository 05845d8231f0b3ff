"""Discussions and pull requests, through the real client."""

import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import BadRequestError, HfHubHTTPError


def test_a_commit_opens_a_pull_request_that_merges(api, other, model):
    api.upload_file(path_or_fileobj=b"main\n", path_in_repo="a.txt", repo_id=model)
    commit = other.create_commit(
        model,
        [CommitOperationAdd("b.txt", b"theirs\n"), CommitOperationAdd("big.bin", b"\0" * 300_000)],
        commit_message="Add b",
        commit_description="Because.",
        create_pr=True,
    )
    assert (commit.pr_num, commit.pr_revision) == (1, "refs/pr/1")
    assert "b.txt" not in api.list_repo_files(model)
    assert {"a.txt", "b.txt", "big.bin"} <= set(api.list_repo_files(model, revision="refs/pr/1"))
    other.upload_file(path_or_fileobj=b"more", path_in_repo="c.txt", repo_id=model, revision="refs/pr/1")
    [pull] = api.get_repo_discussions(model, discussion_type="pull_request")
    assert (pull.title, pull.author, pull.status, pull.is_pull_request) == ("Add b", "other", "open", True)
    details = api.get_discussion_details(model, 1)
    assert "+theirs" in details.diff and details.conflicting_files == []
    assert details.target_branch == "refs/heads/main"
    assert [event.type for event in details.events] == ["comment", "commit", "commit"]
    with pytest.raises(HfHubHTTPError):
        other.merge_pull_request(model, 1)
    api.merge_pull_request(model, 1, comment="Thanks!")
    assert {"a.txt", "b.txt", "big.bin", "c.txt"} <= set(api.list_repo_files(model))
    merged = api.get_discussion_details(model, 1)
    assert merged.status == "merged" and merged.merge_commit_oid == api.model_info(model).sha
    [reference] = api.list_repo_refs(model, include_pull_requests=True).pull_requests
    assert reference.ref == "refs/pr/1"


def test_a_pull_request_that_conflicts_says_where_and_is_not_merged(api, model):
    api.upload_file(path_or_fileobj=b"base", path_in_repo="a.txt", repo_id=model)
    api.upload_file(path_or_fileobj=b"pull", path_in_repo="a.txt", repo_id=model, create_pr=True)
    api.upload_file(path_or_fileobj=b"main", path_in_repo="a.txt", repo_id=model)
    assert api.get_discussion_details(model, 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError) as refused:
        api.merge_pull_request(model, 1)
    assert refused.value.response.status_code == 409
    assert api.get_discussion_details(model, 1).status == "open"


def test_an_empty_pull_request_takes_commits(api, model):
    pull = api.create_pull_request(model, title="A draft")
    assert pull.status == "draft" and pull.git_reference == "refs/pr/1"
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=model, revision=pull.git_reference)
    api.change_discussion_status(model, 1, "open")
    api.merge_pull_request(model, 1)
    assert "x.txt" in api.list_repo_files(model)


def test_strangers_cannot_commit_to_a_pull_request(api, other, model):
    api.create_pull_request(model, title="A draft")
    with pytest.raises(HfHubHTTPError) as refused:
        other.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=model, revision="refs/pr/1")
    assert refused.value.response.status_code == 403


def test_a_discussion_is_talked_in_renamed_closed_and_reopened(api, other, model):
    talk = other.create_discussion(model, title="A question", description="How?")
    answer = api.comment_discussion(model, talk.num, "So.")
    edited = api.edit_discussion_comment(model, talk.num, answer.id, "Like so.")
    assert edited.edited and edited.content == "Like so."
    with pytest.raises(HfHubHTTPError):
        other.edit_discussion_comment(model, talk.num, answer.id, "Never.")
    api.rename_discussion(model, talk.num, "A good question")
    api.change_discussion_status(model, talk.num, "closed", comment="Done")
    details = api.get_discussion_details(model, talk.num)
    assert (details.title, details.status, details.is_pull_request) == ("A good question", "closed", False)
    assert [event.type for event in details.events] == [
        "comment",
        "comment",
        "title-change",
        "comment",
        "status-change",
    ]
    assert [found.num for found in api.get_repo_discussions(model, discussion_status="open")] == []
    with pytest.warns(UserWarning):
        hidden = api.hide_discussion_comment(model, talk.num, answer.id)
    assert hidden.hidden


def test_many_discussions_come_in_pages(api, model):
    for number in range(55):
        api.create_discussion(model, title=f"Number {number}")
    assert [talk.num for talk in api.get_repo_discussions(model)] == list(range(55, 0, -1))


def test_only_an_open_pull_request_is_merged(api, model):
    api.create_discussion(model, title="Just talk")
    with pytest.raises(BadRequestError):
        api.merge_pull_request(model, 1)
