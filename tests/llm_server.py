"""A language model behind an OpenAI-compatible server, in a process of its own: scripted answers, and faults on purpose.

    python tests/llm_server.py --port 8123 --log FILE [--faults JSON] [--keys KEY]

Its answers are made of the documents in the prompt, so that they are right. Every request is written to the log
when it comes and when it has been answered, by the record it is about, so that one can count what was paid twice.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import random
import re
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

DOCUMENT = re.compile(
    r"^=== Document (\d+)(?:: (.*?))? ===\n(.*?)(?=\n=== Document |\n\n\S|\Z)", re.MULTILINE | re.DOTALL
)
QUERY = re.compile(r"^Query (\d+) \((\w+), documents? [\d, ]+\): (.*)$", re.MULTILINE)
ASKED = re.compile(r"^Query (\d+): (.*)$", re.MULTILINE)
COUNT = re.compile(r"^(?:Write|Take up to|Take the) (\d+)", re.MULTILINE)
NUMBERED = re.compile(r"^\d+\. ", re.MULTILINE)


class Script:
    """What the model says to each task, from the documents it is shown."""

    def answer(self, task: str, prompt: str) -> dict[str, Any]:
        """Return the answer to a prompt."""
        documents = [(int(n), title or "", " ".join(text.split())) for n, title, text in DOCUMENT.findall(prompt)]
        count = int(found[1]) if (found := COUNT.search(prompt)) else 1
        return getattr(self, f"_{task}")(documents, count, prompt)  # type: ignore[no-any-return]

    def _question(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        return {"questions": [self._one(documents[:1], at) for at in range(count)]}

    def _multi_hop(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        several = [documents[at % max(1, len(documents) - 1) :][:3] for at in range(count)]
        return {"questions": [self._one(one, at) for at, one in enumerate(several)]}

    def _one(self, documents: list[Any], at: int) -> dict[str, Any]:
        told = " and ".join(telling(text, 3 + at) for _, _, text in documents)
        way = ("Why would a crew care about", "What should be checked first with", "How does one deal with")[at % 3]
        numbers = [number for number, _, _ in documents]
        return {
            "question": f"{way} {told} on duty {at}?", "answer": documents[0][2][:80], "complexity": 3,
            "query_type": "multi_hop" if len(numbers) > 1 else "contextual", "reasoning_type": "causal", "documents": numbers,
            "hops": [{"number": step, "documents": [number], "summary": "s"} for step, number in enumerate(numbers, 1)],
        }  # fmt: skip

    def _wordings(self, documents: list[Any], count: int, way: str) -> dict[str, Any]:
        return {"queries": [{"query": f"{way} {telling(documents[0][2], 2 + at)}"} for at in range(count)]}

    def _claim(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        return self._wordings(documents, count, "Crews often have to look into")

    def _keyword(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        return self._wordings(documents, count, "help")

    def _title(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        return self._wordings(documents, count, "Notes on")

    def _definition(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        text = documents[0][2]
        term = words(text)[-1]
        query = f"what do they call {telling(text, 3)}"
        return {"definitions": [{"term": term, "definition": text[:60], "query": query, "negatives": wrong(term)}]}

    def _triple(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        text = documents[0][2]
        head, tail = text.split()[1], words(text)[-1]
        query = f"what about {telling(text, 3)}"
        return {
            "triples": [{"head": head, "relation": "bears on", "tail": tail, "query": query, "negatives": wrong(head)}]
        }

    def _entity_map(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        names = list(dict.fromkeys(re.findall(r"\b[a-z]+\d+\b", documents[0][2])))
        entities = [{"name": name, "type": "mark", "attributes": []} for name in names]
        made_up = [{"name": "Atlantis", "type": "place", "attributes": []}]
        joined = [{"head": a, "relation": "beside", "tail": b, "qualifier": ""} for a, b in itertools.pairwise(names)]
        return {"entities": entities + made_up, "relations": joined}

    def _query_map(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        maps = []
        for number, text in ASKED.findall(prompt):
            names = words(text)
            asked = {"head": names[0], "relation": "is asked for", "tail": "?", "qualifier": ""}
            maps.append({"number": int(number), "entities": [*names, "Atlantis"], "relations": [asked]})
        return {"maps": maps}

    def _artifacts(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        item = {"kind": "entity", "text": telling(documents[0][2], 2), "description": "d", "importance": "high"}
        return {"artifacts": [item]}

    def _judge(self, documents: list[Any], count: int, prompt: str) -> dict[str, Any]:
        verdicts = []
        for number, _, text in QUERY.findall(prompt):
            good = 5.0 if "duty 1" in text else 8.5
            verdicts.append(
                {"number": int(number), "relevance": 8, "accuracy": 9, "context_support": 9, "clarity": 8,
                 "overall": good, "wrong_negatives": [], "comment": ""}
            )  # fmt: skip
        return {"verdicts": verdicts}


def words(text: str) -> list[str]:
    """Return the words of a document that have a number in them: those tell it from all others."""
    return re.findall(r"\b[a-zA-Z]+\d+\b", text) or text.split()[:3]


def telling(text: str, count: int) -> str:
    """Return a few telling words."""
    found = words(text)
    return " or ".join(found[at % len(found)] for at in range(min(count, len(found))))


def wrong(term: str) -> list[str]:
    """Return five texts that are about something else."""
    return [f"The other thing {number} is not {term} but stands beside it." for number in range(5)]


class Model:
    """The server: which faults it has, and what it has seen."""

    def __init__(self, log: Path, faults: dict[str, float], key: str | None, seconds: float) -> None:
        """Write to `log`."""
        self._log, self._faults, self._key, self._seconds = log.open("a", encoding="utf-8"), faults, key, seconds
        self._lock, self._chance, self._seen = threading.Lock(), random.Random(7), 0
        self._script = Script()

    async def answer(self, request: Request) -> Any:
        """Answer one request, or fail on purpose."""
        body = await request.json()
        if self._key and request.headers.get("authorization") != f"Bearer {self._key}":
            said = {"error": {"message": f"Incorrect API key: {request.headers.get('authorization')}"}}
            return JSONResponse(said, status_code=401)
        if body["model"] == "unknown":
            return JSONResponse({"error": {"message": "The model `unknown` does not exist"}}, status_code=404)
        prompt = body["messages"][-1]["content"]
        record = hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()[:16]
        task = self._task(prompt)
        fault = self._fault(body)
        self._write(record, task, "asked", fault)
        if self._seconds:
            await asyncio.sleep(self._seconds)
        if (answer := await self._spoil(fault)) is not None:
            return answer
        text = json.dumps(self._script.answer(task, prompt))
        if fault == "malformed":
            text = "Sure! Here is the JSON:\n```json\n" + text[:-2] + ",]}\n```"
        elif fault == "garbage":
            text = "I am sorry, I cannot do that."
        elif fault == "truncated":
            text = text[: len(text) // 2]
        self._write(record, task, "answered", fault)
        usage = {
            "prompt_tokens": len(prompt) // 4,
            "completion_tokens": len(text) // 4,
            "total_tokens": len(prompt) // 4,
        }
        choice = {
            "index": 0, "finish_reason": "length" if fault == "truncated" else "stop",
            "message": {"role": "assistant", "content": text},
        }  # fmt: skip
        whole = {
            "id": "x",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": [choice],
        }
        return JSONResponse(whole if "no_usage" in self._faults else {**whole, "usage": usage})

    def _fault(self, body: dict[str, Any]) -> str:
        if "response_format" in body and self._faults.get("no_schema"):
            return "no_schema"
        if "max_tokens" in body and self._faults.get("no_max_tokens"):
            return "no_max_tokens"
        with self._lock:
            self._seen += 1
            if self._seen == 1:
                return "none"
            draw = self._chance.random()
        for name in ("429", "500", "timeout", "broken", "malformed", "garbage", "truncated"):
            draw -= self._faults.get(name, 0.0)
            if draw < 0:
                return name
        return "none"

    async def _spoil(self, fault: str) -> Any:
        if fault == "429":
            return JSONResponse({"error": "slow down"}, status_code=429, headers={"Retry-After": "0.05"})
        if fault == "500":
            return PlainTextResponse("oops", status_code=500)
        if fault == "broken":
            return PlainTextResponse("<html>a proxy speaks</html>")
        if fault == "no_schema":
            return JSONResponse({"error": {"message": "Unknown field: response_format"}}, status_code=400)
        if fault == "no_max_tokens":
            said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return JSONResponse({"error": {"message": said}}, status_code=400)
        if fault == "timeout":
            await asyncio.sleep(self._faults.get("timeout_seconds", 3.0))
            return PlainTextResponse("too late", status_code=504)
        return None

    def _task(self, prompt: str) -> str:
        """Tell the task by the form of answer that the prompt shows."""
        form = prompt.rsplit("Answer with JSON only:", 1)[-1]
        for key, task in (("maps", "query_map"), ("definitions", "definition"), ("triples", "triple"), ("entities", "entity_map"),
                          ("artifacts", "artifacts"), ("verdicts", "judge")):  # fmt: skip
            if f'"{key}"' in form:
                return task
        if '"questions"' in form:
            return "multi_hop" if "multi_hop" in form else "question"
        return next(
            task for task in ("claim", "search", "title") if re.search(rf"^Write \d+ {task}", prompt, re.M)
        ).replace("search", "keyword")

    def _write(self, record: str, task: str, what: str, fault: str) -> None:
        with self._lock:
            self._log.write(
                json.dumps({"record": record, "task": task, "what": what, "fault": fault, "time": time.time()}) + "\n"
            )
            self._log.flush()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--faults", default="{}", help='shares of requests, such as {"429": 0.1}')
    parser.add_argument("--key", default=None)
    parser.add_argument("--seconds", type=float, default=0.0, help="how long an answer takes")
    arguments = parser.parse_args()
    app = FastAPI()
    model = Model(arguments.log, json.loads(arguments.faults), arguments.key, arguments.seconds)
    app.add_api_route("/v1/chat/completions", model.answer, methods=["POST"], response_model=None)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
