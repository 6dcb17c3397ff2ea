"""Opens the models that ops run on in this process, as the fork server does for its children."""

from __future__ import annotations

import pytest

from service.ops.weights import BY_NAME
from service.platform.settings import Settings
from service.platform.weights import located
from workers.models import sessions

NAMES = ("u2netp", "realesr-animevideov3", "realesrgan-x4plus")


def open_models() -> None:
    """From where scripts/local/bootstrap puts them."""
    directory = Settings.model_fields["models_dir"].default
    sessions.load(located(BY_NAME[name], directory) for name in NAMES)


@pytest.fixture(scope="session", autouse=True)
def opened_models() -> None:
    open_models()
