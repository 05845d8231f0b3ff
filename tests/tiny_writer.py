"""A small causal language model made from a config, with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_writer(
    folder: Path, texts: Sequence[str], *, family: str = "llama", vocabulary: int = 600, width: int = 32,
    layers: int = 2, tokens: int = 256, chat: bool = False,
) -> Path:  # fmt: skip
    """Save a model with random weights; `family` is llama or neox."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import (
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    if chat:
        fast.chat_template = CHAT
    fast.save_pretrained(folder)
    shape = {
        "vocab_size": len(fast), "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4,
        "intermediate_size": 4 * width, "max_position_embeddings": tokens, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**shape)) if family == "neox" else LlamaForCausalLM(LlamaConfig(**shape))
    model.save_pretrained(folder, safe_serialization=True)
    return folder
