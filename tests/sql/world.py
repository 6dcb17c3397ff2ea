"""The SQL functions as tests call them: short names, sensible defaults, decoded documents, and the rows around them."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg

from tests.support import ROOMY, new_sha256

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Document = dict[str, Any]
HOUR = 3600
SWEPT_AT_ONCE = 100
DUE = timedelta(seconds=1)
"""How far `World.late` moves a time into the past."""


class World:
    """One connection to a scratch database. Every call is a transaction of its own, unless the test opens one.

    A refusal of a function arrives as asyncpg.PostgresError whose message is the code.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def call(self, function: str, **parameters: Any) -> Any:
        """`select public.function(name => value, …)`, or private's where the name says so; documents come decoded."""
        names = ", ".join(f"{name} => ${index}" for index, name in enumerate(parameters, 1))
        place = "" if "." in function else "public."
        return await self.connection.fetchval(f"select {place}{function}({names})", *parameters.values())

    async def value(self, sql: str, *arguments: Any) -> Any:
        return await self.connection.fetchval(sql, *arguments)

    async def pid(self) -> int:
        """Of this connection's backend."""
        return int(await self.value("select pg_backend_pid()"))

    # Rows around the functions

    async def user(self, *, balance: int | None = None, plan: str = ROOMY) -> uuid.UUID:
        """A new account as Auth makes it; `balance` None leaves the signup credits."""
        user_id = uuid.uuid4()
        await self.connection.execute(
            "insert into auth.users (id, email, email_confirmed_at) values ($1, $2, now())",
            *(user_id, f"{user_id.hex}@example.com"),
        )
        if plan != "free":
            await self.connection.execute(
                "update public.profiles set plan_id = $2 where user_id = $1", user_id, plan
            )
        if balance is not None:
            await self._set_balance(user_id, balance)
        return user_id

    async def _set_balance(self, user_id: uuid.UUID, balance: int) -> None:
        difference = balance - int(await self.balance(user_id))
        if difference > 0:
            await self.grant(user_id, difference)
        elif difference < 0:
            await self.claw_back(user_id, -difference)

    async def grant(
        self,
        user_id: uuid.UUID,
        amount: int,
        source: str = "purchase",
        reference: str | None = None,
        **more: Any,
    ) -> bool:
        """Credits, with a reference of their own unless it is named; expires_at, note and actor may be given."""
        given = {"user_id": user_id, "amount": amount, "source": source}
        parameters = given | {"reference": reference or secrets.token_hex(8)} | more
        return bool(
            await self.call("grant_credits", **{f"p_{name}": value for name, value in parameters.items()})
        )

    async def claw_back(
        self,
        user_id: uuid.UUID,
        amount: int,
        reference: str = "none",
        *,
        source: str = "purchase",
        reason: str | None = None,
    ) -> Document:
        """Take credits back, for a reason of its own unless one is named."""
        return dict(
            await self.call(
                "claw_back",
                p_user_id=user_id,
                p_source=source,
                p_reference=reference,
                p_amount=amount,
                p_reason=reason or secrets.token_hex(8),
            )
        )

    async def balance(self, user_id: uuid.UUID) -> int:
        return int(await self.value("select balance from public.credits where user_id = $1", user_id))

    async def ledger(self, user_id: uuid.UUID, job_id: object) -> list[tuple[str, int]]:
        """(reason, delta) of a job's movements, in order."""
        rows = await self.connection.fetch(
            "select reason, delta from public.credit_ledger where user_id = $1 and reference = $2 order by id",
            user_id,
            str(job_id),
        )
        return [(row["reason"], row["delta"]) for row in rows]

    async def put(self, path: str, bucket: str = "uploads-ephemeral") -> None:
        """An object's row, as Storage writes it when the bytes are there."""
        await self.connection.execute(
            "insert into storage.objects (bucket_id, name) values ($1, $2)", bucket, path
        )

    async def drop(self, path: str, bucket: str = "uploads-ephemeral") -> None:
        """Remove an object's row, as Storage does after removing the bytes."""
        async with self.connection.transaction():
            await self.connection.execute("select set_config('storage.allow_delete_query', 'true', true)")
            await self.connection.execute(
                "delete from storage.objects where bucket_id = $1 and name = $2", bucket, path
            )

    async def job(self, job_id: object) -> asyncpg.Record:
        row = await self.connection.fetchrow("select * from public.jobs where id = $1", _uuid(job_id))
        assert row is not None
        return row

    async def late(self, column: str, row_id: object, table: str = "jobs") -> None:
        """Let a deadline of one row be a second ago."""
        await self.connection.execute(
            f"update public.{table} set {column} = now() - $2::interval where id = $1", _uuid(row_id), DUE
        )

    async def paths(self, job_id: object) -> list[str]:
        """The names of the output and thumbnail that a job has written or would."""
        return paths_of((await self.job(job_id))["object_key"])

    async def tombstones(self, *paths: str) -> set[str]:
        """Those of `paths` that are marked for removal."""
        rows = await self.connection.fetch(
            "select path from public.tombstones where path = any ($1) and purged_at is null", list(paths)
        )
        return {row["path"] for row in rows}

    async def violations(self) -> list[tuple[str, str]]:
        rows = await self.connection.fetch("select invariant, subject from public.check_invariants()")
        return [(row["invariant"], row["subject"]) for row in rows]

    # The functions

    async def intake(self, user_id: uuid.UUID | None = None, **changes: Any) -> Document:
        """`changes` by parameter name without `p_`; the default is a cacheable free op on a picture of its own."""
        claim: dict[str, Any] = {
            "sha256": new_sha256(),
            "filename": "lamp.jpg",
            "content_type": "image/jpeg",
            "size": 1000,
            "width": 40,
            "height": 30,
            "op_key": "resize-v1:width-20",
            "variant": "full",
            "cacheable": True,
            "price": 0,
            "queue": "default",
            "wants_persist": False,
            "use_cache": True,
            "await_seconds": 15 * 60,
            "upload_seconds": 24 * HOUR,
            "output_seconds": 24 * HOUR,
            "request_id": None,
            "keep_days": None,
            "team_id": None,
            "api_key_id": None,
            "hit_price": 0,
            "ip": None,
            "output_side": None,
            "hit_reference": None,
            "may_queue": True,
        }
        assert claim.keys() >= changes.keys()
        parameters = {f"p_{name}": value for name, value in (claim | changes).items()}
        answer = await self.call("intake", p_user_id=user_id, **parameters)
        assert isinstance(answer, dict)
        return answer

    async def batch(
        self, user_id: uuid.UUID | None, *op_keys: str, price: int = 0, **changes: Any
    ) -> list[Document]:
        """The answers of intake_batch to several op_keys of one picture; `changes` by name in its claim."""
        claim = {
            "sha256": new_sha256(),
            "filename": "lamp.jpg",
            "size": 1000,
            "width": 40,
            "height": 30,
            "queue": "default",
            "wants_persist": False,
            "await_seconds": 15 * 60,
            "upload_seconds": 24 * HOUR,
            "output_seconds": 24 * HOUR,
            "may_queue": True,
        }
        item = {"variant": "full", "cacheable": True, "price": price, "hit_price": 0}
        answers = await self.call(
            "intake_batch",
            p_user_id=user_id,
            p_claim=json.dumps(claim | changes),
            p_items=json.dumps([item | {"op_key": op_key} for op_key in op_keys]),
        )
        return [dict(answer) for answer in answers]

    async def queued(self, user_id: uuid.UUID | None = None, **changes: Any) -> Document:
        """The document of a new job whose upload has arrived, or that re-runs an earlier one's."""
        job: Document = (await self.intake(user_id, **changes))["job"]
        if job["status"] == "awaiting_upload":
            await self.put(job["upload_path"])
        found = await self.call("get_job", p_job_id=job["job_id"], p_user_id=user_id)
        assert found["status"] == "queued"
        return dict(found)

    async def claim(
        self, queue: str = "default", *, worker: str = "worker", seconds: float = 30
    ) -> Document | None:
        row = await self.call("claim_next", p_queue=queue, p_worker=worker, p_lease_seconds=seconds)
        return None if row is None else dict(row)

    async def running(self, user_id: uuid.UUID | None = None, **changes: Any) -> Document:
        """A claimed job: the whole row, with its lease, from a queue that only it is in."""
        queue = changes.setdefault("queue", secrets.token_hex(6))
        await self.queued(user_id, **changes)
        claimed = await self.claim(queue)
        assert claimed is not None
        return claimed

    async def complete(self, job: Document, **changes: Any) -> Document:
        output = json.dumps(output_of(job) | changes)
        return dict(
            await self.call("complete_job", **lease(job), p_output=output, p_output_seconds=24 * HOUR)
        )

    async def done(self, user_id: uuid.UUID | None = None, **changes: Any) -> Document:
        """The document of a job that a worker has finished, its objects in place."""
        job = await self.running(user_id, **changes)
        for path in (output_of(job)["path"], output_of(job)["thumb_path"]):
            await self.put(path, "outputs-ephemeral")
        return await self.complete(job)

    async def fail(
        self, job: Document, *, retry: float | None = None, drop: bool = False, code: str = "op_failed"
    ) -> Document:
        error = json.dumps({"code": code, "detail": "It broke."})
        return dict(
            await self.call(
                "fail_job", **lease(job), p_error=error, p_retry_seconds=retry, p_drop_upload=drop
            )
        )

    async def heartbeat(self, job: Document) -> None:
        await self.call("heartbeat", **lease(job), p_lease_seconds=30.0, p_progress=0.5, p_step="pixels")

    async def snooze(self, job: Document) -> None:
        await self.call("snooze", **lease(job), p_seconds=0.0)

    async def reuse(self, job: Document, output_id: object) -> Document:
        return dict(await self.call("complete_from_cache", **lease(job), p_output_id=output_id))

    async def cancel(self, job_id: object, user_id: uuid.UUID | None = None) -> Document | None:
        row = await self.call("cancel_job", p_job_id=job_id, p_user_id=user_id)
        return None if row is None else dict(row)

    async def uploaded(self, job_id: object, user_id: uuid.UUID | None = None) -> Document | None:
        row = await self.call("mark_uploaded", p_job_id=job_id, p_user_id=user_id)
        return None if row is None else dict(row)

    async def adopt(self, user_id: uuid.UUID | None, source_id: object) -> Document:
        """Adopt an output whose bytes were copied under a key of a new job."""
        key = uuid.uuid4()
        path, thumb = paths_of(key)
        document = await self.call(
            "adopt_output",
            p_job_id=uuid.uuid4(),
            p_object_key=key,
            p_user_id=user_id,
            p_source_id=source_id,
            p_filename="lamp.jpg",
            p_path=path,
            p_thumb_path=thumb,
            p_output_seconds=24 * HOUR,
            p_request_id=None,
        )
        return dict(document)

    async def share(self, output_id: object, user_id: uuid.UUID, **changes: Any) -> Document | None:
        """A link; `token_hash`, `password_hash`, `seconds` and `max_views` may be given."""
        wanted = {
            "token_hash": secrets.token_hex(32),
            "password_hash": None,
            "seconds": HOUR,
            "max_views": None,
        }
        parameters = {f"p_{name}": value for name, value in (wanted | changes).items()}
        row = await self.call("create_share", p_output_id=output_id, p_user_id=user_id, **parameters)
        return None if row is None else dict(row)

    async def api_key(self, user_id: uuid.UUID, **changes: Any) -> Document:
        """A key of a user, whose plan has API access from then on; `changes` by parameter name without `p_`."""
        plan = "update public.profiles set plan_id = 'pro' where user_id = $1"
        await self.connection.execute(plan, user_id)
        wanted: dict[str, Any] = {
            "name": "Importer",
            "scopes": ["intake"],
            "prefix": f"dk_test_{secrets.token_hex(4)}",
            "hash": secrets.token_hex(32),
            "expires_at": None,
            "rate_per_minute": None,
            "spend_cap": None,
        }
        parameters = {f"p_{name}": value for name, value in (wanted | changes).items()}
        return dict(await self.call("create_api_key", p_user_id=user_id, **parameters))

    async def sweep(self) -> Document:
        """Until little is left: one call takes a hundred jobs, and earlier tests leave some that run out meanwhile."""
        swept = more = dict(await self.call("sweep"))
        while len(more["jobs"]) >= SWEPT_AT_ONCE:
            more = dict(await self.call("sweep"))
            for name in ("requeued", "failed", "expired", "found", "jobs"):
                swept[name] += more[name]
            swept["due"] = more["due"]
        return swept

    async def expire(self, limit: int = 1000) -> Document:
        return dict(await self.call("expire_due", p_limit=limit))


def lease(job: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that every function of a worker begins with."""
    return {"p_job_id": job["id"], "p_lease_token": job["lease_token"]}


def output_of(job: Mapping[str, Any]) -> Document:
    """What a worker reports about the picture it made for a claimed job."""
    path, thumb = paths_of(job["object_key"])
    return {
        "bucket": "outputs-ephemeral",
        "path": path,
        "thumb_path": thumb,
        "content_type": "image/webp",
        "width": 20,
        "height": 15,
        "size": 500,
        "sha256": new_sha256(),
        "input_content_type": "image/jpeg",
        "input_width": 40,
        "input_height": 30,
        "input_size": 1000,
    }


def paths_of(object_key: object) -> list[str]:
    """The names of a job's output and thumbnail."""
    return [f"{object_key}.webp", f"{object_key}.thumb.webp"]


async def open_connection(url: str) -> Connection:
    """A superuser connection that speaks jsonb as Python values."""
    settings = {"jit": "off", "statement_timeout": "20s"}
    connection = await asyncpg.connect(url, server_settings=settings)
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    return connection


def _uuid(value: object) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))
