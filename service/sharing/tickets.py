"""Tickets: what an opened link gives for the minutes in which its picture is fetched.

A ticket is an end and a signature over it and the link's token. It names nothing, and is good for that token alone.
"""

import base64
import hmac
import re
import time

from pydantic import SecretStr

from service.platform.secrets import derive

_FORM = re.compile(r"(\d{1,12})\.([\w-]{22})", re.ASCII)


def ticket(secret: SecretStr, token: str, seconds: int) -> str:
    """A ticket for the picture behind a token, good for `seconds` from now."""
    end = int(time.time()) + seconds
    return f"{end}.{_signature(secret, token, end)}"


def is_valid(secret: SecretStr, token: str, shown: str) -> bool:
    """Whether a ticket is ours, for this token, and has not ended."""
    found = _FORM.fullmatch(shown)
    if found is None:
        return False
    end = int(found[1])
    return hmac.compare_digest(found[2], _signature(secret, token, end)) and end > time.time()


def _signature(secret: SecretStr, token: str, end: int) -> str:
    digest = hmac.digest(derive(secret, "share-ticket"), f"{token}.{end}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")
