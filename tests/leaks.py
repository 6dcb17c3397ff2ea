"""All that an answer tells, also what is written inside of something else: for tests of what must not be told."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import unquote

import httpx

_ENCODED = re.compile(r"[A-Za-z0-9_-]{16,}={0,2}")


def texts_of(answer: httpx.Response) -> Iterator[str]:
    """Address, headers and body; each also percent-decoded, unescaped, and with what base64 hides, such as the payload
    of a signed URL's token."""
    plain = [
        str(answer.url),
        answer.text,
        *(f"{name}: {value}" for name, value in answer.headers.multi_items()),
    ]
    for text in plain:
        for form in (text, unquote(text), unescape(text)):
            yield form
            yield from map(_decoded, _ENCODED.findall(form))


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
