"""Queries written by a language model, behind an endpoint or on this machine."""

from hfembed.generate.llm.write import LlmReport, write_queries

__all__ = ["LlmReport", "write_queries"]
