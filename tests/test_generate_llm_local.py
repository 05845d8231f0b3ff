"""Queries by a language model on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from llm_process import ONLY_KEYWORDS, only, write

from hfembed.errors import HfembedError
from hfembed.recipe import Sampling
from hfembed.run import LAYOUT

# A model on this machine


@pytest.fixture(scope="module")
def tiny_writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a causal language model with random weights and a byte vocabulary."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("writer")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={letter: at for at, letter in enumerate([*letters, "<end>"])}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=257, n_positions=4096, n_embd=16, n_layer=1, n_head=2, bos_token_id=256, eos_token_id=256
    )
    GPT2LMHeadModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


def local_settings(model: Path, *more: str) -> list[str]:
    return ["generate.method=model", f"generate.llm.model={model}", "generate.llm.sampling.max_tokens=24", *more]


def test_a_local_model_is_asked_in_batches_and_its_rubbish_dropped_with_a_reason(tiny_writer: Path, tmp_path: Path):
    settings = local_settings(tiny_writer, *ONLY_KEYWORDS, "generate.llm.patience.max_failures=1", only(keyword=2))
    queries, report = write(tmp_path, [*settings, "generate.llm.batch_size=3"], count=4)
    assert (
        queries == [] and sum(count for reason, count in report.dropped.items() if reason.startswith("no_answer")) == 4
    )
    assert report.facts["requests"] == 16 and report.facts["tokens_out"] > 16 and report.facts["cost"] is None
    again, second = write(tmp_path, settings, count=4)
    assert again == [] and second.facts["requests"] == 0 and second.dropped == report.dropped


def test_what_a_local_model_says_does_not_depend_on_its_batch(tiny_writer: Path, tmp_path: Path):
    texts = []
    for size in (1, 4):
        settings = local_settings(tiny_writer, *ONLY_KEYWORDS, "generate.llm.patience.max_failures=1", only(keyword=2))
        write(tmp_path / str(size), [*settings, f"generate.llm.batch_size={size}"], count=4)
        lines = (tmp_path / str(size) / LAYOUT.answers).read_text(encoding="utf-8").splitlines()
        texts.append({(row["key"], row["text"]) for row in map(json.loads, lines)})
    assert texts[0] == texts[1] and len(texts[0]) == 16  # four tries of four records, each with a chance of its own


def test_a_prompt_that_does_not_fit_a_local_model_is_dropped(tiny_writer: Path, tmp_path: Path):
    settings = local_settings(tiny_writer, *ONLY_KEYWORDS, "generate.llm.sampling.max_tokens=20000")
    _, report = write(tmp_path, settings, count=2)
    assert report.dropped == {"no_answer_too_long": 2}


def test_drawing_row_by_row_follows_the_model():
    import torch

    from hfembed.generate.llm.local import draw_rows

    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(4_000, 1)
    drawn = draw_rows(list(range(4_000)), Sampling(temperature=1.0, top_p=0.9))(
        torch.zeros(4_000, 1).long(), scores
    ).argmax(1)
    shares = torch.bincount(drawn, minlength=4) / 4_000
    assert shares[3] == 0 and shares[:3].tolist() == pytest.approx([0.526, 0.316, 0.158], abs=0.03)


def test_a_model_that_is_no_language_model_is_refused(tiny_model: Path, tmp_path: Path):
    with pytest.raises(HfembedError):
        write(tmp_path, local_settings(tiny_model))
