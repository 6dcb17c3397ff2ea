"""process(): the whole way of a task, from a file to a file."""

import io
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.docs.scene import mug
from scripts.local.home import REPOSITORY
from scripts.local.process import unmeasured
from service.ops.catalogue import OPS
from service.ops.registry import OpKeyError, parse
from tests.workers.ops.pictures import noise, pixels, spread
from workers.imaging.types import Claim, PixelResult, PixelTask
from workers.ops import pipeline
from workers.pixel_errors import PixelError

SMALL, TINY = (500, 375), (200, 150)
EXAMPLES = sorted({parse(example).key for op in OPS for example in op.examples})


def _product(directory: Path, size: tuple[int, int]) -> Path:
    path = directory / "mug.jpg"
    exif = Image.Exif()
    exif[0x010F] = "Maker of the camera"
    mug(size).photo.save(path, quality=92, exif=exif)
    return path


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _product(tmp_path_factory.mktemp("product"), (600, 450))


@pytest.fixture(scope="session")
def small_products(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Path]:
    """As small as every example works on and makes a thumbnail of full size of; smaller where it is enlarged."""
    return {size: _product(tmp_path_factory.mktemp("small"), size) for size in (SMALL, TINY)}


def process(source: Path, workdir: Path, op_key: str) -> PixelResult:
    with Image.open(source) as image:
        claim = Claim(*image.size)
    workdir.mkdir(exist_ok=True)
    return pipeline.process(PixelTask(source, workdir, op_key, claim))


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


@pytest.mark.parametrize("key", EXAMPLES)
def test_every_example_runs_and_repeats_to_the_byte(
    key: str, small_products: dict[tuple[int, int], Path], tmp_path: Path
) -> None:
    size = TINY if key.startswith("upscale") else SMALL
    one, two = (process(small_products[size], tmp_path / name, key) for name in ("one", "two"))
    assert one.sha256 == two.sha256
    assert one.thumb.read_bytes() == two.thumb.read_bytes()
    image, thumb = opened(one.output), opened(one.thumb)
    assert f"image/{(image.format or '').lower()}" == one.content_type
    assert image.size == (one.width, one.height)
    assert (thumb.format, max(thumb.size)) == ("WEBP", 256)
    assert (one.size, one.output.parent) == (one.output.stat().st_size, tmp_path / "one")
    assert (one.source_format, one.source_width, one.source_height) == ("JPEG", *size)
    for picture in (image, thumb):
        assert not picture.getexif()
        assert b"Maker of the camera" not in one.output.read_bytes()
    steps = [f"{number}:{step.op.key}" for number, step in enumerate(parse(key).steps, 1)]
    named = [name for name in one.timings if name[0].isdigit()]
    assert [name for name in steps if "convert" not in name and "compress" not in name] == named
    assert {"verify", "decode", "encode", "thumbnail"} <= one.timings.keys()
    assert all(milliseconds >= 0 for milliseconds in one.timings.values())


def test_shadow_after_flatten_falls_from_the_subject_on_the_colour(product: Path, tmp_path: Path) -> None:
    result = process(
        product,
        tmp_path / "w",
        parse("bgremove-v1+flatten-v1:color-white+shadow-v1+convert-v1:format-png").key,
    )
    image = pixels(opened(result.output)).astype(int)
    assert image.shape == (450, 600, 3)
    for corner in (image[0, 0], image[0, -1], image[-1, 0], image[-1, -1]):
        assert (corner == 255).all()
    below = image[int(0.86 * 450), int(0.44 * 600)]
    assert (below < 250).all(), "the shadow lies under the mug"
    assert np.ptp(below) <= 2, "and it is grey"


def test_a_chain_is_its_steps_one_after_another(product: Path) -> None:
    with Image.open(product) as opened_:
        photo = opened_.convert("RGB")
    chain = parse("crop-v1:aspect-1x1+resize-v1:width-200+watermark-v1:text-a")
    alone = photo
    for step in chain.steps:
        alone = pipeline.run(parse(step.key), alone)[0]
    assert pipeline.run(chain, photo)[0].tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    "key",
    [
        "resize-v1:width-150",
        "resize-v1:fit-cover:height-100:width-100",
        "resize-v1:fit-contain:height-100:width-300",
        "resize-v1:fit-fill:height-100:width-300",
    ],
)
def test_decoding_small_equals_resizing_the_full_picture(key: str, product: Path, tmp_path: Path) -> None:
    result = opened(process(product, tmp_path / "w", f"{key}+convert-v1:format-png").output)
    with Image.open(product) as source:
        full = pipeline.run(parse(key), source.convert("RGB"))[0]
    assert result.size == full.size
    assert spread(result, full) < 1.5


