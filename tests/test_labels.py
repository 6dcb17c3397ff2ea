"""What a file is called is a hint: intake and Storage take the same labels, and the bytes decide."""

from __future__ import annotations

import asyncio

import pytest

from tests.client import Client
from tests.photos import photo

OP = "resize-v1:width-32"
LABELS = (
    "image/jpeg",
    "image/jpg",
    "image/pjpeg",
    "IMAGE/JPG; q=1",
    "application/octet-stream",
    "binary/octet-stream",
    "image/heic-sequence",
    "image/png",
    "",
)
PUT_ONLY = ("text/html", "application/x-www-form-urlencoded", "video/mp4")
"""What a tool writes that sends a body without being told of what kind; nobody announces it."""


async def _end(client: Client, announced: str | None, sent: str | None, kind: str = "JPEG") -> str:
    picture = photo(64, 48, kind=kind)
    answer = await client.intake(picture, OP, content_type=announced)
    headers = {} if sent is None else {"Content-Type": sent}
    put = await client.plain.put(answer["upload_url"], content=picture.data, headers=headers)
    assert put.status_code == 200, put.text
    ended = await client.wait(answer["job_id"])
    return str(ended["error"]["code"] if ended["error"] else ended["status"])


async def test_every_label_leads_to_the_picture(client: Client) -> None:
    """Announced so, sent so; and sent under a label that nobody would announce, or under none."""
    pairs: list[tuple[str | None, str | None]] = [(label, label or None) for label in LABELS]
    pairs += [("image/jpeg", label) for label in PUT_ONLY] + [(None, None)]
    ends = await asyncio.gather(*(_end(client, *pair) for pair in pairs))
    assert dict(zip(pairs, ends, strict=True)) == dict.fromkeys(pairs, "done")


@pytest.mark.parametrize(
    ("kind", "label"), [("WEBP", "image/jpeg"), ("PNG", "image/heic"), ("JPEG", "image/svg+xml")]
)
async def test_a_wrong_label_is_no_fault_of_the_picture(client: Client, kind: str, label: str) -> None:
    assert await _end(client, label, label, kind) == "done"


@pytest.mark.parametrize("label", ["application/pdf", "video/mp4", "image/jxl"])
async def test_what_is_announced_as_no_picture_of_ours_is_refused_before_it_is_sent(
    client: Client, label: str
) -> None:
    answer = await client.http.post("/intake", json=photo(64, 48).claim(OP, content_type=label))
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")


async def test_a_label_does_not_make_a_picture(client: Client) -> None:
    text = b"<!doctype html><p>hello" * 20
    picture = photo(64, 48)
    liar = type(picture)(text, 64, 48, "image/jpeg")
    assert (await client.process(liar, OP))["error"]["code"] == "unsupported_type"
