"""Everything that stands on the client: git, HfFileSystem, datasets, sentence-transformers, the hf command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfFileSystem


def _git(*arguments, lfs=False, **options):
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_LFS_SKIP_SMUDGE": "0" if lfs else "1",
    }
    return subprocess.run(["git", *arguments], env=environment, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_clones_a_public_repository_and_fetches_what_is_new(hub, api, model, tmp_path):
    api.create_commit(model, [CommitOperationAdd(f"f{n}.txt", b"%d" % n) for n in range(50)], commit_message="fifty")
    api.create_branch(model, branch="side")
    copy = tmp_path / "copy"
    cloned = _git("clone", f"{hub.url}/{model}", str(copy))
    assert cloned.returncode == 0, cloned.stderr
    assert (copy / "f49.txt").read_text() == "49"
    assert _git("rev-parse", "HEAD", cwd=copy).stdout.strip() == api.model_info(model).sha
    assert _git("fsck", "--strict", cwd=copy).returncode == 0
    api.upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", repo_id=model)
    assert _git("pull", cwd=copy).returncode == 0
    assert (copy / "new.txt").read_text() == "new"
    shallow = _git("clone", "--depth", "1", f"{hub.url}/{model}.git", str(tmp_path / "shallow"))
    assert shallow.returncode == 0, shallow.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_needs_a_token_for_a_private_repository(hub, api, token, repo_id, tmp_path):
    api.create_repo(repo_id, private=True, repo_type="dataset")
    address = f"{hub.url}/datasets/{repo_id}"
    assert _git("clone", address, str(tmp_path / "refused")).returncode != 0
    signed = address.replace("http://", f"http://demo:{token}@")
    assert _git("clone", signed, str(tmp_path / "copy")).returncode == 0


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_push_is_refused_in_words_that_say_what_to_do_instead(hub, model, token, tmp_path):
    copy = tmp_path / "copy"
    address = f"{hub.url}/{model}".replace("http://", f"http://demo:{token}@")
    assert _git("clone", address, str(copy)).returncode == 0
    (copy / "new.txt").write_text("new")
    _git("add", "new.txt", cwd=copy)
    who = ("-c", "user.name=demo", "-c", "user.email=demo@localhost")
    assert _git(*who, "commit", "-m", "new", cwd=copy).returncode == 0
    pushed = _git("push", cwd=copy)
    assert pushed.returncode != 0
    assert "git push is not served here" in pushed.stderr and f"hf upload {model}" in pushed.stderr


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
@pytest.mark.parametrize("private", [False, True])
def test_git_lfs_fetches_the_large_files_of_a_clone(hub, api, token, repo_id, tmp_path, private):
    content = os.urandom(300_000)
    api.create_repo(repo_id, private=private)
    api.upload_file(path_or_fileobj=content, path_in_repo="weights/a.bin", repo_id=repo_id)
    address = f"{hub.url}/{repo_id}"
    if private:
        address = address.replace("http://", f"http://demo:{token}@")
    filters = {"clean": "git-lfs clean -- %f", "smudge": "git-lfs smudge -- %f", "process": "git-lfs filter-process"}
    options = [part for name, command in filters.items() for part in ("-c", f"filter.lfs.{name}={command}")]
    cloned = _git(*options, "-c", "filter.lfs.required=true", "clone", address, str(tmp_path / "copy"), lfs=True)
    assert cloned.returncode == 0, cloned.stderr
    assert (tmp_path / "copy/weights/a.bin").read_bytes() == content
    # and one that was cloned without them fetches them later
    assert _git("clone", address, str(tmp_path / "thin")).returncode == 0
    assert (tmp_path / "thin/weights/a.bin").read_bytes().startswith(b"version https://git-lfs")
    pulled = _git("lfs", "pull", cwd=tmp_path / "thin", lfs=True)
    assert pulled.returncode == 0, pulled.stderr
    assert (tmp_path / "thin/weights/a.bin").read_bytes() == content


def test_a_file_system_lists_reads_writes_and_removes(api, model):
    files = HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
    with files.open(f"{model}/data/a.txt", "w") as stream:
        stream.write("hello\nworld\n")
    with files.open(f"{model}/big.bin", "wb") as stream:
        stream.write(bytes(range(256)) * 2000)
    files.invalidate_cache()
    assert files.ls(f"{model}/data", detail=False) == [f"{model}/data/a.txt"]
    assert files.glob(f"{model}/**/*.txt") == [f"{model}/data/a.txt"]
    with files.open(f"{model}/big.bin", "rb", block_size=4096) as stream:
        stream.seek(300_000)
        assert stream.read(4) == (bytes(range(256)) * 2000)[300_000:300_004]
    assert files.read_text(f"{model}/data/a.txt") == "hello\nworld\n"
    files.rm(f"{model}/data/a.txt")
    files.invalidate_cache()
    assert not files.exists(f"{model}/data/a.txt")


def test_a_dataset_is_pushed_loaded_and_streamed(in_process, repo_id):
    pytest.importorskip("datasets")
    printed = in_process(
        """
        import sys
        from datasets import Dataset, DatasetDict, load_dataset, get_dataset_config_names
        name = sys.argv[1]
        rows = Dataset.from_dict({"id": list(range(200)), "text": [f"row {n}" for n in range(200)]})
        rows.push_to_hub(name, config_name="corpus", private=True)
        DatasetDict({"train": rows, "test": rows.select(range(3))}).push_to_hub(name, config_name="triplets")
        assert get_dataset_config_names(name) == ["corpus", "triplets"]
        loaded = load_dataset(name, "triplets")
        assert loaded["train"][199]["text"] == "row 199" and len(loaded["test"]) == 3
        first = next(iter(load_dataset(name, "corpus", split="train", streaming=True)))
        direct = load_dataset("parquet", data_files=f"hf://datasets/{name}/corpus/*.parquet", split="train")
        assert len(direct) == 200
        print(first["text"])
        """,
        repo_id,
    )
    assert printed.splitlines()[-1] == "row 0"


def test_a_model_is_pushed_and_loaded_by_sentence_transformers_transformers_and_mteb(in_process, repo_id):
    pytest.importorskip("sentence_transformers")
    printed = in_process(
        """
        import sys
        from pathlib import Path
        from sentence_transformers import SentenceTransformer, models
        from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]
        Path("vocab.txt").write_text("\\n".join(words))
        config = BertConfig(len(words), 16, 1, 2, 32)
        BertModel(config).save_pretrained("plain")
        BertTokenizerFast("vocab.txt").save_pretrained("plain")
        transformer = models.Transformer("plain")
        made = SentenceTransformer(modules=[transformer, models.Pooling(16), models.Normalize()])
        made.push_to_hub(sys.argv[1], private=True)
        loaded = SentenceTransformer(sys.argv[1])
        difference = abs(made.encode("hello world") - loaded.encode("hello world")).max()
        assert AutoConfig.from_pretrained(sys.argv[1]).hidden_size == 16
        assert AutoTokenizer.from_pretrained(sys.argv[1])("hello")["input_ids"] == [2, 5, 3]
        AutoModel.from_pretrained(sys.argv[1])
        from importlib.util import find_spec
        if find_spec("mteb"):
            import mteb
            assert abs(mteb.get_model(sys.argv[1]).model.encode("hello world") - made.encode("hello world")).max() == 0
        print(difference)
        """,
        repo_id,
    )
    assert float(printed.splitlines()[-1]) == 0.0


def test_the_hf_command_uploads_downloads_and_says_who_one_is(user_environment, model, tmp_path):
    command = Path(sys.executable).with_name("hf")
    (tmp_path / "up").mkdir()
    (tmp_path / "up/a.bin").write_bytes(os.urandom(200_000))

    def hf(*arguments):
        done = subprocess.run(
            [str(command), *arguments], env=user_environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "demo" in hf("auth", "whoami")
    hf("upload", model, "up")
    hf("download", model, "--local-dir", "down")
    assert (tmp_path / "down/a.bin").read_bytes() == (tmp_path / "up/a.bin").read_bytes()


@pytest.mark.slow  # the client itself waits ten seconds between its steps
def test_a_large_folder_goes_up_in_pieces(api, model, tmp_path):
    (tmp_path / "up").mkdir()
    for number in range(8):
        (tmp_path / f"up/{number}.bin").write_bytes(os.urandom(20_000))
    if not hasattr(api, "upload_large_folder"):
        pytest.skip("this client's upload_folder does it")
    api.upload_large_folder(repo_id=model, folder_path=tmp_path / "up", repo_type="model", print_report=False)
    assert {f"{number}.bin" for number in range(8)} <= set(api.list_repo_files(model))


def test_hf_xet_sends_chunks_that_come_back_as_the_file(hub, api, model, tmp_path):
    hf_xet = pytest.importorskip("hf_xet")
    import requests

    if not hasattr(hf_xet, "upload_files"):
        pytest.skip("this hf_xet has another interface; the client itself uses it in the other tests")
    content = (b"one repeating line of text\n" * 40_000) + os.urandom(300_000)
    (tmp_path / "file.bin").write_bytes(content)
    facts = requests.get(
        f"{hub.url}/api/models/{model}/xet-write-token/main",
        headers={"Authorization": f"Bearer {api.token}"},
        timeout=10,
    ).json()
    token = (facts["accessToken"], facts["exp"])
    hf_xet.upload_files([str(tmp_path / "file.bin")], facts["casUrl"], token, lambda: token, None, "model")
    operation = CommitOperationAdd("file.bin", tmp_path / "file.bin")
    operation._upload_mode, operation._is_uploaded, operation._should_ignore = "lfs", True, False
    api.create_commit(model, [operation], commit_message="by xet")
    found = api.hf_hub_download(model, "file.bin", cache_dir=tmp_path / "cache")
    assert Path(found).read_bytes() == content
