"""What can be set of the two trainings, each default written once."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator

from hfembed.errors import RecipeError
from hfembed.recipe import LlmTask, Lora, Section, make_section

DEFAULT_MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
LIST_SETTINGS = "hfembed generator settings lists them."


class Weights(Section):
    """How much each part of the reward counts."""

    rt: float = Field(1.0, description="rank of the passage under the frozen retriever: 1 on rank 1, 0 below rank 10")
    agree: float = Field(0.5, description="BM25 has the passage among its first 10, too")
    hard: float = Field(
        0.3, description="the teacher finds what the base misses; 0 once more of the negatives mined are answers"
    )
    format: float = Field(0.2, description="one line of 4 to 32 tokens, of the type asked for, that speaks of no text")
    copying: float = Field(-0.5, description="share of runs of four words that stand in the passage, beyond 0.3")
    repetition: float = Field(1.0, description="the penalty of at most 1 on runs of three tokens that come again")


class Training(Section):
    """What both trainings share."""

    seed: int = Field(42, ge=0, description="seed of everything drawn at random")
    batch_size: int = Field(16, ge=1, description="queries on the device at a time")
    lora: Lora | None = Field(
        Lora(), description="size of the adapters, which are merged at the end; null: all weights learn"
    )
    checkpoint_seconds: float = Field(180, gt=0, description="time between checkpoints")


class Sft(Training):
    """What is taught, and how."""

    types: list[LlmTask] | None = Field(
        None, min_length=1, description="types of queries that are taught; all that the run has when not set"
    )
    max_pairs: int = Field(10_000, ge=1, description="queries that are taught, drawn at random")
    epochs: float = Field(2, gt=0, le=100, description="passes over the queries")
    learning_rate: float = Field(2e-5, gt=0, description="peak learning rate, decays linearly")
    max_length: int = Field(1_024, ge=64, description="most tokens of a prompt and its query; longer passages are cut")
    query_tokens: int = Field(48, ge=4, le=512, description="most tokens of a query")


class Grpo(Training):
    """What is rewarded, and how."""

    teacher: str | None = Field(
        None,
        min_length=1,
        description="the frozen retriever that ranks, a folder or a Hub id; the run's base if not set",
    )
    passages: int = Field(1_000, ge=1, description="passages that are written about, drawn at random")
    steps: int = Field(200, ge=1, description="steps of training")
    prompts: int = Field(8, ge=1, description="prompts per step")
    generations: int = Field(8, ge=2, description="queries per prompt, compared with one another")
    temperature: float = Field(1.0, gt=0, le=2, description="how freely queries are drawn")
    beta: float = Field(0.03, ge=0, description="how firmly it is held to the generator it started from (KL)")
    learning_rate: float | None = Field(
        None, gt=0, description="peak learning rate; when not set: 5e-6 for adapters, 1e-6 for all weights"
    )
    weights: Weights = Field(Weights(), description="how much each part of the reward counts")

    @model_validator(mode="after")
    def _batches_make_a_step(self) -> Grpo:
        drafts = self.prompts * self.generations
        if drafts % self.batch_size:
            raise RecipeError(
                f"batch_size is {self.batch_size}, but must divide the {drafts} queries of a step "
                f"({self.prompts} prompts times {self.generations} generations).",
                f"--set batch_size={self.generations}",
            )
        return self

    def peak(self) -> float:
        """Return the peak learning rate."""
        return self.learning_rate or (5e-6 if self.lora is not None else 1e-6)


def make_sft(settings: Iterable[str] = ()) -> Sft:
    """Return the settings of sft, changed by --set strings."""
    return make_section(Sft, settings, "epochs=1", LIST_SETTINGS)


def make_grpo(settings: Iterable[str] = ()) -> Grpo:
    """Return the settings of grpo, changed by --set strings."""
    return make_section(Grpo, settings, "steps=100", LIST_SETTINGS)
