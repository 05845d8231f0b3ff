"""Spend: what answers have cost, what those in flight may cost at worst, and what may be spent."""

from __future__ import annotations

from hfembed.generate.llm.messages import Reply, Request
from hfembed.recipe import Llm

MILLION = 1_000_000
# Bytes of text in a token, until a server has told: fewer than in any language, so that the worst is assumed.
BYTES_PER_TOKEN = 2.0
# Tokens that a server adds around messages.
FRAME_TOKENS = 64


class Spend:
    """Counts money; the sum of what is spent and of the worst that is in flight never passes the cap."""

    def __init__(self, settings: Llm, spent: float, *, free: bool = False) -> None:
        """Start from what a journal says was spent. free: a model on this machine costs nothing."""
        known = settings.price_in is not None and settings.price_out is not None and not free
        self.priced = known
        self._in = (settings.price_in or 0.0) / MILLION if known else 0.0
        self._out = (settings.price_out or 0.0) / MILLION if known else 0.0
        self.cap = settings.max_cost if known else None
        self.spent = spent
        self._reserved = 0.0
        self._bytes_per_token = BYTES_PER_TOKEN

    def cost(self, reply: Reply) -> float:
        """Return what an answer costs."""
        return reply.tokens_in * self._in + reply.tokens_out * self._out

    def worst(self, request: Request) -> float:
        """Return the most that a request can cost."""
        tokens = request.size() / self._bytes_per_token + FRAME_TOKENS
        return tokens * self._in + request.max_tokens * self._out

    def reserve(self, request: Request) -> float | None:
        """Set the worst case of a request aside and return it; nothing when the cap does not allow it."""
        worst = self.worst(request)
        if self.cap is not None and self.spent + self._reserved + worst > self.cap:
            return None
        self._reserved += worst
        return worst

    def settle(self, request: Request, reply: Reply | None, reserved: float) -> float:
        """Put what a request really cost in place of what was set aside for it; return that."""
        self._reserved = max(0.0, self._reserved - reserved)
        if reply is None:
            return 0.0
        if not reply.estimated and reply.tokens_in > FRAME_TOKENS:
            # Never more hopeful than the text with the most tokens so far.
            self._bytes_per_token = min(self._bytes_per_token, 0.9 * request.size() / reply.tokens_in)
        cost = self.cost(reply)
        self.spent += cost
        return cost


def estimate_tokens(size: int) -> int:
    """Return about how many tokens some bytes of text are, for servers that do not count."""
    return max(1, round(size / 4))
