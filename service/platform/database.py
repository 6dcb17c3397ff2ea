"""The database: the SQL functions of supabase/functions, called by PostgREST with the service key.

Nothing else talks to PostgREST. Each context has a store of its own (service/library/store.py, …) with one typed
method per function over `Database.one`, `maybe`, `many` and `run`, and no method does more than its function. Every
function is one transaction, so a method either had its whole effect or none.

Errors: what a function refuses comes back as `ProblemError` with the function's own code (`too_many_jobs`,
`job_finished`, …); a lost lease as `LeaseLost`; a database that does not answer as `DependencyError`, and one that
refuses writes as `DatabaseReadOnlyError`, which is one. `TROUBLES` says which SQLSTATE is which. Anything else is a bug
and arrives as postgrest's `APIError`.
"""

import asyncio
import math
import random
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID

import httpx
import orjson
import structlog
from postgrest import AsyncPostgrestClient
from postgrest.exceptions import APIError
from pydantic import BaseModel, ConfigDict

from service.platform import journal
from service.platform.errors import (
    CODES,
    DatabaseReadOnlyError,
    DependencyError,
    ProblemError,
    idempotency_in_progress,
)
from service.platform.telemetry import DATABASE_CALLS
from service.platform.transport import dependency

log = structlog.get_logger()
M = TypeVar("M", bound=BaseModel)

SOON_SECONDS = 5
"""Until a job may have ended, for who has too many of them."""


Trouble = Literal["away", "read_only", "contention", "outdated"]

TROUBLES: Mapping[str, Trouble] = {
    # By SQLSTATE. Writes are refused, reads go on: Supabase makes a project read-only when its disk is nearly full.
    "25006": "read_only",  # read_only_sql_transaction
    "53100": "read_only",  # disk_full
    "58030": "read_only",  # io_error
    # The transaction was rolled back for another one's sake: the same call may succeed at once.
    "40001": "contention",  # serialization_failure
    "40P01": "contention",  # deadlock_detected
    "55P03": "contention",  # lock_not_available
    # By class, for what is not named above.
    "08": "away",  # connection exceptions
    "53": "away",  # out of memory, out of connections
    "57": "away",  # statement timeout, shutting down, starting up
    # PostgREST's own: it cannot connect, has no schema cache, or no connection came free.
    "PGRST000": "away",
    "PGRST001": "away",
    "PGRST002": "away",
    "PGRST003": "away",
    # It does not take the key, which its operator may be changing at this moment.
    "PGRST300": "away",
    "PGRST301": "away",
    "PGRST302": "away",
    "PGRST303": "away",
    # No function of this name with these parameters: the migrations of this release have not been applied.
    "PGRST202": "outdated",
}
"""What an error of the database means for its caller, by SQLSTATE, its class (two characters) or PostgREST's code."""

LOCAL_CODE = "SUP"
LOCAL_TROUBLES: Mapping[str, Trouble] = {
    "deadlock detected": "contention",
    "could not serialize access": "contention",
    "No space left on device": "read_only",
}
"""The embedded stack's PostgREST hides some SQLSTATEs behind a code of its own: these are known by their words."""

ATTEMPTS = 3
"""Of a call that was rolled back because of contention."""
CONTENTION_PAUSE_SECONDS = 0.05


class LeaseLost(Exception):
    """Another worker has this job, or it has ended: whoever gets this must write nothing more about it."""


class OutputGone(Exception):
    """The cached output that was about to be used has been removed since."""


class Row(BaseModel):
    """A document of the database. Unknown fields are ignored, so that a newer schema serves an older service."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Database:
    """The way to the SQL functions, and what several contexts call. `headers` carry the service key."""

    def __init__(self, supabase_url: str, headers: Mapping[str, str], http: httpx.AsyncClient) -> None:
        # An RPC is a POST that may have had its effect: whether to repeat it is for the caller to say.
        self._rest = AsyncPostgrestClient(
            f"{supabase_url}/rest/v1", headers=dict(headers), http_client=http, retry_enabled=False
        )

    async def one(self, model: type[M], function: str, /, **arguments: Any) -> M:
        """The document that a function answers with. For one that never answers with null."""
        return model.model_validate(await self.run(function, **arguments))

    async def maybe(self, model: type[M], function: str, /, **arguments: Any) -> M | None:
        """The document that a function answers with; None for null, which says that there is no such thing."""
        document = await self.run(function, **arguments)
        return None if document is None else model.model_validate(document)

    async def many(self, model: type[M], function: str, /, **arguments: Any) -> list[M]:
        """The documents of a function's array."""
        return [model.model_validate(document) for document in await self.run(function, **arguments)]

    async def run(self, function: str, /, **arguments: Any) -> Any:
        """Call a SQL function with arguments by name, without their `p_`, and return its JSON.

        A call that was rolled back because of contention is repeated: none of its effects is there. For a request with
        an Idempotency-Key each call is a step of its journal.
        """
        called, parameters = function, _parameters(arguments)
        journaled = journal.current()
        if journaled is not None and function not in journal.UNRECORDED:
            step = journaled.step(function, orjson.dumps(parameters).decode())
            called, parameters = "run_once", _parameters(step)
        attempt = 1
        while True:
            DATABASE_CALLS.labels(function).inc()
            try:
                with dependency("database", function):
                    return (await self._rest.rpc(called, parameters).execute()).data
            except APIError as error:
                trouble = trouble_of(str(error.code), str(error.message))
                if trouble != "contention" or attempt == ATTEMPTS:
                    raise _translated(error, trouble, function) from error
            except OSError as error:
                raise DependencyError("database") from error
            log.info("database_contention", function=function, attempt=attempt)
            # Not both at the same moment again.
            await asyncio.sleep(CONTENTION_PAUSE_SECONDS * attempt * (1 + random.random()))  # noqa: S311
            attempt += 1


