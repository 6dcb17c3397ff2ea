"""Entries for pixel children: what a model answers about a picture of noise, written into the work directory."""

from __future__ import annotations

import numpy as np

from tests.workers.imaging.entries import whole
from workers.imaging.types import PixelResult, PixelTask
from workers.models import sessions
from workers.models.port import Array

SHAPES = {
    "u2netp": (1, 3, 320, 320),
    "open-nsfw": (1, 224, 224, 3),
    "realesr-animevideov3": (3, 48, 32),
    "realesrgan-x4plus": (3, 24, 16),
}


def ask(task: PixelTask) -> PixelResult:
    """Run the model that op_key names; its answer goes into the work directory."""
    name, _, hoard = task.op_key.partition(" ")
    noise = np.random.default_rng(0).random(SHAPES[name], np.float32)
    answer = _hoarding(name, noise) if hoard else sessions.model(name).run(noise)
    np.save(task.workdir / "answer.npy", answer)
    return whole(task)


def _hoarding(name: str, noise: Array) -> Array:
    """Ask for ever larger pictures."""
    while True:
        noise = np.concatenate([noise, noise], axis=-1)
        sessions.model(name).run(noise)
