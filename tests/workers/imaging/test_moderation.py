"""What a pixel child looks at: source and result, as they are shown, every scene, also beneath transparency."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from scripts.local.home import Local
from service.ops.weights import Installed
from service.platform.weights import installed
from tests.nsfw import discs, doubtful
from tests.service.conftest import settings_for
from tests.workers.imaging.svg.drawn import image, svg
from workers.imaging.keeping import ENTRY as KEEPING
from workers.imaging.pool import PixelPool
from workers.imaging.types import Claim, NsfwScores, PixelTask
from workers.pixel_errors import PixelError

SURE, CLEAN = 0.85, 0.4
HARMLESS = Image.linear_gradient("L").resize((320, 240)).convert("RGB")


@pytest.fixture(scope="module")
def weights(local: Local) -> tuple[Installed, ...]:
    return (installed(settings_for(local))["open-nsfw"],)


@pytest.fixture(scope="module")
async def pools(weights: tuple[Installed, ...]) -> AsyncIterator[dict[str, PixelPool]]:
    async with (
        PixelPool(workers=1, models=weights) as chains,
        PixelPool(workers=1, models=weights, entry=KEEPING) as kept,
    ):
        yield {"chain": chains, "keep": kept}


class Seen(NamedTuple):
    """NsfwScores of what was looked at."""

    source: float
    worst: float


class Looker:
    def __init__(self, pools: dict[str, PixelPool], directory: Path) -> None:
        self.pools, self.directory, self._count = pools, directory, 0

    async def __call__(
        self, picture: Image.Image, op_key: str = "resize-v1:width-96", *, kind: str = "PNG", **save: Any
    ) -> Seen:
        """What the child says of a file. op_key "": of one that is only kept."""
        file = io.BytesIO()
        picture.save(file, kind, **save)
        return await self.at(file.getvalue(), picture.size, op_key)

    async def at(self, data: bytes, size: tuple[int, int], op_key: str = "resize-v1:width-96") -> Seen:
        scores = await self.scores(data, size, op_key)
        assert scores.source is not None
        assert scores.worst is not None
        return Seen(scores.source, scores.worst)

    async def scores(self, data: bytes, size: tuple[int, int], op_key: str) -> NsfwScores:
        self._count += 1
        source, workdir = self.directory / f"source{self._count}", self.directory / f"work{self._count}"
        workdir.mkdir()
        source.write_bytes(data)
        task = PixelTask(source, workdir, op_key, Claim(*size), moderate=True)
        result = await self.pools["chain" if op_key else "keep"].run(task)
        assert result.nsfw is not None
        return result.nsfw


@pytest.fixture
def look(pools: dict[str, PixelPool], tmp_path: Path) -> Looker:
    return Looker(pools, tmp_path)


def beside(*pictures: Image.Image, below: bool) -> Image.Image:
    """Square pictures of one size in a row or a column."""
    side, count = pictures[0].width, len(pictures)
    row = Image.new("RGB", (side, side * count) if below else (side * count, side))
    for index, picture in enumerate(pictures):
        row.paste(picture, (0, index * side) if below else (index * side, 0))
    return row


def drawn(body: str, more: str = "") -> str:
    """A square drawing's body, with the discs in it as a bitmap that `more` hides or not."""
    file = io.BytesIO()
    discs(320, 320).save(file, "JPEG", quality=90)
    return body + image("image/jpeg", file.getvalue(), f'width="320" height="320" {more}')


def with_alpha(picture: Image.Image, alpha: Image.Image | int) -> Image.Image:
    transparent = picture.convert("RGBA")
    transparent.putalpha(alpha)
    return transparent


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_source_and_result_are_looked_at(look: Looker, kind: str) -> None:
    bad, clean = await look(discs(), kind=kind), await look(HARMLESS, kind=kind)
    assert bad.source > SURE
    assert bad.worst >= bad.source
    assert max(clean.source, clean.worst) < CLEAN


async def test_the_model_may_be_unsure(look: Looker) -> None:
    assert CLEAN < (await look(doubtful())).worst < SURE


@pytest.mark.parametrize("size", [(64, 48), (1200, 900)])
async def test_small_and_large_pictures_are_seen(look: Looker, size: tuple[int, int]) -> None:
    assert (await look(discs(*size))).source > SURE


async def test_a_file_is_looked_at_larger_than_a_tiny_result(look: Looker) -> None:
    """What is kept of it is the whole file."""
    assert (await look(discs(1200, 900), "resize-v1:width-16", kind="JPEG")).source > SURE


async def test_what_nobody_can_recognise_is_not_looked_at(look: Looker) -> None:
    file = io.BytesIO()
    discs(60, 15).save(file, "PNG")
    assert await look.scores(file.getvalue(), (60, 15), "resize-v1:width-60") == NsfwScores(None, None)


@pytest.mark.parametrize("turned", [False, True])
async def test_a_long_picture_is_looked_at_in_squares(look: Looker, turned: bool) -> None:
    row = [HARMLESS.resize((240, 240))] * 2 + [discs(240, 240)] + [HARMLESS.resize((240, 240))]
    assert (await look(beside(*row, below=turned))).source > SURE


async def test_a_detail_is_seen_where_it_fills_the_picture(look: Looker) -> None:
    """Parts of a picture are not looked at on their own; what is cropped to one is."""
    sheet = Image.new("RGB", (1600, 1200), "white")
    sheet.paste(discs(), (0, 0))
    assert (await look(sheet)).worst < CLEAN
    assert (await look(sheet.crop((0, 0, 320, 240)))).worst > SURE