@pytest.mark.parametrize(
    ("key", "size"),
    [
        ("resize-v1:width-150", (150, 112)),
        ("resize-v1:fit-cover:height-100:width-100", (133, 100)),
        ("resize-v1:width-600", None),
        ("resize-v1:upscale-true:width-900", None),
        ("resize-v1:fit-fill:height-900:upscale-true:width-100", None),
        ("crop-v1:aspect-1x1+resize-v1:width-50", None),
    ],
)
def test_only_a_chain_that_begins_by_shrinking_decodes_small(
    key: str, size: tuple[int, int] | None, product: Path
) -> None:
    from workers.imaging.types import Limits
    from workers.imaging.verify import verify

    info = verify(product, Claim(600, 450), Limits())
    assert pipeline.decode_size(info, parse(key)) == size


def test_orientation_is_baked_in_before_the_op_sees_sizes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = tmp_path / "turned.jpg"
    photo = mug((600, 400)).photo
    photo.save(source, quality=95, exif=exif)
    result = process(source, tmp_path / "w", "resize-v1:width-200+convert-v1:format-png")
    assert (result.width, result.height) == (200, 300)
    assert (result.source_width, result.source_height) == (400, 600)
    upright = photo.transpose(Image.Transpose.ROTATE_270).resize((200, 300), Image.Resampling.LANCZOS)
    assert spread(opened(result.output), upright) < 2


def test_alpha_without_use_is_dropped_and_other_alpha_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "cut.png"
    cut = Image.new("RGBA", (120, 80))
    cut.paste(noise(60, 40), (30, 20))
    cut.save(source)
    kept = opened(process(source, tmp_path / "a", "resize-v1:width-60+convert-v1:format-png").output)
    assert kept.mode == "RGBA"
    inside = opened(
        process(source, tmp_path / "b", "crop-v1:height-40:width-60:x-30:y-20+convert-v1:format-png").output
    )
    assert inside.mode == "RGB"
    assert (pixels(inside) == pixels(noise(60, 40))).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (17, 1)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_tiny_pictures_give_a_picture_or_a_clear_refusal(
    mode: str, size: tuple[int, int], tmp_path: Path
) -> None:
    image = noise(*size, bands=len(mode))
    settings = [
        "flatten-v1", "shadow-v1", "shadow-v1:kind-contact", "shadow-v1:grow-false", "enhance-v1",
        "upscale-v1:factor-4", "resize-v1:width-1", "resize-v1:fit-cover:height-5:upscale-true:width-5",
        "resize-v1:fit-contain:height-5:width-5", "crop-v1:aspect-16x9", "watermark-v1:text-a",
        "watermark-v1:angle-45:text-abc", "watermark-v1:text-a:tiled-true",
    ]  # fmt: skip
    for key in settings:
        result = pipeline.run(parse(key), image)[0]
        assert min(result.size) >= 1
        assert result.mode in {"RGB", "RGBA"}
    for key in ("bgremove-v1", "bgremove-v2", "compose-v1", "compose-v2"):
        with pytest.raises(PixelError, match="too small"):
            pipeline.run(parse(key), image.convert("RGB"))[0]
        cut_out = Image.new("RGBA", (size[0] + 1, size[1] + 1))
        cut_out.paste(image)
        assert min(pipeline.run(parse(key), cut_out)[0].size) >= 1


def test_every_op_that_changes_pixels_is_implemented() -> None:
    written = {"convert-v1", "compress-v1"}
    assert {op.key for op in OPS if op.parameters in pipeline.APPLY} == {op.key for op in OPS} - written


@pytest.mark.parametrize(
    "pair", list(itertools.product(["flatten-v1:color-red"], ["shadow-v1", "resize-v1:width-90"]))
)
def test_a_background_laid_first_or_last_is_the_same(
    pair: tuple[str, str], product: Path, tmp_path: Path
) -> None:
    one, two = (
        process(product, tmp_path / str(index), parse("bgremove-v1+" + "+".join(order)).key)
        for index, order in enumerate((pair, pair[::-1]))
    )
    assert one.sha256 == two.sha256


def test_a_key_that_is_none_is_refused(product: Path, tmp_path: Path) -> None:
    with pytest.raises(OpKeyError):
        process(product, tmp_path / "w", "resize-v1")


def test_ops_load_no_statistics() -> None:
    """scipy.signal loads scipy.stats: half a second and 48 MB of every worker."""
    asked = "import sys, workers.ops.pipeline; sys.exit(not {'scipy.signal', 'scipy.stats'}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", asked], check=True, cwd=REPOSITORY, env=os.environ | unmeasured())
