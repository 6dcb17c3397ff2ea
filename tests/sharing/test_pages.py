"""The pages behind a link: no script, nothing of the user's unescaped, nothing said that the answer does not say."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import unquote

import httpx
import pytest

from tests.client import Client
from tests.photos import photo
from tests.sharing.conftest import Sharer

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SHOWN = {
    '"><script>alert(1)</script>.jpg': "script_.webp",
    "' onerror='alert(1)' x='.jpg": "' onerror='alert(1)' x='.webp",
    "</title></figcaption><iframe src=//evil.example>.png": "evil.example_.webp",
    "&lt;b&gt; &amp; café 猫.jpg": "&lt;b&gt; &amp; café 猫.webp",
    'a"b;c=d&download=evil#frag?x%0d%0aSet-Cookie: a=b.jpg': "a_b;c=d&download=evil#frag_x_0d_0aSet-Cookie_ a=b.webp",
    "..": "picture.webp",
    "../../etc/passwd": "passwd.webp",
    "\u202egpj.exe": "gpj.webp",
}
"""Names as users typed them, and as strangers see them: the same on the page and in the download."""


class Tags(HTMLParser):
    """What a browser would make of a page: (tag, attributes) in order, and the texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


HEAD = ["meta", "meta", "link", "meta", "meta", "meta", "meta", "title", "style"]
EXPECTED = ["html", "head", *HEAD, "body", "main"]


@pytest.mark.parametrize("filename", SHOWN)
async def test_a_hostile_filename_stays_a_text(
    user_client: Client, visitor: httpx.AsyncClient, filename: str
) -> None:
    done = await user_client.process(photo(), "resize-v1:width-64", filename=filename)
    link = await user_client.http.post(
        f"/outputs/{done['output']['output_id']}/share", json={"expires_in": 3600}
    )
    answer = await visitor.get(link.json()["url"], headers=PAGE)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    page = Tags(answer.text)
    assert [tag for tag, _ in page.tags] == [*EXPECTED, "figure", "img", "figcaption", "bdi", "a"]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    [img], [save] = page.of("img"), page.of("a")
    assert img["src"] is not None
    assert save["href"] is not None
    assert (await visitor.get(img["src"])).headers["content-type"] == "image/webp"
    saved = await visitor.get(save["href"])
    assert saved.status_code == 200
    disposition = saved.headers["content-disposition"]
    assert disposition.startswith("attachment;")
    name = unquote(disposition.partition("filename*=UTF-8''")[2].rstrip(";"))
    assert name.endswith(".webp")
    assert "/" not in name
    assert "\n" not in disposition
    assert name == SHOWN[filename]
    assert img["alt"] == name
    assert page.texts.count(name) == 2  # the title and the caption


async def test_the_page_allows_the_picture_and_nothing_else(
    share: Sharer, visitor: httpx.AsyncClient
) -> None:
    answer = await visitor.get((await share())["url"], headers=PAGE)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy.pop("style-src").startswith("'sha256-")
    assert policy == {
        "default-src": "'none'",
        "img-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    for header, value in {
        "x-robots-tag": "noindex, nofollow",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "vary": "Accept, Origin",  # the latter for CORS
    }.items():
        assert answer.headers[header] == value
    metas = {
        meta.get("property") or meta.get("name"): meta["content"]
        for meta in Tags(answer.text).of("meta")
        if "content" in meta
    }
    [icon] = Tags(answer.text).of("link")  # without it a browser asks for /favicon.ico, which is not there
    assert icon["rel"] == "icon"
    assert (await visitor.get(str(answer.url.join(str(icon["href"]))))).status_code == 200
    assert metas["og:title"] == "A shared picture"
    assert metas["robots"] == "noindex, nofollow"
    assert not any("token" in str(value) or "lamp" in str(value) for value in metas.values())


async def test_the_password_form(share: Sharer, visitor: httpx.AsyncClient) -> None:
    link = await share(password="open sesame")
    asked = await visitor.get(link["url"], headers=PAGE)
    assert asked.status_code == 401
    [form], [field] = Tags(asked.text).of("form"), Tags(asked.text).of("input")
    assert (form["method"], form.get("action")) == ("post", None)  # to the address it came from
    assert (field["type"], field["name"]) == ("password", "password")
    assert "lamp" not in asked.text
    assert not Tags(asked.text).of("img")
    wrong = await visitor.post(link["url"], headers=PAGE, data={"password": "'><script>"})
    assert wrong.status_code == 403
    assert "script" not in wrong.text
    assert "The password is wrong" in wrong.text
    assert Tags(wrong.text).of("form")
    right = await visitor.post(link["url"], headers=PAGE, data={"password": "open sesame"})
    assert right.status_code == 200
    assert Tags(right.text).of("img")[0]["alt"] == "lamp.webp"


async def test_refusals_are_pages_for_browsers(
    share: Sharer, visitor: httpx.AsyncClient, user_client: Client
) -> None:
    link = await share()
    await user_client.http.delete(f"/shares/{link['share_id']}")
    for url, status, title in (
        (link["url"], 410, "The link was revoked"),
        ("/s/" + "D" * 22, 404, "There is no such link"),
    ):
        answer = await visitor.get(url, headers=PAGE)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert title in Tags(answer.text).texts
        assert "lamp" not in answer.text
