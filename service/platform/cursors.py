"""Where a page of a list ends: created_at and key of its last row, opaque to whoever holds it."""

import base64
import binascii
from datetime import datetime

from service.platform.errors import ProblemError, invalid_request


def cursor_at(created_at: datetime, key: object) -> str:
    """base64url of `created_at,key`, without padding."""
    text = f"{created_at.isoformat()},{key}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str) -> tuple[datetime, str]:
    """The place a cursor names; its key is whatever was written. Raises ProblemError (invalid_request)."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        created_at, _, key = text.partition(",")
        found = datetime.fromisoformat(created_at), key
    except (ValueError, binascii.Error):
        raise unreadable() from None
    if found[0].utcoffset() is None or found[0].utcoffset():
        raise unreadable()
    return found


def unreadable() -> ProblemError:
    """For a cursor that no page ended with."""
    return ProblemError(
        invalid_request, "cursor: not one that was given out; leave it out to begin at the newest."
    )
