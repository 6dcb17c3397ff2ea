"""Drawings through the whole service: announced, uploaded, sanitised, drawn."""

from __future__ import annotations

import io
import secrets
from dataclasses import replace

import pytest
from PIL import Image

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.errors import Code, ProblemError
from service.intake.intake import check
from service.intake.schemas import IntakeRequest
from service.resources import open_resources
from service.settings import load_settings
from tests.client import Client
from tests.library.people import Connection, person
from tests.safety.drawings import drawing


async def test_a_drawing_becomes_a_picture(client: Client) -> None:
    body = "<script>alert(1)</script><image href='file:///etc/passwd' width='96' height='64'/>"
    done = await client.process(drawing(body, attributes="onload='alert(1)'"), "convert-v1:format-png")
    assert (done["status"], done["output"]["content_type"]) == ("done", "image/png"), done
    picture = Image.open(io.BytesIO((await client.download(done["output_urls"][0])).content))
    assert (picture.size, picture.getpixel((5, 5))) == ((96, 64), (0, 255, 0, 255))
    assert picture.getpixel((50, 50))[3] == 0  # type: ignore[index]
    thumbnail = await client.download(done["thumbnail_url"])
    assert thumbnail.headers["content-type"] == "image/webp"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("<g>" * 200 + "</g>" * 200, "corrupt_image"),
        ("</g>", "corrupt_image"),
        ("<image href='data:image/png;base64,iVBORw0KGgoAAAAN'/>", "corrupt_image"),
    ],
)
async def test_a_drawing_that_cannot_be_used(client: Client, body: str, code: str) -> None:
    failed = await client.process(drawing(body), "convert-v1:format-png")
    assert (failed["status"], failed["error"]["code"], failed["charged"]) == ("error", code, 0)


async def test_a_picture_announced_as_a_drawing_and_the_other_way_round(client: Client) -> None:
    as_png = replace(drawing(), content_type="image/png")
    assert (await client.process(as_png, "convert-v1"))["status"] == "done"
    another_shape = replace(drawing(), width=64, height=96)
    assert (await client.process(another_shape, "convert-v1"))["error"]["code"] == "dimensions_mismatch"


@pytest.mark.parametrize(
    ("content_type", "expected"), [("image/svg+xml", 2048), ("image/png", "dimensions_mismatch")]
)
async def test_a_small_announcement_gets_no_full_resolution(  # noqa: PLR0917 - fixtures
    local: Local, api: Child, worker: Child, db: Connection, content_type: str, expected: object
) -> None:
    large = drawing()
    data = large.data.replace(b'width="96" height="64"', b'width="3000" height="2000"', 1)
    assert data != large.data
    named = replace(large, data=data, content_type=content_type)
    async with person(local, api.url, db) as free:
        await free.say("PATCH", "/me", {"keep_full_res": False})
        ended = await free.process(named, "convert-v1:format-png")
    output = ended.get("output") or {}
    assert (output.get("width") or ended["error"]["code"]) == expected


async def test_a_plan_bounds_what_a_drawing_is_and_not_what_was_announced(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    plan = f"bounds-{secrets.token_hex(4)}"
    await db.execute(
        "insert into public.plans (id, name, max_running, max_pending, max_pixels)"
        " values ($1, 'Bounds', 2, 50, 1000000)",
        plan,
    )
    small = drawing()
    large = replace(
        small, data=small.data.replace(b'width="96" height="64"', b'width="1500" height="1000"', 1)
    )
    async with person(local, api.url, db, plan=plan) as someone:
        assert (await someone.process(small, "convert-v1:format-png"))["status"] == "done"
        ended = await someone.process(large, "convert-v1:format-png")
    assert (ended["status"], ended["error"]["code"]) == ("error", "too_many_pixels")
    assert "1500 x 1000" in ended["error"]["detail"]


@pytest.mark.parametrize(
    "changed", [{"filename": "logo.svg"}, {"content_type": "image/svg+xml; charset=utf-8"}]
)
async def test_a_deployment_may_refuse_drawings(stack: Stack, changed: dict[str, str]) -> None:
    claim = IntakeRequest.model_validate(drawing().claim("convert-v1") | {"content_type": None} | changed)
    for accepts in (True, False):
        settings = load_settings(**stack.environment(), accept_svg=accepts)
        async with open_resources(settings) as resources:
            if accepts:
                assert check(claim, resources).key == "convert-v1"
                continue
            with pytest.raises(ProblemError, match="not accepted here") as refusal:
                check(claim, resources)
            assert refusal.value.code is Code.unsupported_type
