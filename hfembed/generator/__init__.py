"""The query generator: a small language model that learns, with TRL, to write a domain's queries from its passages.

`sft` teaches it the queries that a run kept; `grpo` rewards those that bring their passage back. The result is
what `generate.llm.model` names under `generate.method=model`.
"""

from hfembed.generator.grpo import grpo
from hfembed.generator.settings import DEFAULT_MODEL, Grpo, Sft
from hfembed.generator.sft import sft

__all__ = ["DEFAULT_MODEL", "Grpo", "Sft", "grpo", "sft"]
