"""Drawings as a client sends them."""

import secrets

from tests.hostile.drawings import svg
from tests.photos import Photo


def drawing(body: str = "", *, attributes: str = "") -> Photo:
    """A drawing of 96 x 64 with a green square at 0,0; another one at each call."""
    data = svg(f"<title>{secrets.token_hex(8)}</title>{body}", attributes=attributes)
    return Photo(data, 96, 64, "image/svg+xml")
