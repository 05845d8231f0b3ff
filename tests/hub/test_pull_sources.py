"""Corpora that stand on the Hub: datasets with configs and splits, private ones, and files named by hf:// paths."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = [{"_id": f"d{n}", "title": f"Part {n}", "text": f"Part number {n} of the machine wears out."} for n in range(12)]

PULL = """
    import json, sys
    from pathlib import Path
    from hfembed import pipeline
    from hfembed.errors import HfembedError
    from hfembed.recipe import make_recipe
    from hfembed.run import Run
    import pyarrow.parquet as pq

    run = Run(Path("run-of-a-test"))
    try:
        settings = sys.argv[2:]
        pipeline.run(make_recipe(settings=settings, options={"corpus": sys.argv[1]}), run, until="pull")
        manifest = run.manifests("corpus")["pull"]
        rows = pq.read_table("run-of-a-test/corpus/documents.parquet").to_pylist()
        print(json.dumps({"ids": [row["id"] for row in rows], "source": manifest.sources["corpus"]}))
    except HfembedError as error:
        print(json.dumps({"type": type(error).__name__, "message": error.message, "hint": error.hint}))
"""


def parquet(rows: list[dict[str, str]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def upload(api, repo_id: str, files: dict[str, bytes]) -> str:
    for path, content in files.items():
        api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo_id, repo_type="dataset")
    return str(api.dataset_info(repo_id).sha)


@pytest.fixture
def dataset(api, repo_id):
    """A private dataset with two configs, one of them with two splits; return its name and commit."""
    api.create_repo(repo_id, repo_type="dataset", private=True)
    card = """---
configs:
- config_name: parts
  data_files:
  - {split: first, path: parts/first.parquet}
  - {split: second, path: parts/second.parquet}
- config_name: extra
  data_files: extra/*.parquet
---
"""
    commit = upload(
        api,
        repo_id,
        {
            "README.md": card.encode(),
            "parts/first.parquet": parquet(ROWS[:6]),
            "parts/second.parquet": parquet(ROWS),
            "extra/a.parquet": parquet(ROWS[:11]),
        },
    )
    return repo_id, commit


@pytest.fixture
def pull(in_process):
    """Pull in another process as demo; return what came of it."""
    return lambda corpus, *settings: json.loads(in_process(PULL, corpus, *settings).splitlines()[-1])


def test_a_config_and_a_split_of_a_private_dataset_are_streamed(dataset, pull):
    name, commit = dataset
    answer = pull(f"{name}:parts", "pull.split=second")
    assert answer["ids"] == [row["_id"] for row in ROWS]
    assert (answer["source"]["repo"], answer["source"]["revision"]) == (name, commit)


def test_a_config_with_one_split_needs_no_split(dataset, pull):
    assert len(pull(f"{dataset[0]}:extra")["ids"]) == 11


def test_a_missing_config_is_answered_with_those_that_are_there(dataset, pull):
    for corpus in (dataset[0], f"{dataset[0]}:prats"):
        answer = pull(corpus)
        assert answer["type"] == "InputError" and "parts" in answer["message"] and "extra" in answer["message"]
        assert answer["hint"].startswith(f"Name one: --corpus {dataset[0]}:")


def test_a_missing_split_is_answered_with_those_that_are_there(dataset, pull):
    answer = pull(f"{dataset[0]}:parts", "pull.split=third")
    assert answer["type"] == "InputError" and "it has first, second" in answer["message"]
    assert answer["hint"] == "--set pull.split=first"


def test_an_older_revision_is_read_as_it_was(dataset, pull, api):
    name, commit = dataset
    upload(
        api,
        name,
        {
            "extra/b.parquet": parquet(
                [{**row, "_id": f"x{row['_id']}", "text": row["text"] + " Late."} for row in ROWS]
            )
        },
    )
    assert len(pull(f"{name}:extra@{commit}")["ids"]) == 11


@pytest.mark.parametrize(
    ("path", "ids"),
    [("/parts/*.parquet", 0), ("/parts/second.parquet", 12), ("/extra", 11), ("/**/a.parquet", 11)],
)
def test_files_are_named_by_a_path_a_folder_or_a_pattern(dataset, pull, path: str, ids: int):
    name, commit = dataset
    answer = pull(f"hf://datasets/{name}@{commit}{path}")
    if ids == 0:  # both files hold d0 to d5
        assert answer["type"] == "CorpusError" and "'d0' stands twice" in answer["message"]
        return
    assert len(answer["ids"]) == ids and answer["source"]["revision"] == commit


def test_a_path_to_nothing_and_one_to_a_form_that_is_not_read_are_refused(dataset, pull):
    name, _ = dataset
    for path in ("nowhere/*.parquet", "nowhere.parquet"):
        answer = pull(f"hf://datasets/{name}/{path}")
        assert answer["type"] == "InputError" and f"has no file '{path}'" in answer["message"]
    answer = pull(f"hf://datasets/{name}/.gitattributes")
    assert answer["type"] == "CorpusError" and ".gitattributes" in answer["message"]


def test_texts_on_the_hub_are_read_too(api, repo_id, pull):
    api.create_repo(repo_id, repo_type="dataset")
    upload(api, repo_id, {f"notes/{n}.md": f"# Note {n}\nIt says that part {n} wears out.".encode() for n in range(10)})
    assert pull(f"hf://datasets/{repo_id}/notes")["ids"] == [f"notes/{n}.md" for n in range(10)]


def test_a_dataset_of_nobody_is_answered_in_one_sentence(pull):
    for corpus in ("demo/gone-away", "hf://datasets/demo/gone-away/*.parquet"):
        answer = pull(corpus)
        assert answer["type"] == "HubError" and "does not exist" in answer["message"]


def test_an_address_without_a_dataset_is_answered_with_an_example(pull):
    assert "hf://datasets/org/name/" in pull("hf://datasets/only-one-part")["hint"]
