"""Tiny causal language models as their makers publish them: a config, weights and a tokenizer, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from hfembed.resources import sample_folder

END = "<|endoftext|>"
POSITIONS = 96


def make_decoder(folder: Path, kind: str) -> Path:
    """Write a language model of a few thousand random weights: gpt_neox, llama, gpt2."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
    from tokenizers.models import BPE
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        GPTNeoXTokenizerFast,
        LlamaConfig,
        LlamaForCausalLM,
        LlamaTokenizerFast,
        PreTrainedTokenizerFast,
    )

    texts = [json.loads(line)["text"] for line in (sample_folder() / "corpus.jsonl").open(encoding="utf-8")]
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<unk>", "<s>", END]
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=600, special_tokens=specials, initial_alphabet=alphabet)
    )
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": END}
    vocabulary = tokenizer.get_vocab_size()
    small = {"vocab_size": vocabulary, "bos_token_id": 1, "eos_token_id": 2}
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    if kind == "gpt_neox":
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**small, **layers, max_position_embeddings=POSITIONS))
        fast = GPTNeoXTokenizerFast(tokenizer_object=tokenizer, **names)
    elif kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**small, **layers, max_position_embeddings=POSITIONS))
        fast = LlamaTokenizerFast(tokenizer_object=tokenizer, **names)
    else:
        # One that adds positions, and whose tokenizer begins a text in its own way and never ends it.
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
        model = GPT2LMHeadModel(GPT2Config(**small, n_positions=POSITIONS, n_embd=32, n_layer=2, n_head=2))
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    model.save_pretrained(folder, safe_serialization=True)
    fast.save_pretrained(folder)
    return folder
