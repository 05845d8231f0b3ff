"""A language model on this machine, through transformers: the same requests, a batch of them at a time."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hfembed.errors import ModelError, first_line
from hfembed.events import Reporter
from hfembed.generate.llm.messages import NoReply, Reply, Request
from hfembed.hub import ModelSource
from hfembed.recipe import Llm, Sampling
from hfembed.stage import require

if TYPE_CHECKING:
    import torch

# A prompt must leave room for an answer of at least this share of the longest one.
LEAST_ROOM = 0.25


class LocalModel:
    """A causal language model; what one request gets does not depend on those that share its batch."""

    def __init__(self, settings: Llm, source: ModelSource, report: Reporter) -> None:
        """Use the model of `source`; it is loaded when the first request comes."""
        require("llm", "torch", "transformers")
        self.name, self.room, self.requests = source.name, settings.batch_size, 0
        self._source, self._sampling, self._report = source, settings.sampling, report
        self._waiting: list[tuple[int, Request]] = []
        self._answered: list[tuple[int, Reply | NoReply]] = []

    def submit(self, number: int, request: Request) -> None:
        """Keep a request until a batch is full, or nothing else is left to do."""
        self._waiting.append((number, request))

    def wait(self) -> None:
        """Answer the requests that wait."""
        batch, self._waiting = self._waiting[: self.room], self._waiting[self.room :]
        self._answered = self._answer(batch) if batch else []

    def collect(self) -> list[tuple[int, Reply | NoReply]]:
        """Return what is answered."""
        answered, self._answered = self._answered, []
        return answered

    def _answer(self, batch: list[tuple[int, Request]]) -> list[tuple[int, Reply | NoReply]]:
        self.requests += len(batch)
        prompts = [self._prompt(request) for _, request in batch]
        limit = self._limit()
        rooms = [min(request.max_tokens, limit - len(ids)) for (_, request), ids in zip(batch, prompts, strict=True)]
        fits = [room >= LEAST_ROOM * request.max_tokens for room, (_, request) in zip(rooms, batch, strict=True)]
        chosen = [at for at, good in enumerate(fits) if good]
        replies = iter(
            self._generate(
                [batch[at][1] for at in chosen], [prompts[at] for at in chosen], [rooms[at] for at in chosen]
            )
        )
        return [
            (number, next(replies) if good else NoReply("too_long"))
            for (number, _), good in zip(batch, fits, strict=True)
        ]

    def stop(self) -> None:
        """Forget what waits: nothing of it was begun."""
        self._waiting = []

    def close(self) -> None:
        """Free the model."""
        self.__dict__.pop("_loaded", None)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch

        self._report.note(f"loading {self.name}")
        tokenizer, model = load_language_model(self._source)
        if torch.cuda.is_available():
            model = model.to("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
        return tokenizer, model.eval()

    def _prompt(self, request: Request) -> list[int]:
        tokenizer, _ = self._loaded
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(list(request.messages), tokenize=False, add_generation_prompt=True)
            ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
            return ids
        text = "\n\n".join(message["content"] for message in request.messages)
        ids = tokenizer(text + "\n\n")["input_ids"]
        return ids

    def _limit(self) -> int:
        return most_tokens(self._loaded[1])

    def _generate(self, requests: list[Request], prompts: list[list[int]], rooms: list[int]) -> list[Reply]:
        if not requests:
            return []
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        tokenizer, model = self._loaded
        batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
        ends = model.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [tokenizer.eos_token_id])
        settings = GenerationConfig(
            do_sample=False, max_new_tokens=max(rooms), pad_token_id=tokenizer.pad_token_id, eos_token_id=ends
        )
        draw = [draw_rows([request.seed for request in requests], self._sampling)] if self._sampling.temperature else []
        with torch.inference_mode():
            made = model.generate(**batch, generation_config=settings, logits_processor=LogitsProcessorList(draw))
        rows = made[:, batch["input_ids"].shape[1] :].tolist()
        return [
            _reply(tokenizer, row[:room], ends, len(prompt))
            for row, room, prompt in zip(rows, rooms, prompts, strict=True)
        ]


def load_language_model(source: ModelSource) -> tuple[Any, Any]:
    """Return tokenizer and model, loaded the safe way: safetensors, no code from the repo."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logging.getLogger("transformers").setLevel(logging.ERROR)
    path = str(source.path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"'{source.name}' cannot be loaded as a language model: {first_line(error)}",
            "Name a causal language model of transformers with safetensors; code from a repo is never run.",
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model


def most_tokens(model: Any) -> int:
    """Return how many tokens a model can look at, as far as it says."""
    config = model.config
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 1 << 20)


def _reply(tokenizer: Any, row: list[int], ends: list[int], tokens_in: int) -> Reply:
    end = next((at for at, token in enumerate(row) if token in ends), None)
    text = tokenizer.decode(row[:end], skip_special_tokens=True)
    return Reply(text, tokens_in, len(row) if end is None else end + 1, cut=end is None)


def draw_rows(seeds: list[int], sampling: Sampling) -> Any:
    """Return a logits processor under which the likeliest token is a draw, each row with a chance of its own.

    Adding Gumbel noise and taking the largest is sampling; transformers' own sampling has one chance for
    the whole batch, so that an answer would change with its neighbours, and with where a killed run went on.
    """
    import torch
    from transformers import LogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

    class RowDraw(LogitsProcessor):  # type: ignore[misc]
        def __init__(self) -> None:
            self._chances = [torch.Generator().manual_seed(seed) for seed in seeds]
            self._warpers = [TemperatureLogitsWarper(float(sampling.temperature or 1.0))]
            if sampling.top_p is not None and sampling.top_p < 1:
                self._warpers.append(TopPLogitsWarper(sampling.top_p))

        def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
            for warp in self._warpers:
                scores = warp(input_ids, scores.float())
            noise = torch.stack([torch.rand(scores.shape[1], generator=chance) for chance in self._chances])
            return scores - torch.log(-torch.log(noise.clamp(1e-10, 1 - 1e-7))).to(scores.device)

    return RowDraw()
