"""The journal of one request with an Idempotency-Key: every SQL function that it calls, each once.

While a journal is open, `Database.run` does not call a function itself but `run_once` (functions/13_idempotency.sql),
which commits the function's effect and a record of its answer in one transaction. When the process dies, whoever
repeats the request runs the same code, gets the recorded answers up to where the first call stopped, and goes on from
there. The code must take the same steps again, so what it draws at random, it draws from the journal.
"""

import hmac
import secrets
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256, sha512
from typing import Any
from uuid import UUID, uuid4

UNRECORDED = frozenset({"admin_role"})
"""Functions that a repeated request asks anew: what its caller may do at that moment."""


@dataclass(slots=True, eq=False, repr=False)
class Journal:
    """`id`: of the reservation of the key. `seed`: what random values are derived from, known to the service alone.
    Closed once its request has an answer: what the process does after that belongs to no request."""

    id: UUID
    seed: bytes
    lease_seconds: float
    open: bool = True
    _calls: Counter[str] = field(default_factory=Counter)
    _draws: Counter[str] = field(default_factory=Counter)

    def step(self, function: str, arguments: str) -> dict[str, Any]:
        """The arguments of `run_once` for the next call of a function with these arguments (JSON).

        What changes something is known by its place among the calls of the function, so that a repetition with another
        request id or path is the same step. What reads is known by its arguments as well: which reads are made depends
        on what the process remembers.
        """
        read = f"{function}:{sha256(arguments.encode()).hexdigest()[:16]}"
        self._calls.update((function, read))
        return {
            "id": self.id,
            "step": f"{function}:{self._calls[function]}",
            "read": f"{read}:{self._calls[read]}",
            "function": function,
            "arguments": arguments,
            "lease_seconds": self.lease_seconds,
        }

    def draw(self, purpose: str) -> bytes:
        """64 bytes that nobody can guess: the next of this request for this purpose."""
        self._draws[purpose] += 1
        return hmac.digest(self.seed, f"{self.id}:{purpose}:{self._draws[purpose]}".encode(), sha512)


_CURRENT: ContextVar[Journal | None] = ContextVar("journal", default=None)


def current() -> Journal | None:
    """The journal of the request that is being served; None: it has none."""
    journal = _CURRENT.get()
    return journal if journal is not None and journal.open else None


def start(journal: Journal) -> None:
    """Let this be the journal of the request that is being served, until it is closed."""
    _CURRENT.set(journal)


def random_bytes(count: int, purpose: str) -> bytes:
    """At most 64 bytes that nobody can guess, the same ones when a request with an Idempotency-Key is repeated."""
    journal = current()
    return secrets.token_bytes(count) if journal is None else journal.draw(purpose)[:count]


def random_uuid(purpose: str) -> UUID:
    """A random id, the same one when a request with an Idempotency-Key is repeated."""
    journal = current()
    return uuid4() if journal is None else UUID(bytes=journal.draw(purpose)[:16], version=4)
