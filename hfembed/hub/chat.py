"""Language models: the inference client, for the providers of the Hub and for any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What a server of one's own is sent in place of a key: it must not get the Hub's, which the client would add.
NO_KEY = "none"


class Chat:
    """One model at one address; safe to use from several threads."""

    def __init__(
        self, model: str, *, endpoint: str | None, provider: str | None, key: str | None, timeout: float
    ) -> None:
        """Address `model` at the URL `endpoint`, or at a provider of the Hub. Nothing is sent yet."""
        from huggingface_hub import InferenceClient

        self._model, self._endpoint = model, endpoint
        where: dict[str, Any] = {"base_url": endpoint} if endpoint else {"provider": provider or "auto"}
        self._client = InferenceClient(api_key=key or (NO_KEY if endpoint else None), timeout=timeout, **where)

    def complete(self, messages: Sequence[Mapping[str, str]], options: Mapping[str, Any]) -> Any:
        """Return the server's answer to messages, as the client gives it.

        options: as in OpenAI's API; `max_completion_tokens` is the newer name of `max_tokens`.
        """
        plain = dict(options)
        extra = {name: plain.pop(name) for name in ("max_completion_tokens",) if name in plain}
        if self._endpoint and "response_format" in plain:
            # For a bare URL the client would turn it into an older form that few servers know.
            extra["response_format"] = plain.pop("response_format")
        return self._client.chat_completion(
            [dict(message) for message in messages], model=self._model, extra_body=extra or None, **plain
        )


def is_forbidden_offline(error: BaseException) -> bool:
    """Tell whether HF_HUB_OFFLINE kept the client from asking."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    return isinstance(error, OfflineModeIsEnabled)
