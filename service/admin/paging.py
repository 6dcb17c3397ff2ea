"""Pages of rows that have a created_at and a key."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from service.admin.store import Place
from service.cursors import cursor_at, place_of, unreadable


class Dated(Protocol):
    @property
    def created_at(self) -> datetime: ...


RowT = TypeVar("RowT", bound=Dated)


def more(rows: Sequence[RowT], limit: int, key: Callable[[RowT], object]) -> str | None:
    """The cursor of the page after `rows`; None when a short page says that it was the last."""
    return cursor_at(rows[-1].created_at, key(rows[-1])) if len(rows) == limit else None


def place(cursor: str | None) -> Place | None:
    """The place a cursor names, its key an id. Raises ProblemError (invalid_request)."""
    if cursor is None:
        return None
    found = place_of(cursor)
    try:
        return found[0], str(UUID(found[1]))
    except ValueError:
        raise unreadable() from None
