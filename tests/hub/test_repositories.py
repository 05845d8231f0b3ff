"""Creating, deleting, moving and hiding repositories, through the real client."""

import pytest
import requests
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hfembed.localhub import LocalHub, add_fine_grained_token


def test_whoami_tells_the_user_the_organisations_and_the_role_of_the_token(api):
    me = api.whoami()
    assert (me["name"], me["type"], [org["name"] for org in me["orgs"]]) == ("demo", "user", ["acme"])
    assert me["auth"]["accessToken"]["role"] == "write"


def test_a_token_that_is_not_known_is_refused(hub):
    with pytest.raises(Exception, match="Invalid user token"):
        HfApi(endpoint=hub.url, token="hf_wrong").whoami()


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_repository_of_each_kind_is_created_and_deleted(api, repo_id, kind):
    sdk = "gradio" if kind == "space" else None
    url = api.create_repo(repo_id, repo_type=kind, space_sdk=sdk)
    assert (url.repo_id, url.repo_type) == (repo_id, kind)
    assert api.repo_exists(repo_id, repo_type=kind)
    assert ".gitattributes" in api.list_repo_files(repo_id, repo_type=kind)
    api.delete_repo(repo_id, repo_type=kind)
    assert not api.repo_exists(repo_id, repo_type=kind)


def test_creating_twice_is_a_conflict_unless_that_is_fine(api, model):
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_repo(model)
    assert refused.value.response.status_code == 409
    assert api.create_repo(model, exist_ok=True).repo_id == model


def test_the_same_name_may_stand_for_a_model_and_a_dataset(api, model):
    api.create_repo(model, repo_type="dataset")
    assert api.repo_exists(model) and api.repo_exists(model, repo_type="dataset")


@pytest.mark.parametrize("name", ["demo/has--two", "demo/a..b", "demo/x.git", "demo/" + "x" * 97])
def test_names_that_the_hub_refuses_are_refused(hub, token, name):
    body = {"name": name.split("/")[1], "organization": "demo", "type": "model"}
    answer = requests.post(
        f"{hub.url}/api/repos/create", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=10
    )
    assert answer.status_code == 400


def test_an_organisation_takes_its_members_repositories_and_nobody_elses(api, other, repo_id):
    name = repo_id.replace("demo/", "acme/")
    assert api.create_repo(name).repo_id == name
    with pytest.raises(HfHubHTTPError) as refused:
        other.create_repo(name + "-2")
    assert refused.value.response.status_code == 403


def test_a_private_repository_does_not_exist_for_others(api, other, anonymous, repo_id):
    api.create_repo(repo_id, private=True)
    assert api.model_info(repo_id).private is True
    for stranger in (other, anonymous):
        with pytest.raises(RepositoryNotFoundError):
            stranger.model_info(repo_id)
    api.update_repo_settings(repo_id, private=False)
    assert anonymous.model_info(repo_id).private is False


def test_a_moved_repository_keeps_its_files_and_answers_to_both_names(api, model):
    api.upload_file(path_or_fileobj=b"hello", path_in_repo="a.txt", repo_id=model)
    api.move_repo(model, model + "-new")
    assert api.model_info(model + "-new").id == model + "-new"
    assert api.model_info(model).id == model + "-new"
    assert api.file_exists(model + "-new", "a.txt")


def test_a_read_token_reads_and_changes_nothing(hub: LocalHub, api, model):
    reading = HfApi(endpoint=hub.url, token=hub.add_user("demo", role="read"))
    assert reading.model_info(model).id == model
    with pytest.raises(HfHubHTTPError) as refused:
        reading.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=model)
    assert refused.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError):
        reading.delete_repo(model)
    assert api.repo_exists(model)


def test_a_fine_grained_token_writes_only_where_it_may(hub, api, model):
    narrow = HfApi(endpoint=hub.url, token=add_fine_grained_token(hub.root, "demo", [model]))
    narrow.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=model)
    with pytest.raises(HfHubHTTPError) as refused:
        narrow.create_repo(model + "-2")
    assert refused.value.response.status_code == 403
    assert narrow.whoami()["auth"]["accessToken"]["role"] == "fineGrained"


def test_deleting_what_is_not_there_says_so_unless_that_is_fine(api, repo_id):
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(repo_id)
    api.delete_repo(repo_id, missing_ok=True)
