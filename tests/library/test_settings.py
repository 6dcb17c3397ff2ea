"""Settings: who one is, what one has chosen, and the size that is worked at."""

from __future__ import annotations

import io
import secrets

import numpy as np
import pytest
from PIL import Image

from scripts.local.home import Local
from scripts.local.process import Child
from service.ops.variant import Variant, parse_variant, variant_for
from tests.library.people import Connection, person
from tests.photos import photo

SIDE = 256


async def test_settings_are_shown_and_changed_one_by_one(local: Local, api: Child, db: Connection) -> None:
    async with person(local, api.url, db, plan="free") as free:
        me = await free.say("GET", "/me")
        assert (me["plan"]["id"], me["credits"]) == ("free", await free.balance())
        assert me["settings"] == {
            "keep_original": True,
            "keep_full_res": True,
            "versions_to_keep": 20,
            "archive_after_days": None,
        }
        changed = await free.say("PATCH", "/me", {"versions_to_keep": 3, "archive_after_days": 30})
        assert changed["settings"] == me["settings"] | {"versions_to_keep": 3, "archive_after_days": 30}
        changed = await free.say("PATCH", "/me", {"archive_after_days": None, "keep_original": False})
        assert changed["settings"] == me["settings"] | {"versions_to_keep": 3, "keep_original": False}
        assert await free.say("GET", "/me") == changed
        for wrong in ({"versions_to_keep": 0}, {"plan": "pro"}, {"keep_original": None}):
            assert await free.refused("PATCH", "/me", wrong, 422) == "invalid_request"


async def test_without_full_resolution_pictures_are_worked_on_at_the_side_of_the_plan(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    plan = f"small-{secrets.token_hex(4)}"
    await db.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, working_side)"
        " values ($1, 'Small', 8, 100, true, $2)",
        plan,
        SIDE,
    )
    large, small = photo(600, 400), photo(200, 100)
    async with person(local, api.url, db, plan=plan) as paid:
        await paid.say("PATCH", "/me", {"keep_full_res": False})
        done = await paid.process(large, "flatten-v1", wants_persist=True)
        assert (done["output"]["width"], done["output"]["height"]) == (SIDE, round(SIDE * 400 / 600))
        assert (await paid.process(small, "flatten-v1"))["output"]["width"] == 200
        cropped = await paid.process(large, "resize-v1:width-300")
        assert cropped["output"]["width"] == SIDE  # nothing is enlarged
        await paid.say("PATCH", "/me", {"keep_full_res": True})
        full = await paid.intake(large, "flatten-v1")
        assert not full["cached"]
        assert (await paid.wait(full["job_id"]))["output"]["width"] == 600
        await paid.say("PATCH", "/me", {"keep_full_res": False})
        again = await paid.intake(large, "flatten-v1")
        assert (again["cached"], again["output"]["width"]) == (True, SIDE)


async def test_a_plan_of_previews_marks_its_results_and_no_others(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    plan = f"preview-{secrets.token_hex(4)}"
    await db.execute(
        "insert into public.plans (id, name, max_running, max_pending, watermark)"
        " values ($1, 'Preview', 8, 100, true)",
        plan,
    )
    picture = photo(400, 300)
    async with person(local, api.url, db, plan=plan) as viewer, person(local, api.url, db) as free:
        marked = await viewer.process(picture, "convert-v1:format-png")
        plain = await free.process(picture, "convert-v1:format-png")
        assert not plain.get("cached")
        pixels = [
            np.asarray(
                Image.open(io.BytesIO((await viewer.download(made["output_urls"][0])).content)).convert("L")
            )
            for made in (marked, plain)
        ]
        changed = np.abs(pixels[0].astype(int) - pixels[1]) > 8
        assert 0.02 < changed.mean() < 0.5
        # Everywhere: no quarter of the picture is without it.
        assert all(
            part.any() for half in np.array_split(changed, 2) for part in np.array_split(half, 2, axis=1)
        )
        assert (await viewer.intake(picture, "convert-v1:format-png"))["cached"]


def test_variants_name_the_side_only_where_it_matters() -> None:
    assert variant_for(3000, 2000, None) == variant_for(2048, 100, 2048) == "full"
    assert variant_for(100, 2049, 2048) == "side-2048"
    assert variant_for(100, 100, 2048, drawing=True) == "side-2048"
    assert variant_for(100, 100, None, drawing=True) == "full"
    for side in (None, 2048):
        for marked in (False, True):
            named = variant_for(3000, 2000, side, marked=marked)
            assert parse_variant(named) == Variant(side, marked)
    for wrong in ("", "side-x", "side-9marked", ".marked", "marked.side-9", "side-"):
        with pytest.raises(ValueError, match="unknown variant"):
            parse_variant(wrong)
