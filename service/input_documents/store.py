"""The SQL functions of input documents, one typed method each; see platform/database.py, whose rules and errors hold
here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from service.ops.inputs import InputDocument, digest
from service.platform.database import Database, Row


class InputRow(Row):
    """A document that is kept. expires_at: unless it is used before."""

    digest: str
    kind: str
    document: InputDocument
    created_at: datetime
    expires_at: datetime


class Inputs:
    """Typed access to the functions of 59_inputs.sql."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_input(self, user_id: UUID | None, document: InputDocument) -> InputRow:
        """Keep a document under its digest; one that is there is kept longer. Raises ProblemError
        (data_deletion_running, invalid_token)."""
        return await self._database.one(
            InputRow,
            "keep_input",
            user_id=user_id,
            digest=digest(document),
            kind=document.kind,
            body=document,
        )

    async def get_inputs(self, user_id: UUID | None, digests: Sequence[str]) -> dict[str, InputDocument]:
        """Those of these documents that are here for this caller, by digest."""
        rows = await self._rows(user_id, digests)
        return {name: row.document for name, row in rows.items()}

    async def get_input(self, user_id: UUID | None, name: str) -> InputRow | None:
        return (await self._rows(user_id, [name])).get(name)

    async def _rows(self, user_id: UUID | None, digests: Sequence[str]) -> dict[str, InputRow]:
        found = await self._database.run("get_inputs", user_id=user_id, digests=digests)
        return {name: InputRow.model_validate(row) for name, row in found.items()}

    async def expire_inputs(self, limit: int) -> int:
        """Remove up to `limit` documents that were not used for long; how many."""
        return int(await self._database.run("expire_inputs", limit=limit))
