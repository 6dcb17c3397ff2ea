"""Where a page of images ends: created_at and id of its last one, opaque to whoever holds it."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from service.errors import Code, ProblemError
from service.library.shelves import ImageRow


def cursor_of(row: ImageRow) -> str:
    """base64url of `created_at,id`, without padding."""
    text = f"{row.created_at.isoformat()},{row.image_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place(cursor: str) -> tuple[datetime, UUID]:
    """The place a cursor names. Raises ProblemError (invalid_request) for anything that no page ended with."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        created_at, _, image_id = text.partition(",")
        found = datetime.fromisoformat(created_at), UUID(image_id)
    except (ValueError, binascii.Error):
        raise _unreadable() from None
    if found[0].utcoffset() is None or found[0].utcoffset():
        raise _unreadable()
    return found


def _unreadable() -> ProblemError:
    return ProblemError(
        Code.invalid_request, "cursor: not one that was given out; leave it out to begin at the newest."
    )