def _parameters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {f"p_{name}": serialised(value) for name, value in arguments.items()}


def serialised(value: Any) -> Any:
    """An argument as JSON that PostgREST hands to a parameter: ids and times as text, a list as a Postgres array, a
    mapping or a model as the JSON text that our functions take documents as. Raises TypeError for anything else."""
    match value:
        case Mapping() | BaseModel():
            return json_text(value)
        case list() | tuple():
            return [_scalar(item) for item in value]
    return _scalar(value)


def json_text(documents: Any) -> str:
    """For a function that takes a list of documents as JSON text: a list by itself would become a Postgres array."""
    return orjson.dumps(documents, default=_plain).decode()


def _scalar(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case UUID() | date():
            return str(value)
        case timedelta():
            return f"{value.total_seconds()} seconds"
    raise TypeError(f"no SQL function takes a {type(value).__name__}")


def _plain(document: Any) -> Any:
    """What orjson does not write itself."""
    if isinstance(document, BaseModel):
        return document.model_dump(mode="json")
    if isinstance(document, Mapping):
        return dict(document)
    raise TypeError


def _facts(hint: str | None) -> dict[str, Any]:
    """Further fields of a problem, which a function gives as a JSON object in the `hint` of its refusal; another text
    there is the category of a refused picture."""
    return dict(orjson.loads(hint)) if hint and hint.startswith("{") else {}


def _retry_after(facts: Mapping[str, Any]) -> dict[str, str]:
    """Of a quota that begins anew at a known time, or of jobs that end when they end."""
    if not facts.get("resets_at"):
        return {"Retry-After": str(SOON_SECONDS)}
    seconds = (datetime.fromisoformat(facts["resets_at"]) - datetime.now(UTC)).total_seconds()
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def trouble_of(code: str, message: str = "") -> Trouble | None:
    """What an error tells of the database, by TROUBLES; None for a refusal of a function, and for a bug. What has
    neither a SQLSTATE nor a code of PostgREST's comes from a gateway in front of it, which does not reach it."""
    if code.startswith("PGRST"):
        return TROUBLES.get(code)
    if code == LOCAL_CODE:
        return next((trouble for words, trouble in LOCAL_TROUBLES.items() if words in message), "away")
    if _SQLSTATE.fullmatch(code) is None:
        return "away"
    return TROUBLES.get(code) or TROUBLES.get(code[:2])


def _translated(error: APIError, trouble: Trouble | None, function: str) -> Exception:
    """A function's refusal as the exception of its code: SQLSTATE `PTxyz` (PostgREST answers with status xyz), the
    code in `message`, a sentence for people in `detail` where the code's own does not do. Trouble of the database as
    DependencyError."""
    match error.message:
        case "lease_lost":
            return LeaseLost(error.details)
        case "output_not_found":
            return OutputGone(error.details)
        case "dependency_unavailable":
            trouble = "outdated"  # run_once finds no such function
        case str(message) if str(error.code).startswith("PT") and message in CODES:
            facts = _facts(error.hint)
            return ProblemError(
                CODES[message],
                error.details or None,
                category=None if facts else error.hint or None,
                headers=_retry_after(facts)
                if error.code == "PT429" or message == idempotency_in_progress
                else None,
                facts=facts,
            )
    match trouble:
        case None:
            return error
        case "read_only":
            log.warning("database_read_only", code=error.code, reason=error.message, function=function)
            return DatabaseReadOnlyError()
        case "outdated":
            log.error("database_outdated", function=function, reason="apply this release's migrations")
        case "away" | "contention":
            log.warning("database_unavailable", code=error.code, reason=error.message, function=function)
    return DependencyError("database")


_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
