"""One table of media types for the intake and for the pixels."""

from __future__ import annotations

from typing import get_args

import pytest

from service.platform.media import ACCEPTED, CONTENT_TYPES, EXTENSIONS, SourceFormat, claimed_type


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("image/jpeg", "image/jpeg"),
        (" IMAGE/JPG ; charset=binary", "image/jpeg"),
        ("image/heif", "image/heic"),
        ("image/apng", "image/png"),
        ("image/x-bmp", "image/bmp"),
        ("image/jxl", "image/jxl"),
        ("application/octet-stream", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_label_claims(label: str | None, meant: str | None) -> None:
    assert claimed_type(label) == meant


def test_every_format_has_its_type_and_extension() -> None:
    assert set(CONTENT_TYPES) == set(get_args(SourceFormat))
    assert set(EXTENSIONS) == set(CONTENT_TYPES.values())
    assert {claimed_type(label) for label in ACCEPTED} == set(CONTENT_TYPES.values())
