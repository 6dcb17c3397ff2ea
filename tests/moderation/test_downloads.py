"""What a user typed is a label: never a path, a header or markup."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.platform.downloads import MAX_BYTES, download_url, suggested_name
from service.platform.resources import Platform
from tests.client import Client
from tests.photos import photo

OP = "bgremove-v1+resize-v1:width-16"
HOSTILE = {
    'a"; filename="evil.exe': "a_; filename=_evil-resize.webp",
    "../../etc/passwd": "passwd-resize.webp",
    "..\\..\\windows\\system.ini": "system-resize.webp",
    "\u202egpj.exe": "gpj-resize.webp",
    "naïve café ☕.jpeg": "naïve café ☕-resize.webp",
    "👩‍🚀.png": "👩‍🚀-resize.webp",
    "漢" * 85: "漢" * 62 + "-resize.webp",
    "x" * 255: "x" * (MAX_BYTES - 12) + "-resize.webp",
    "<script>alert(1)</script>": "script_-resize.webp",
    "100%&download=other;#?.png": "100_&download=other;#_-resize.webp",
    "....": "picture-resize.webp",
    " .hidden": "hidden-resize.webp",
    "CON": "CON-resize.webp",
    "\u2028\u2029a": "a-resize.webp",
    "archive.tar.gz": "archive.tar-resize.webp",
}
RESIZE = "resize-v1:width-16"


@pytest.mark.parametrize("filename", HOSTILE)
def test_hostile_names(filename: str) -> None:
    assert suggested_name(filename, RESIZE, "folder/x.webp") == HOSTILE[filename]


@pytest.mark.parametrize("filename", ["a\r\nSet-Cookie: x=1", "a\tb\0c\x7f", "", "\x00"])
def test_names_that_intake_would_not_even_take(filename: str) -> None:
    assert suggested_name(filename, RESIZE, "x.webp") in {
        "a Set-Cookie_ x=1-resize.webp",
        "a bc-resize.webp",
        "picture-resize.webp",
    }


def test_the_steps_are_named() -> None:
    name = suggested_name("mug.jpg", "bgremove-v1+flatten-v1:color-white+shadow-v12:x-1", "a/b.c/d.avif")
    assert name == "mug-bgremove-flatten-shadow.avif"


@given(st.text(max_size=300))
def test_any_name_is_a_plain_file_name(filename: str) -> None:
    name = suggested_name(filename, OP, "x.webp")
    assert name.endswith("-bgremove-resize.webp")
    assert len(name.encode()) <= MAX_BYTES
    assert not re.search(r'[\x00-\x1f\x7f/\\<>:"|?*%\u202a-\u202e\u2066-\u2069]', name)
    assert not name.startswith((".", " ", "-"))
    parts = urlsplit(download_url("https://storage.example/object/sign/b/k?token=t", name))
    assert parse_qs(parts.query) == {"token": ["t"], "download": [name]}
    assert parts.fragment == ""


@pytest.mark.parametrize("filename", HOSTILE)
async def test_a_download_has_the_name(client: Client, filename: str) -> None:
    """Through Storage: one attachment header, RFC 6266, with this name; nothing of it anywhere else."""
    done = await client.process(photo(32, 24), RESIZE, filename=filename)
    assert done["status"] == "done"
    answer = await client.download(done["download_url"])
    assert answer.status_code == 200
    disposition = answer.headers["content-disposition"]
    [encoded] = re.findall(r"filename\*=UTF-8''([^;]*)", disposition)
    assert parse_qs(f"n={encoded.replace('+', '%2B')}")["n"] == [HOSTILE[filename]]
    assert disposition.isascii()
    assert disposition.count("filename=") == 1
    plain = await client.download(done["output_urls"][0])
    assert "content-disposition" not in plain.headers
    assert plain.content == answer.content
    assert filename not in done["output_urls"][0]


async def test_a_hit_tells_a_visitor_no_name_of_another_one(client: Client, user_client: Client) -> None:
    picture = photo(32, 24)
    await client.process(picture, RESIZE, filename="my secret project.jpg")
    for filename in ("first.jpg", "second.jpg"):  # from the database, then from Redis
        hit = await client.intake(picture, RESIZE, filename=filename)
        assert hit["cached"] is True
        assert hit["download_url"].endswith("download=picture-resize.webp")
    own = await user_client.intake(picture, RESIZE, filename="mine.jpg")
    assert own["download_url"].endswith("download=mine-resize.webp")


async def test_no_object_is_named_by_a_user(client: Client, platform: Platform) -> None:
    name = "../../outputs-ephemeral/else.png"
    answer = await client.intake(photo(32, 24), RESIZE, filename=name)
    assert answer["upload_path"] == f"{answer['job_id']}/original"
    assert "else" not in answer["upload_url"]
    assert await platform.storage.info("outputs-ephemeral", "else.png") is None
