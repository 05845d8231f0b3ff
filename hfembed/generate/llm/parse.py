"""JSON out of what a language model wrote: fences, thoughts, trailing commas, a missing end."""

from __future__ import annotations

import json
import re
from typing import Any

from hfembed.generate.llm.messages import UnusableError

THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*(?:```|\Z)", re.DOTALL | re.IGNORECASE)


def read_json(text: str) -> tuple[Any, bool]:
    """Return the object or list in an answer, and whether it had to be mended."""
    bare = THOUGHTS.sub("", text).strip()
    try:
        value = json.loads(bare)
    except ValueError:
        value = _mend(bare)
        return value, True
    if not isinstance(value, dict | list):
        raise UnusableError("no_json")
    return value, False


def is_torn(text: str) -> bool:
    """Tell whether an answer stops in the middle, whatever its server says of it."""
    return not text.rstrip().endswith(("}", "]", "`"))


def _mend(text: str) -> Any:
    from json_repair import repair_json

    fenced = FENCE.search(text)
    body = fenced[1] if fenced and any(sign in fenced[1] for sign in "{[") else text
    start = min((place for sign in "{[" if (place := body.find(sign)) >= 0), default=-1)
    if start < 0:
        raise UnusableError("no_json")
    value = repair_json(body[start:], return_objects=True)
    if not isinstance(value, dict | list) or not value:
        raise UnusableError("no_json")
    return value
