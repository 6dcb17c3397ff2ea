"""Where a page of images ends: created_at and id of its last one."""

from datetime import datetime
from uuid import UUID

from service.library.image_store import ImageRow
from service.platform.cursors import cursor_at, place_of, unreadable


def cursor_of(row: ImageRow) -> str:
    return cursor_at(row.created_at, row.image_id)


def place(cursor: str) -> tuple[datetime, UUID]:
    """The place a cursor names. Raises ProblemError (invalid_request) for anything that no page ended with."""
    created_at, key = place_of(cursor)
    try:
        return created_at, UUID(key)
    except ValueError:
        raise unreadable() from None
