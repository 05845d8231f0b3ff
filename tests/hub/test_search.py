"""Listing and searching, through the real client."""

import pytest
from huggingface_hub.errors import BadRequestError


@pytest.fixture
def shelf(api, hub, token, repo_id):
    """Five models of an organisation of their own; one is private."""
    owner = repo_id.replace("demo/", "")
    hub.add_user("demo", [owner])
    for number in range(5):
        card = f"---\nlicense: mit\ntags: [shelf, n{number}]\nlanguage: {'en' if number % 2 else 'de'}\n"
        card += "library_name: sentence-transformers\npipeline_tag: sentence-similarity\n---\n"
        name = f"{owner}/book-{number}"
        api.create_repo(name, private=number == 4)
        api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=name)
    return owner


def _names(models):
    return [model.id.split("/")[1] for model in models]


def test_models_are_found_by_author_tag_word_and_task(api, shelf):
    assert sorted(_names(api.list_models(author=shelf))) == [f"book-{number}" for number in range(5)]
    assert _names(api.list_models(author=shelf, filter="n2")) == ["book-2"]
    assert sorted(_names(api.list_models(author=shelf, filter=["shelf", "de"]))) == ["book-0", "book-2", "book-4"]
    assert _names(api.list_models(author=shelf, search="book-3")) == ["book-3"]
    assert len(list(api.list_models(author=shelf, pipeline_tag="sentence-similarity"))) == 5
    assert list(api.list_models(author=shelf, pipeline_tag="fill-mask")) == []
    assert list(api.list_models(author=shelf, filter="license:apache-2.0")) == []


def test_strangers_do_not_find_what_is_private(anonymous, shelf):
    assert sorted(_names(anonymous.list_models(author=shelf))) == [f"book-{number}" for number in range(4)]


def test_results_are_sorted_and_limited(api, shelf):
    by_age = _names(api.list_models(author=shelf, sort="created_at"))
    assert by_age == [f"book-{number}" for number in (4, 3, 2, 1, 0)]
    assert _names(api.list_models(author=shelf, sort="created_at", limit=2)) == ["book-4", "book-3"]
    with pytest.raises(BadRequestError):
        list(api.list_models(sort="nonsense"))


def test_pages_are_linked_and_hold_everything_once(hub, token, shelf):
    import requests

    url, seen = f"{hub.url}/api/models?author={shelf}&limit=2&sort=createdAt", []
    while url:
        answer = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert len(answer.json()) <= 2
        seen += [model["id"] for model in answer.json()]
        url = answer.links.get("next", {}).get("url")
    assert len(seen) == len(set(seen)) == 5


def test_a_search_tells_as_much_as_it_is_asked(api, shelf):
    [short] = api.list_models(author=shelf, filter="n1")
    assert short.siblings is None and short.card_data is None and "shelf" in short.tags
    [full] = api.list_models(author=shelf, filter="n1", full=True, cardData=True)
    assert {file.rfilename for file in full.siblings} == {".gitattributes", "README.md"}
    assert full.card_data.language == "en" and full.last_modified is not None
    [expanded] = api.list_models(author=shelf, filter="n1", expand=["downloads", "author"])
    assert expanded.author == shelf and expanded.tags is None


def test_datasets_and_spaces_are_found_too(api, repo_id):
    card = b"---\nlicense: mit\ntask_categories: [text-retrieval]\nlanguage: [en]\nsize_categories: [n<1K]\n---\n"
    api.create_repo(repo_id, repo_type="dataset")
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo_id, repo_type="dataset")
    name = repo_id.split("/")[1]
    for options in (
        {"search": name},
        {"search": name, "filter": "task_categories:text-retrieval"},
        {"search": name, "filter": "language:en"},
    ):
        assert [dataset.id for dataset in api.list_datasets(**options)] == [repo_id]
    assert [dataset.id for dataset in api.list_datasets(search=name, filter="language:fr")] == []
    api.create_repo(repo_id, repo_type="space", space_sdk="gradio")
    [space] = api.list_spaces(search=name)
    assert (space.id, space.sdk) == (repo_id, "gradio")
