"""The database: the SQL functions of supabase/functions, called by PostgREST with the service key.

Nothing else talks to PostgREST. Each context has a store of its own (service/library/store.py, …) with one typed
method per function over `Database.call`, and no method does more than its function. Every function is one transaction,
so a method either had its whole effect or none.

Errors: what a function refuses comes back as `ProblemError` with the function's own code (`too_many_jobs`,
`job_finished`, …); a lost lease as `LeaseLost`; a database that does not answer as `DependencyError`.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import httpx
import orjson
import structlog
from postgrest import AsyncPostgrestClient
from postgrest.exceptions import APIError
from pydantic import BaseModel, ConfigDict

from service.errors import Code, DependencyError, ProblemError
from service.ops.variant import FULL

log = structlog.get_logger()

Scan = Literal["none", "clean", "unscanned"]
"""`none`: not asked for; `unscanned`: the scanner was away, and the deployment goes on without it."""
SOON_SECONDS = 5
"""Until a job may have ended, for who has too many of them."""


class LeaseLost(Exception):
    """Another worker has this job, or it has ended: whoever gets this must write nothing more about it."""


class OutputGone(Exception):
    """The cached output that was about to be used has been removed since."""


class Row(BaseModel):
    """A document of the database. Unknown fields are ignored, so that a newer schema serves an older service."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OutputRow(Row):
    """A live output. Sizes in pixels and bytes; `expires_at` None: kept until its owner deletes it; `image_id` None: of
    visitors; `version` None: not in the library."""

    output_id: UUID
    user_id: UUID | None
    team_id: UUID | None = None
    bucket: str
    path: str
    thumb_path: str
    content_type: str
    width: int
    height: int
    size: int
    sha256: str
    expires_at: datetime | None
    scan: Scan = "none"
    vendor_cost_micros: int = 0
    image_id: UUID | None = None
    version: int | None = None

    @property
    def owner_id(self) -> UUID | None:
        """A user, a team, or None: the anonymous."""
        return self.team_id or self.user_id


class Forget(Row):
    """What the caches must forget: a key and the owner whose entry it is (None: the anonymous)."""

    cache_key: str | None
    owner_id: UUID | None


class Tombstone(Row):
    id: int
    bucket: str
    path: str


class Violation(Row):
    invariant: str
    subject: str


def cache_key(sha256: str, op_key: str, variant: str = FULL) -> str:
    """The hex digest that the cache is keyed by; equals the SQL function of the same name."""
    return hashlib.sha256(f"{sha256}\n{op_key}\n{variant}".encode()).hexdigest()


class Database:
    """The way to the SQL functions, and what several contexts call. `rest` is a client of `{SUPABASE_URL}/rest/v1` with
    the service key."""

    def __init__(self, rest: AsyncPostgrestClient) -> None:
        self._rest = rest

    async def call(self, function: str, params: Mapping[str, Any]) -> Any:
        """One SQL function by name: its JSON. For the typed methods of a context's store."""
        try:
            return (await self._rest.rpc(function, dict(params)).execute()).data
        except APIError as error:
            raise _translated(error) from error
        except (httpx.TransportError, OSError) as error:
            raise DependencyError("database") from error

    async def bury_output(self, output_id: UUID) -> None:
        """Take an output whose object is gone out of the cache."""
        await self.call("bury_output", {"p_output_id": str(output_id), "p_reason": "missing"})

    async def check_invariants(self) -> list[Violation]:
        return [Violation.model_validate(row) for row in await self.call("check_invariants", {})]


def text(value: UUID | None) -> str | None:
    """A parameter that may be null."""
    return None if value is None else str(value)


def _facts(hint: str | None) -> dict[str, Any]:
    """Further fields of a problem, which a function gives as a JSON object in the `hint` of its refusal."""
    return dict(orjson.loads(hint)) if hint and hint.startswith("{") else {}


def _retry_after(facts: Mapping[str, Any]) -> dict[str, str]:
    """Of a quota that begins anew at a known time, or of jobs that end when they end."""
    if not facts.get("resets_at"):
        return {"Retry-After": str(SOON_SECONDS)}
    seconds = (datetime.fromisoformat(facts["resets_at"]) - datetime.now(UTC)).total_seconds()
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def _translated(error: APIError) -> Exception:
    """A function's refusal as the exception of its code: SQLSTATE `PTxyz` (PostgREST answers with status xyz), the
    code in `message`, a sentence for people in `detail`."""
    match error.message:
        case "lease_lost":
            return LeaseLost(error.details)
        case "output_not_found":
            return OutputGone(error.details)
        case str(message) if str(error.code).startswith("PT") and message in Code.__members__:
            facts = _facts(error.hint)
            return ProblemError(
                Code(message),
                str(error.details or message),
                category=error.hint if message == Code.refused else None,
                headers=_retry_after(facts) if error.code == "PT429" else None,
                facts=facts,
            )
        case _ if _away(str(error.code)):
            log.warning("database_unavailable", code=error.code, reason=error.message)
            return DependencyError("database")
        case _:
            return error


def _away(code: str) -> bool:
    """Whether an error tells that Postgres cannot be reached, is stopping or is out of connections, or comes from
    something in front of PostgREST: a gateway's error has neither a SQLSTATE nor a code of PostgREST's."""
    if code.startswith("PGRST"):
        return code in {"PGRST000", "PGRST001", "PGRST002", "PGRST003"}
    return _SQLSTATE.fullmatch(code) is None or code.startswith(("08", "53", "57"))


_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
