"""What names, sizes and types may be, by the rules of supabase/storage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from . import errors

MAX_FILE_SIZE = 5 * 1024**3
"""Bytes; a bucket may only ask for less."""

MAX_USER_METADATA = 1024 * 1024
"""Bytes of custom metadata as JSON."""

_SAFE = r"\w!\-.*'() &$@=;:+,?"
_KEY = re.compile(rf"[{_SAFE}/]+", re.ASCII)
_BUCKET = re.compile(rf"[{_SAFE}]{{1,99}}", re.ASCII)
_MIME = re.compile(
    r"([a-zA-Z0-9\-+.]+)/([a-zA-Z0-9\-+.]+)(;\s*charset=[a-zA-Z0-9\-]+)?|(?:[a-zA-Z0-9\-+.]+/)?\*"
)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(gb|mb|kb|b)?", re.IGNORECASE)
_UNITS = {"gb": 10**9, "mb": 10**6, "kb": 10**3, "b": 1}


def check_key(key: str) -> str:
    """An object's key, or StorageError InvalidKey."""
    if not _KEY.fullmatch(key) or len(key) > 1024:
        raise errors.invalid_key(key)
    return key


def check_bucket_name(name: str) -> str:
    """A bucket's name, or StorageError InvalidBucketName."""
    if not _BUCKET.fullmatch(name):
        raise errors.invalid_bucket_name()
    return name


def parse_size(value: int | str | None) -> int | None:
    """Bytes of a limit given as a number or as text like "20MB" (decimal units)."""
    if value is None:
        return None
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise errors.invalid_request("Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B")
    size = int(float(match[1]) * _UNITS[(match[2] or "b").lower()])
    if size > MAX_FILE_SIZE:
        raise errors.too_large()
    return size


def size_limit(bucket: dict[str, Any]) -> int:
    """Bytes an object of this bucket may have."""
    own = bucket["file_size_limit"]
    return MAX_FILE_SIZE if own is None else min(int(own), MAX_FILE_SIZE)


def check_mime_types(types: Sequence[str] | None) -> list[str] | None:
    """The list a bucket is to allow, or StorageError 415 for one that is no MIME type."""
    for mime_type in types or ():
        if not _MIME.fullmatch(mime_type):
            raise errors.invalid_mime_type(mime_type)
    return list(types) if types is not None else None


def check_mime_type(mime_type: str, allowed: Sequence[str] | None) -> None:
    """Refuse a type that the bucket does not list; `image/*` stands for every subtype. Empty allows all."""
    if not allowed:
        return
    essence = mime_type.split(";", maxsplit=1)[0].strip()
    wildcard = essence.split("/")[0] + "/*"
    if "/" not in essence or not {mime_type, essence, wildcard, "*"} & set(allowed):
        raise errors.invalid_mime_type(mime_type)
