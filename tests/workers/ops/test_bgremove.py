"""bgremove on rendered scenes whose true matte is known."""

import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scripts.docs.scene import Look, Scene, mug
from service.ops.cutout import Bgremove
from tests.workers.ops.pictures import noise, on_grey, pixels, ramp, shirt, square
from workers.models import sessions
from workers.ops import bgremove
from workers.pixel_errors import PixelError

LOOKS = {
    "light sweep": Look(),
    "strong sweep and noise": Look(sweep=60, noise=4, shadow=0.15),
    "white with a soft shadow": Look(wall=(250, 250, 250), sweep=6, noise=1, shadow=0.2),
    "dark": Look(wall=(40, 42, 50), product=(200, 120, 60), sweep=25, noise=3),
    "green": Look(wall=(90, 170, 90), sweep=30, noise=2.5),
    "warm, pale product": Look(wall=(236, 230, 220), product=(190, 120, 110), noise=1, shadow=0),
}


def errors(cut: Image.Image, scene: Scene) -> tuple[float, float]:
    """(intersection over union of the halves above 50 %, mean absolute error of alpha)."""
    found, truth = (pixels(part).astype(np.float32) / 255 for part in (cut.getchannel("A"), scene.truth))
    union = (found > 0.5) | (truth > 0.5)
    return float(((found > 0.5) & (truth > 0.5)).sum() / union.sum()), float(np.abs(found - truth).mean())


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_matte_is_close_to_the_truth(look: Look) -> None:
    scene = mug(look=look)
    overlap, error = errors(bgremove.apply(scene.photo, Bgremove()), scene)
    assert overlap > 0.993
    assert error < 0.002


def test_large_pictures_are_cut_at_full_resolution() -> None:
    scene = mug((2600, 1900))
    cut = bgremove.apply(scene.photo, Bgremove())
    overlap, error = errors(cut, scene)
    assert overlap > 0.998
    assert error < 0.0006
    alpha = pixels(cut)[..., 3]
    # The outline is computed from the full picture, so it is as thin here as in a small one.
    assert ((alpha > 12) & (alpha < 243)).sum() < 2.5 * _outline(scene)


def _outline(scene: Scene) -> int:
    truth = pixels(scene.truth)
    return int(((truth > 0) & (truth < 255)).sum())


def test_holes_are_seen_through_unless_told_otherwise() -> None:
    scene = mug()
    handle = (int(0.68 * 900), int(0.52 * 700))
    through, filled = (bgremove.apply(scene.photo, Bgremove(holes=holes)) for holes in (True, False))
    assert through.getpixel(handle) == (0, 0, 0, 0)
    assert pixels(filled)[handle[1], handle[0], 3] == 255


def test_a_highlight_is_no_hole() -> None:
    scene = mug(look=Look(wall=(253, 253, 253), sweep=2, noise=0.5))
    alpha = pixels(bgremove.apply(scene.photo, Bgremove()))[..., 3]
    assert (alpha[220:500, 260:420] == 255).all()


def test_nothing_of_the_old_background_is_left() -> None:
    """The cut-out on another colour looks as if it had been shot there."""
    look = Look(wall=(90, 170, 90), sweep=10, noise=1, shadow=0)
    scene = mug(look=look)
    cut = bgremove.apply(scene.photo, Bgremove())
    assert (pixels(cut)[pixels(cut)[..., 3] == 0] == 0).all()
    bright = np.array([235, 235, 235], np.float32)
    truth = pixels(scene.truth).astype(np.float32)[..., None] / 255
    product = pixels(mug(look=Look(wall=(0, 0, 0), sweep=0, noise=0, shadow=0)).photo).astype(np.float32)
    expected = product + (1 - truth) * bright
    result = pixels(cut).astype(np.float32)
    part = result[..., 3:] / 255
    seen = result[..., :3] * part + (1 - part) * bright
    edge = (truth[..., 0] > 0.05) & (truth[..., 0] < 0.95)
    assert np.abs(seen - expected)[edge].mean() < 16
    # Green spill would push green above the mean of red and blue.
    spill = (seen - expected)[edge]
    assert abs(float((spill[:, 1] - (spill[:, 0] + spill[:, 2]) / 2).mean())) < 3


