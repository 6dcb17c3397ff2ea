"""Names of downloads: what a user called a picture, as something that is safe to be a file's name.

Storage turns `download=` of a signed URL into `Content-Disposition: attachment` with an RFC 6266 `filename*`, so a
name needs to be percent-encoded here and nothing else; what it says is made harmless all the same, for the system
that will save the file.
"""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

MAX_BYTES: Final = 200
"""File systems end at 255 bytes; browsers add " (1)" and ".part"."""
_UNWANTED: Final = re.compile(r'[<>:"|?*%]')
_JOINERS: Final = "\u200d"
"""Formatting that is no trick: it holds an emoji of several together."""
_STEP: Final = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*?)-v\d+")


def suggested_name(filename: str, op_key: str, path: str) -> str:
    """`mug.jpg` after `bgremove-v2+resize-v1:width-800`, stored at `….webp`: `mug-bgremove-resize.webp`.

    `filename` as the user typed it ("" where nobody's name may be told): only its last part counts, without extension,
    control and direction characters, and what Windows forbids. At most MAX_BYTES of UTF-8.
    """
    base = re.split(r"[/\\]", unicodedata.normalize("NFC", filename))[-1]
    shown = "".join(_harmless(character) for character in base)
    stem = re.sub(r"\s+", " ", _UNWANTED.sub("_", shown)).strip(" .").lstrip(" .-")
    stem = re.sub(r"(?<=.)\.[A-Za-z0-9]{1,5}$", "", stem).strip(" .") or "picture"
    steps = [found[1] for part in op_key.split("+") if (found := _STEP.match(part))]
    tail = "".join(f"-{step}" for step in steps)[:60] + PurePosixPath(path).suffix
    return _cut(stem, MAX_BYTES - len(tail.encode())) + tail


def download_url(signed_url: str, name: str) -> str:
    """The signed URL that makes a browser save the object under this name."""
    return f"{signed_url}{'&' if '?' in signed_url else '?'}download={quote(name, safe='')}"


def _harmless(character: str) -> str:
    """Control, formatting (right-to-left override and its kind), surrogate and private characters vanish."""
    category = unicodedata.category(character)
    if character.isspace():
        return " "
    return "" if category.startswith("C") and character not in _JOINERS else character


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, no character broken."""
    return text.encode()[:limit].decode("utf-8", "ignore").rstrip(" .\u200d") or "picture"
