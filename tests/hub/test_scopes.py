"""What an application may do for its user: what the scopes of its token cover, and nothing else."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hfembed.localhub import add_oauth_application, route_public_address

CALLBACK = "http://127.0.0.1:9/login/callback"


@pytest.fixture(autouse=True)
def routed(hub):
    with route_public_address(hub.url):
        yield


@pytest.fixture(scope="module")
def application(hub):
    pytest.importorskip("cryptography")
    return add_oauth_application(hub.root, "A scoped app", [CALLBACK])


@pytest.fixture
def granted(hub, token, application):
    """Let demo allow the application some scopes; returns its client, which acts for demo."""

    def grant(*scopes, app=application):
        browser = requests.Session()
        browser.post(f"{hub.url}/login", data={"token": token}, timeout=10)
        asked = {
            "response_type": "code",
            "client_id": app[0],
            "redirect_uri": CALLBACK,
            "scope": " ".join(("openid", "profile", *scopes)),
        }
        consent = browser.get(f"{hub.url}/oauth/authorize", params=asked, timeout=10)
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', consent.text))
        back = browser.post(
            f"{hub.url}/oauth/authorize",
            data={**fields, "decision": "allow"},
            allow_redirects=False,
            timeout=10,
        )
        code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        told = requests.post(f"{hub.url}/oauth/token", data=form, auth=app, timeout=10).json()
        return HfApi(endpoint=hub.url, token=told["access_token"])

    return grant


def _refused(scope, call, *arguments, **options):
    with pytest.raises(HfHubHTTPError) as refused:
        call(*arguments, **options)
    assert refused.value.response.status_code == 403
    assert scope in refused.value.response.text


@pytest.fixture
def private(api, repo_id):
    name = repo_id + "-private"
    api.create_repo(name, private=True)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="a.txt", repo_id=name)
    return name


def test_profile_alone_reads_what_is_public_and_nothing_else(granted, model, private):
    app = granted()
    assert app.whoami()["name"] == "demo"
    assert app.model_info(model).id == model
    _refused("read-repos", app.model_info, private)
    assert private not in [found.id for found in app.list_models(author="demo")]


def test_read_repos_reads_the_private_ones_and_changes_none(granted, private, tmp_path):
    app = granted("read-repos")
    assert app.model_info(private).private is True
    assert Path(app.hf_hub_download(private, "a.txt", cache_dir=tmp_path)).read_text() == "mine"
    with pytest.raises(HfHubHTTPError) as refused:
        app.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=private)
    assert refused.value.response.status_code == 403


def test_contribute_repos_makes_repositories_and_touches_those_alone(granted, api, repo_id, model, private):
    app = granted("contribute-repos")
    app.create_repo(repo_id + "-made", private=True)
    app.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo_id + "-made")
    # a later sign-in of the same application knows what it made
    again = granted("contribute-repos")
    assert "x.txt" in again.list_repo_files(repo_id + "-made")
    again.update_repo_settings(repo_id + "-made", private=False)
    _refused("write-repos", again.upload_file, path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=model)
    _refused("read-repos", again.model_info, private)
    _refused("write-repos", again.delete_repo, model)
    again.delete_repo(repo_id + "-made")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(repo_id + "-made")


def test_another_application_has_nothing_of_what_the_first_one_made(hub, granted, repo_id):
    granted("contribute-repos").create_repo(repo_id + "-first", private=True)
    second = add_oauth_application(hub.root, "Another app", [CALLBACK])
    _refused("read-repos", granted("contribute-repos", app=second).model_info, repo_id + "-first")


def test_write_repos_changes_content_but_neither_makes_nor_deletes(granted, repo_id, model, private):
    app = granted("write-repos")
    app.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=private)
    app.create_branch(model, branch="side")
    _refused("manage-repos", app.create_repo, repo_id + "-new")
    _refused("manage-repos", app.delete_repo, model)
    _refused("manage-repos", app.update_repo_settings, model, private=True)


def test_manage_repos_does_all_of_it(granted, repo_id):
    app = granted("manage-repos")
    app.create_repo(repo_id + "-new", private=True)
    app.update_repo_settings(repo_id + "-new", private=False)
    app.move_repo(repo_id + "-new", repo_id + "-moved")
    app.delete_repo(repo_id + "-moved")


def test_jobs_runs_jobs_and_writes_no_repository(granted, model):
    app = granted("jobs")
    job = app.run_job(image="python:3.12", command=["true"], namespace="demo")
    assert job.id in [found.id for found in app.list_jobs(namespace="demo")]
    _refused("write-repos", app.upload_file, path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=model)
    app = granted("write-repos")
    _refused("jobs", app.run_job, image="python:3.12", command=["true"], namespace="demo")
    with pytest.raises(Exception, match="403"):
        app.inspect_job(job_id=job.id, namespace="demo")


def test_write_discussions_opens_pull_requests_but_does_not_merge(granted, model):
    app = granted("write-discussions")
    pull = app.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=model, create_pr=True)
    num = int(pull.pr_num)
    app.comment_discussion(model, num, "please")
    _refused("write-repos", app.merge_pull_request, model, num)
    _refused("write-discussions", granted("jobs").create_discussion, model, "A title")


def test_collections_need_their_own_scope(granted):
    _refused("write-collections", granted("manage-repos").create_collection, "A shelf of an app", namespace="demo")
    app = granted("write-collections")
    shelf = app.create_collection("A shelf of an app", namespace="demo", private=True)
    _refused("read-collections", granted("jobs").get_collection, shelf.slug)
    app.delete_collection(shelf.slug)


def test_a_gated_repository_needs_the_scope_for_it(granted, other, api, hub):
    name = "other/gated-scopes"
    other.create_repo(name, exist_ok=True)
    other.update_repo_settings(name, gated="auto")
    other.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=name)
    requests.post(f"{hub.url}/{name}/ask-access", headers={"Authorization": f"Bearer {api.token}"}, timeout=10)
    api.auth_check(name)
    granted("gated-repos").auth_check(name)
    with pytest.raises(HfHubHTTPError):
        granted("read-repos").auth_check(name)
