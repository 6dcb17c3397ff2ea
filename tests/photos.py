"""Pictures for tests: real files with content of their own, so that no two tests share a cache key by accident."""

import hashlib
import io
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Photo:
    """Bytes of a picture and what an honest client says about them."""

    data: bytes
    width: int
    height: int
    content_type: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def claim(self, op_key: str, **changed: Any) -> dict[str, Any]:
        """Body of POST /intake."""
        honest = {
            "sha256": self.sha256,
            "filename": "photo",
            "size": len(self.data),
            "content_type": self.content_type,
            "width": self.width,
            "height": self.height,
            "op_key": op_key,
        }
        return honest | changed

    def opened(self) -> Image.Image:
        return Image.open(io.BytesIO(self.data))


def photo(
    width: int = 320, height: int = 240, *, kind: str = "JPEG", seed: int | None = None, **save: Any
) -> Photo:
    """A gradient with a disc and noise; another one at each call unless `seed` is given."""
    rng = np.random.default_rng(secrets.randbits(64) if seed is None else seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels = np.stack([x / width * 200, y / height * 200, np.full_like(x, 90)], axis=-1)
    inside = np.hypot(x - width / 2, y - height / 2) < min(width, height) / 3
    pixels[inside] = rng.integers(60, 255, 3)
    pixels += rng.normal(0, 4, pixels.shape)
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    picture.save(file, kind, **save)
    return Photo(file.getvalue(), width, height, f"image/{kind.lower()}")


def assert_looks_like(picture: Photo, served: bytes) -> None:
    """`served` is a smaller rendition of this picture, and of no other."""
    output = Image.open(io.BytesIO(served)).convert("RGB")
    expected = picture.opened().convert("RGB").resize(output.size, Image.Resampling.LANCZOS)
    pairs = zip(output.tobytes(), expected.tobytes(), strict=True)
    assert sum(abs(a - b) for a, b in pairs) / len(output.tobytes()) < 8
