"""The generator itself: loaded to learn, with adapters or as a whole, and saved as a plain folder of transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfembed.errors import ModelError
from hfembed.generate.llm.local import load_language_model, most_tokens
from hfembed.hub import ModelSource
from hfembed.recipe import Lora
from hfembed.train.lora import lora_config

if TYPE_CHECKING:
    from peft import LoraConfig

# A prompt that is put together again from its parts may be a few tokens longer.
SPARE = 8
LEAST_PROMPT = 64


@dataclass(frozen=True)
class Learner:
    """A language model that learns, with its tokenizer and where it came from."""

    source: ModelSource
    tokenizer: Any
    model: Any

    @classmethod
    def load(cls, source: ModelSource) -> Learner:
        """Load a model in full precision: small steps would be lost in half of it."""
        tokenizer, model = load_language_model(source)
        if tokenizer.eos_token is None:
            raise ModelError(
                f"'{source.name}' has no token that ends a text, so a query would never end.", "Name another --base."
            )
        # Some tokenizers name more, as encoders of pairs want it; TRL hands on whatever they name.
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        return cls(source, tokenizer, model.float())

    def room_for_prompt(self, longest: int, query_tokens: int) -> int:
        """Return how many tokens of a prompt there is room for beside a query."""
        most = most_tokens(self.model)
        room = min(longest, most) - query_tokens - SPARE
        if room < LEAST_PROMPT:
            raise ModelError(
                f"'{self.source.name}' looks at {most:,} tokens and is shown {longest:,}: {max(0, room)} are left for a "
                f"passage, and {LEAST_PROMPT} are needed.",
                "--set query_tokens=24 --set max_length=1024, or name another --base.",
            )
        return room

    def save(self, trained: Any, folder: Path) -> None:
        """Merge the adapters of the trained model, if it has any, and save it in the precision that it came in."""
        from peft import PeftModel

        plain = trained.merge_and_unload(safe_merge=True) if isinstance(trained, PeftModel) else trained
        plain.to(_precision(self.source)).save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)


def adapters(lora: Lora | None) -> LoraConfig | None:
    """Return what peft adds to the model; nothing where all of its weights learn."""
    return None if lora is None else lora_config(lora, "CAUSAL_LM")


def _precision(source: ModelSource) -> Any:
    import torch

    config = json.loads((source.path / "config.json").read_text(encoding="utf-8"))
    found = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"), torch.float32)
    return found if isinstance(found, torch.dtype) else torch.float32