def test_thin_parts_survive() -> None:
    photo, truth = Image.new("RGB", (700, 500), (232, 233, 235)), Image.new("L", (700, 500))
    for canvas, colour in ((photo, (60, 50, 40)), (truth, 255)):
        draw = ImageDraw.Draw(canvas)
        draw.rectangle((250, 250, 450, 450), fill=colour)
        draw.arc((270, 80, 430, 420), 180, 360, fill=colour, width=3)
    overlap, _ = errors(bgremove.apply(photo, Bgremove()), Scene(photo, truth))
    assert overlap > 0.985


def test_a_subject_that_touches_the_border_is_kept() -> None:
    photo, truth = Image.new("RGB", (600, 500), (225, 228, 230)), Image.new("L", (600, 500))
    for canvas, colour in ((photo, (120, 40, 60)), (truth, 255)):
        ImageDraw.Draw(canvas).rectangle((200, 150, 400, 499), fill=colour)
    overlap, _ = errors(bgremove.apply(photo, Bgremove()), Scene(photo, truth))
    assert overlap > 0.99


def test_trim_cuts_to_the_subject() -> None:
    scene = mug()
    trimmed = bgremove.apply(scene.photo, Bgremove(trim=True))
    left, top, right, bottom = scene.truth.getbbox() or (0, 0, 0, 0)
    assert abs(trimmed.width - (right - left)) <= 4
    assert abs(trimmed.height - (bottom - top)) <= 4


def test_a_cut_out_is_left_as_it_is() -> None:
    source = square(80, 40)
    assert bgremove.apply(source, Bgremove()) is source
    assert bgremove.apply(source, Bgremove(trim=True)).size == (40, 40)


def _stripes() -> Image.Image:
    stripes = ramp(300, 200).point([255 if level // 16 % 2 else 40 for level in range(256)] * 3)
    stripes.paste((200, 40, 40), (100, 60, 200, 140))
    return stripes


def _landscape() -> Image.Image:
    image = Image.new("RGB", (300, 200), (120, 170, 230))
    image.paste(noise(300, 110, seed=5), (0, 90))
    return image


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (noise(200, 150), "not plain"),
        (_stripes(), "not plain"),
        (_landscape(), "not plain"),
        (Image.new("RGB", (200, 150), (230, 230, 230)), "no subject"),
        (Image.new("RGB", (8, 200), (230, 230, 230)), "too small"),
    ],
    ids=["noise", "stripes", "landscape", "empty", "narrow"],
)
def test_what_cannot_be_cut_is_refused(photo: Image.Image, reason: str) -> None:
    with pytest.raises(PixelError, match=reason) as caught:
        bgremove.apply(photo, Bgremove())
    assert (caught.value.code, caught.value.retryable) == ("op_failed", False)


def test_a_refusal_for_noise_does_not_speak_of_the_border() -> None:
    grainy = np.random.default_rng(0).normal(128, 20, (300, 300, 1)).repeat(3, axis=2)
    grainy[90:210, 90:210] = (200, 30, 30)
    photo = Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8))
    with pytest.raises(PixelError, match="too grainy") as caught:
        bgremove.apply(photo, Bgremove())
    assert "%" not in caught.value.detail
    assert "bgremove-v2" in caught.value.detail


def test_a_refusal_for_the_border_names_shares_that_explain_it() -> None:
    with pytest.raises(PixelError, match=r"only \d+% .* at least 62%") as caught:
        bgremove.apply(_landscape(), Bgremove())
    found, needed = (int(share) for share in re.findall(r"(\d+)%", caught.value.detail))
    assert found < needed


def _vanishing() -> Image.Image:
    """A white shirt on light grey: the flood from the border swallows part of it."""
    return on_grey(shirt(), (246, 246, 246))


def test_a_result_without_part_of_the_subject_is_refused_where_the_model_can_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(PixelError, match="of the subject has the colour of the background") as caught:
        bgremove.apply(_vanishing(), Bgremove())
    assert (caught.value.code, caught.value.retryable) == ("op_failed", False)
    monkeypatch.setattr(sessions, "_OPEN", {})
    assert bgremove.apply(_vanishing(), Bgremove()).mode == "RGBA"


def test_equal_input_gives_equal_bytes() -> None:
    photo = mug((500, 400)).photo
    assert bgremove.apply(photo, Bgremove()).tobytes() == bgremove.apply(photo.copy(), Bgremove()).tobytes()
