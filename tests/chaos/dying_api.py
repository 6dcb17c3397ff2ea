"""An API that kills itself with SIGKILL at one step of a call (tests/chaos/forkserver.py starts it).

Steps: `copied`, a promotion whose objects are copied and whose row is not moved; `promoted`, whose row is moved and
whose caller has no answer; `deleted`, an image deleted and Redis not told; `first-op`, a re-run after its first op;
`answer`, any call with an Idempotency-Key whose answer is not stored; `ran-…`, whatever has called that SQL function.
The product has no such hook; this file wraps its classes from outside.
"""

import os
import signal
from typing import Any
from uuid import UUID

import service.app  # noqa: F401 - what the server imports when it starts
from cli import main
from service.cache.store import Forget
from service.intake import rerun
from service.intake.answer import answer
from service.intake.order import Order
from service.library import promote, routes
from service.library.store import Library, Promoted
from service.platform import idempotency
from service.platform.database import Database
from service.platform.idempotency_store import IdempotencyKeys
from service.platform.resources import Platform

_STEP = ""


def _die_at(step: str) -> None:
    if step == _STEP:
        os.kill(os.getpid(), signal.SIGKILL)


class DyingLibrary(Library):
    async def promote_output(self, *arguments: Any, **options: Any) -> Promoted | None:
        _die_at("copied")
        answer = await super().promote_output(*arguments, **options)
        _die_at("promoted")
        return answer

    async def delete_image(self, image_id: UUID, user_id: UUID) -> list[Forget] | None:
        answer = await super().delete_image(image_id, user_id)
        _die_at("deleted")
        return answer


class DyingKeys(IdempotencyKeys):
    async def answer(self, reservation_id: UUID, sealed: str) -> str | None:
        _die_at("answer")
        return await super().answer(reservation_id, sealed)


_RUN = Database.run


async def dying_run(self: Database, function: str, /, **arguments: Any) -> Any:
    answer = await _RUN(self, function, **arguments)
    _die_at(f"ran-{function}")
    return answer


async def dying_answer(platform: Platform, order: Order) -> bytes:
    body = await answer(platform, order)
    _die_at("first-op")
    return body


def run(step: str, port: str) -> None:
    """Serve on this port until then."""
    global _STEP  # noqa: PLW0603 - of a process of its own
    _STEP = step
    for module in (promote, routes):
        setattr(module, "Library", DyingLibrary)  # noqa: B010 - modules' attributes, replaced from outside
    setattr(rerun, "answer", dying_answer)  # noqa: B010
    setattr(idempotency, "IdempotencyKeys", DyingKeys)  # noqa: B010
    setattr(Database, "run", dying_run)  # noqa: B010
    main.api(host="127.0.0.1", port=int(port), workers=1)
