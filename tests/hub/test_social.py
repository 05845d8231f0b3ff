"""Likes, gates, collections and Space settings, through the real client."""

import pytest
import requests
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError


def _post(api, path, **body):
    answer = requests.post(
        f"{api.endpoint}{path}", json=body, headers={"Authorization": f"Bearer {api.token}"}, timeout=10
    )
    answer.raise_for_status()
    return answer.json()


def test_likes_are_counted_once_a_user_and_taken_back(api, other, model):
    for client in (api, other, other):
        _post(client, f"/api/models/{model}/like")
    assert api.model_info(model).likes == 2
    assert {user.username for user in api.list_repo_likers(model)} == {"demo", "other"}
    assert model in api.list_liked_repos("other").models
    other.unlike(model)
    assert api.model_info(model).likes == 1


def test_access_to_a_gated_repository_is_asked_for_granted_and_taken(api, other, model):
    api.update_repo_settings(model, gated="manual")
    with pytest.raises(GatedRepoError):
        other.auth_check(model)
    _post(other, f"/api/models/{model}/ask-access")
    assert [request.username for request in api.list_pending_access_requests(model)] == ["other"]
    with pytest.raises(HfHubHTTPError):
        other.accept_access_request(model, "other")
    api.accept_access_request(model, "other")
    other.auth_check(model)
    assert [request.username for request in api.list_accepted_access_requests(model)] == ["other"]
    api.reject_access_request(model, "other", rejection_reason="no")
    with pytest.raises(GatedRepoError):
        other.auth_check(model)
    api.accept_access_request(model, "other")
    api.update_repo_settings(model, gated=False)
    assert api.model_info(model).gated is False


def test_a_collection_holds_models_and_datasets_in_order(api, other, model):
    api.create_repo(model, repo_type="dataset")
    shelf = api.create_collection(f"About {model.split('/')[1]}", description="Both", private=True)
    api.add_collection_item(shelf.slug, model, "model", note="The model")
    shelf = api.add_collection_item(shelf.slug, model, "dataset")
    assert [(item.item_id, item.item_type, item.note) for item in shelf.items] == [
        (model, "model", "The model"),
        (model, "dataset", None),
    ]
    with pytest.raises(HfHubHTTPError):
        api.add_collection_item(shelf.slug, model, "dataset")
    api.add_collection_item(shelf.slug, model, "dataset", exists_ok=True)
    with pytest.raises(HfHubHTTPError):
        other.get_collection(shelf.slug)
    api.update_collection_item(shelf.slug, shelf.items[1].item_object_id, note="The data")
    assert api.update_collection_metadata(shelf.slug, title="New title", private=False).title == "New title"
    assert [item.note for item in other.get_collection(shelf.slug).items] == ["The model", "The data"]
    assert shelf.slug in [found.slug for found in other.list_collections(owner="demo", item=f"models/{model}")]
    with pytest.raises(HfHubHTTPError):
        other.delete_collection(shelf.slug)
    api.delete_collection_item(shelf.slug, shelf.items[0].item_object_id)
    assert [item.item_type for item in api.get_collection(shelf.slug).items] == ["dataset"]
    api.delete_collection(shelf.slug)
    with pytest.raises(HfHubHTTPError):
        api.get_collection(shelf.slug)


def test_a_collection_of_the_same_title_is_found_again(api, model):
    first = api.create_collection(f"Same {model.split('/')[1]}")
    assert api.create_collection(first.title, exists_ok=True).slug == first.slug


@pytest.fixture
def space(api, repo_id):
    api.create_repo(repo_id, repo_type="space", space_sdk="gradio", space_variables=[{"key": "A", "value": "1"}])
    return repo_id


def test_a_space_keeps_variables_and_hides_secrets(api, other, hub, space):
    api.add_space_variable(space, "B", "2", description="two")
    api.add_space_secret(space, "TOKEN", "very secret")
    assert {key: item.value for key, item in api.get_space_variables(space).items()} == {"A": "1", "B": "2"}
    answer = requests.get(
        f"{hub.url}/api/spaces/{space}/secrets", headers={"Authorization": f"Bearer {api.token}"}, timeout=10
    )
    assert "TOKEN" in answer.json() and "very secret" not in answer.text
    api.delete_space_variable(space, "A")
    assert set(api.get_space_variables(space)) == {"B"}
    with pytest.raises(HfHubHTTPError):
        other.get_space_variables(space)


def test_a_space_declares_its_hardware_its_sleep_and_its_stage(api, space):
    assert api.get_space_runtime(space).stage == "NO_APP_FILE"
    api.upload_file(path_or_fileobj=b"x = 1", path_in_repo="app.py", repo_id=space, repo_type="space")
    assert api.get_space_runtime(space).stage == "STOPPED"
    assert api.request_space_hardware(space, "t4-small", sleep_time=600).requested_hardware == "t4-small"
    assert api.set_space_sleep_time(space, 900).sleep_time == 900
    assert api.pause_space(space).stage == "PAUSED"
    assert api.restart_space(space).stage == "STOPPED"
    assert api.space_info(space).runtime.stage == "STOPPED"
    with pytest.raises(HfHubHTTPError):
        api.request_space_hardware(space, "no-such-hardware")


def test_a_duplicated_space_has_the_files_and_variables_of_its_source(api, space):
    api.upload_file(path_or_fileobj=b"x = 1", path_in_repo="app.py", repo_id=space, repo_type="space")
    api.upload_file(path_or_fileobj=b"\0" * 5000, path_in_repo="w.bin", repo_id=space, repo_type="space")
    if hasattr(api, "duplicate_space"):
        copy = api.duplicate_space(space, space + "-copy", private=True).repo_id
    else:
        copy = api.duplicate_repo(space, space + "-copy", repo_type="space", private=True).repo_id
    assert api.list_repo_files(copy, repo_type="space") == api.list_repo_files(space, repo_type="space")
    assert set(api.get_space_variables(copy)) == {"A"}
    assert api.space_info(copy).private is True