@pytest.mark.parametrize("paper", ["black", "white"])
async def test_a_transparent_picture_is_seen_over_white_and_over_black(look: Looker, paper: str) -> None:
    """The colour is one and the same everywhere; the alpha draws, and the paper shines through."""
    light = discs().convert("L")
    alpha = light if paper == "black" else Image.eval(light, lambda level: 255 - level)
    ink = Image.new("RGB", light.size, "white" if paper == "black" else "black")
    shown = Image.new("RGB", light.size, paper)
    shown.paste(ink, mask=alpha)
    assert (await look(with_alpha(ink, alpha), "")).source == pytest.approx(
        (await look(shown, "")).source, abs=0.15
    )


async def test_colours_that_hide_beneath_transparency_are_seen(look: Looker) -> None:
    hidden = with_alpha(discs(), 0)
    hidden.paste("teal", (0, 0, 30, 30))
    assert (await look(hidden, "")).source > SURE
    assert (await look(with_alpha(HARMLESS, 0), "")).source < CLEAN


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("entry", ["", "resize-v1:width-96"])
async def test_every_scene_of_an_animation_is_seen(look: Looker, kind: str, entry: str) -> None:
    frames = [HARMLESS] * 4 + [discs()] + [HARMLESS] * 3
    rest: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 50}
    assert (await look(frames[0], entry, kind=kind, **rest)).source > SURE


@pytest.mark.parametrize("entry", ["", "resize-v1:width-96"])
async def test_the_default_picture_of_an_animation_is_seen(look: Looker, entry: str) -> None:
    """Browsers show the frames behind it; programs that know no animated PNG show it."""
    rest: dict[str, Any] = {"save_all": True, "append_images": [HARMLESS], "default_image": True}
    assert (await look(discs(), entry, **rest)).source > SURE


@pytest.mark.parametrize("entry", ["", "convert-v1:format-png"])
@pytest.mark.parametrize("side", [4, 15, 320])
async def test_a_drawing_is_seen_whatever_size_it_claims(look: Looker, side: int, entry: str) -> None:
    plain = svg('<circle r="9"/>', f'width="{side}" height="{side}"')
    assert (await look.at(plain, (side, side), entry)).source < SURE
    shown = svg(drawn(""), f'width="{side}" height="{side}" viewBox="0 0 320 320"')
    assert (await look.at(shown, (side, side), entry)).source > SURE


@pytest.mark.parametrize("entry", ["", "resize-v1:width-96"])
@pytest.mark.parametrize("hidden", ["(min-width: 1000px)", "(prefers-color-scheme: dark)", ""])
async def test_what_a_drawing_hides_is_seen(look: Looker, hidden: str, entry: str) -> None:
    sheet = f"<style>.a{{display:none}}@media {hidden}{{.a{{display:inline}}}}</style>" if hidden else ""
    body = sheet + '<rect width="320" height="320" fill="grey"/>'
    data = svg(drawn(body, 'class="a"' if hidden else 'opacity="0"'), 'width="320" height="320"')
    nested = svg(image("image/svg+xml", data, 'width="9" height="9"'), 'width="320" height="320"')
    assert (await look.at(data, (320, 320), entry)).source > SURE
    assert (await look.at(nested, (320, 320), entry)).source > SURE


async def test_a_short_scene_of_a_long_animation_is_seen(look: Looker) -> None:
    frames = [Image.new("RGB", (64, 48), (index % 3, 0, 0)) for index in range(200)]
    frames[137] = discs(64, 48)
    rest: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 20}
    assert (await look(frames[0], kind="GIF", **rest)).source > SURE


async def test_a_film_that_breaks_off_is_judged_by_what_there_is(look: Looker, tmp_path: Path) -> None:
    whole = tmp_path / "whole.gif"
    HARMLESS.save(whole, save_all=True, append_images=[discs(), HARMLESS, doubtful()], duration=50)
    broken = tmp_path / "broken.gif"
    broken.write_bytes(whole.read_bytes()[:-20_000])
    task = PixelTask(broken, tmp_path, "resize-v1:width-96", Claim(320, 240), moderate=True)
    result = await look.pools["chain"].run(task)
    assert result.nsfw is not None
    assert result.nsfw.source is not None
    assert result.nsfw.source > SURE


async def test_a_child_without_the_model_lets_nothing_pass(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    HARMLESS.save(source)
    async with PixelPool(workers=1) as pool:
        with pytest.raises(PixelError) as failure:
            await pool.run(PixelTask(source, tmp_path, "resize-v1:width-60", Claim(320, 240), moderate=True))
    assert (failure.value.code, failure.value.retryable) == ("op_unavailable", True)


async def test_a_look_that_runs_out_of_memory_fails_its_own_picture_only(
    weights: tuple[Installed, ...], pools: dict[str, PixelPool], tmp_path: Path, look: Looker
) -> None:
    source, workdir = tmp_path / "source.png", tmp_path / "work"
    workdir.mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(source)
    task = PixelTask(source, workdir, "resize-v1:width-60", Claim(64, 64), moderate=True)
    entry = "tests.workers.imaging.entries:cramped"
    async with PixelPool(workers=1, models=weights, memory_mb=64, entry=entry) as cramped:
        with pytest.raises(PixelError) as failure:
            await cramped.run(task)
        unseen = await cramped.run(dataclasses.replace(task, moderate=False))
    assert failure.value.code == "pixel_memory"
    assert unseen.width == 60
    assert (await look(discs())).source > SURE
