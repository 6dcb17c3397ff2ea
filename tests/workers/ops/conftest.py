"""Opens the models that ops run on in this process, as the fork server does for its children."""

from __future__ import annotations

import pytest

from service.ops.weights import BY_NAME
from service.settings import Settings
from service.weights import located
from workers.models import sessions


@pytest.fixture(scope="session", autouse=True)
def saliency_model() -> None:
    """The subject finder, from where scripts/local/bootstrap puts it."""
    sessions.load([located(BY_NAME["u2netp"], Settings.model_fields["models_dir"].default)])
