"""Drawings, and pictures to put into them."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from typing import Final

from PIL import Image

XMLNS: Final = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def svg(body: str, attributes: str = 'width="200" height="100"', prolog: str = "") -> bytes:
    return f"{prolog}<svg {XMLNS} {attributes}>{body}</svg>".encode()


@lru_cache
def bitmap(kind: str) -> bytes:
    """40 x 20 pixels of four colours."""
    picture = Image.new("RGB", (40, 20), "red")
    for box, colour in (((20, 0, 40, 10), "lime"), ((0, 10, 20, 20), "blue"), ((20, 10, 40, 20), "yellow")):
        picture.paste(colour, box)
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def url(label: str, data: bytes) -> str:
    return f"data:{label};base64,{base64.b64encode(data).decode()}"


def image(label: str, data: bytes, more: str = 'width="200" height="100"') -> str:
    return f'<image {more} href="{url(label, data)}"/>'
