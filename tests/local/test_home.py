"""The secrets of a home: made once, kept, and completed when a newer checkout needs one more."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.local.home import Home, Secrets


def test_secrets_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first = Home(tmp_path).secrets()
    assert Home(tmp_path).secrets() == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def test_a_home_of_an_older_checkout_keeps_its_secrets_and_gains_the_new_one(tmp_path: Path) -> None:
    old = Secrets.new().model_dump(exclude={"darkroom_secret"})
    (tmp_path / "secrets.json").write_text(json.dumps(old))
    completed = Home(tmp_path).secrets()
    assert completed.model_dump(exclude={"darkroom_secret"}) == old
    assert len(completed.darkroom_secret) >= 32
    assert Home(tmp_path).secrets() == completed
