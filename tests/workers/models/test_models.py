"""The models that come in packages run in pixel children, give the same answer every time, and are what they say."""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from scripts.local.home import REPOSITORY, Local
from service.ops.variant import FULL, parse_variant, variant_for
from service.ops.weights import BY_NAME, WEIGHTS, Installed
from service.platform.settings import OwnWeights, SettingsError
from service.platform.weights import WeightsError, check, installed
from tests.service.conftest import settings_for
from workers.imaging.pool import PixelPool
from workers.imaging.types import PixelTask
from workers.models.ncnn import NcnnModel
from workers.pixel_errors import PixelError

ENTRY = "tests.workers.models.entries:ask"
Make = Callable[[str], PixelTask]
ENLARGED = {"realesr-animevideov3": (3, 192, 128), "realesrgan-x4plus": (3, 96, 64)}


@pytest.fixture(scope="module")
def weights(local: Local) -> dict[str, Installed]:
    return installed(settings_for(local))


@pytest.fixture(scope="module")
async def pool(weights: dict[str, Installed]) -> AsyncIterator[PixelPool]:
    async with PixelPool(
        workers=2, memory_mb=2048, seconds=120, entry=ENTRY, models=tuple(weights.values())
    ) as pool:
        yield pool


async def _answer(pool: PixelPool, task: PixelTask) -> np.ndarray:
    await pool.run(task)
    answer: np.ndarray = np.load(task.workdir / "answer.npy")
    return answer


def test_every_model_is_installed_and_is_the_one_that_is_named(weights: dict[str, Installed]) -> None:
    assert set(weights) == set(BY_NAME)
    check(weights.values())


@pytest.mark.parametrize("name", sorted(BY_NAME))
async def test_a_model_answers_the_same_in_every_child(pool: PixelPool, make_task: Make, name: str) -> None:
    first, second = [await _answer(pool, make_task(name)) for _ in range(2)]
    assert first.tobytes() == second.tobytes()
    assert np.isfinite(first).all()
    assert first.std() > 0
    if name in ENLARGED:
        assert first.shape == ENLARGED[name]


def test_an_array_is_there_until_ncnn_has_read_it(weights: dict[str, Installed]) -> None:
    """Of an array in another order ncnn gets a copy, which nobody else holds."""
    model = NcnnModel(weights["realesr-animevideov3"].files)
    noise = np.random.default_rng(0).random((3, 48, 32), np.float32)
    expected = model.run(noise)
    for _ in range(5):
        assert model.run(np.asfortranarray(noise)).tobytes() == expected.tobytes()


async def test_a_child_that_a_model_drives_out_of_memory_fails_its_own_task_only(
    pool: PixelPool, make_task: Make
) -> None:
    with pytest.raises(PixelError) as failure:
        await pool.run(make_task("realesr-animevideov3 hoard"))
    assert failure.value.code in {"pixel_memory", "pixel_crash"}
    assert (await _answer(pool, make_task("realesr-animevideov3"))).shape == (3, 192, 128)


async def test_a_worker_without_weights_says_so(make_task: Make) -> None:
    async with PixelPool(workers=1, entry=ENTRY) as pool:
        with pytest.raises(PixelError) as failure:
            await pool.run(make_task("u2netp"))
    assert (failure.value.code, failure.value.retryable) == ("op_unavailable", True)


def test_weights_that_are_not_the_named_ones_are_found_out(
    weights: dict[str, Installed], tmp_path: Path
) -> None:
    forged = tmp_path / "u2netp.onnx"
    forged.write_bytes(weights["u2netp"].files[0].read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="u2netp"):
        check([dataclasses.replace(weights["u2netp"], files=(forged,))])


def test_an_operators_own_weights_have_keys_of_their_own(local: Local, tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(b"trained elsewhere")
    digest = hashlib.sha256(b"trained elsewhere").hexdigest()
    settings = settings_for(local, own_weights=f"u2netp={own}@{digest}")
    assert settings.own_weights == {"u2netp": OwnWeights(own, digest)}
    found = installed(settings)["u2netp"]
    assert (found.files, found.digests) == ((own,), (digest,))
    check([found])
    for wrong in (
        "u2netp",
        f"u2netp={own}@12",
        f"nothing={own}@{digest}",
        f"realesrgan-x4plus={own}@{digest}",
    ):
        with pytest.raises(SettingsError):
            settings_for(local, own_weights=wrong)


def test_weights_stand_in_variants() -> None:
    assert variant_for(10, 10, None) == FULL
    for side in (None, 8):
        for marked in (False, True):
            names = {
                variant_for(10, 10, side, marked=marked, weights=weights) for weights in (None, "a" * 12)
            }
            assert len(names) == 2
            for name in names:
                assert str(parse_variant(name)) == name


def test_the_package_of_every_model_is_licensed(local: Local) -> None:
    """The licence files are installed beside the weights, and docs/models.md names package, licence and digest."""
    directory: Path = settings_for(local).models_dir
    page = (REPOSITORY / "docs" / "models.md").read_text()
    for weights in WEIGHTS:
        assert (directory / weights.name / "LICENSE.txt").read_text()
        for said in (weights.name, weights.package.name, weights.licence, weights.sha256, weights.origin):
            assert said in page


def test_the_programs_that_run_models_are_an_extra() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extra = " ".join(project["optional-dependencies"]["models"])
    for runtime in {weights.runtime for weights in WEIGHTS}:
        assert runtime in extra
        assert runtime not in " ".join(project["dependencies"])
