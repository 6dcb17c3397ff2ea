"""The pages behind a link, for people: the picture, the password form, a refusal. No script, nothing from elsewhere.

Whatever a user typed is escaped here and nowhere else. Search engines and link previews learn nothing.
"""

import base64
import hashlib
from html import escape

from starlette.responses import HTMLResponse

from service.platform.errors import ProblemError
from service.sharing.errors import password_required, wrong_password
from service.sharing.links import Shared

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100dvh; display: flex; flex-direction: column; background: Canvas; color: CanvasText; }
main { flex: 1; display: flex; flex-direction: column; align-items: center; justify-content: center; gap: 1rem;
  padding: 1rem; }
figure { margin: 0; display: contents; }
img { max-width: 100%; max-height: 82dvh; height: auto; width: auto; object-fit: contain; border-radius: .25rem; }
h1 { font-size: 1.25rem; margin: 0; }
p, figcaption { margin: 0; max-width: 40rem; overflow-wrap: anywhere; text-align: center; }
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: end; justify-content: center; }
label { display: grid; gap: .25rem; }
input, button, a.button { font: inherit; padding: .5rem .875rem; border: 1px solid GrayText; border-radius: .375rem; }
button, a.button { background: CanvasText; color: Canvas; text-decoration: none; cursor: pointer; }
.wrong { color: light-dark(#b00020, #ff8a80); }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {"X-Robots-Tag": "noindex, nofollow", "Vary": "Accept", "Cache-Control": "no-store"}


def picture_page(shared: Shared) -> HTMLResponse:
    """The picture, its name, and a way to save it."""
    name = escape(shared.filename)
    output = shared.output
    return _page(
        200,
        name,
        f'<figure><img src="{escape(shared.url)}" alt="{name}" width="{output.width}" height="{output.height}">'
        f"<figcaption><bdi>{name}</bdi></figcaption></figure>"
        f'<a class="button" href="{escape(shared.download_url)}">Download</a>',
    )


def refusal_page(error: ProblemError) -> HTMLResponse:
    """Why the link does not open, or what it asks for. It does not tell the picture's name."""
    problem = error.problem()
    title, detail = escape(problem.title), escape(problem.detail)
    if error.code in {password_required, wrong_password}:
        wrong = error.code is wrong_password
        body = (
            "<h1>A shared picture</h1>"
            + (f'<p class="wrong" role="alert">{title}. {detail}</p>' if wrong else f"<p>{title}.</p>")
            + '<form method="post"><label>Password <input type="password" name="password" required autofocus'
            ' autocomplete="off" maxlength="128"></label><button>Open</button></form>'
        )
    else:
        body = f"<h1>{title}</h1><p>{detail}</p>"
    page = _page(problem.status, title, body)
    page.headers.update(error.headers)
    return page


def _page(status: int, title: str, body: str) -> HTMLResponse:
    """`title` and `body` are HTML already."""
    policy = (
        f"default-src 'none'; img-src 'self'; style-src 'sha256-{_STYLE_HASH}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="../static/icon.svg" type="image/svg+xml">'
        '<meta name="robots" content="noindex, nofollow"><meta name="referrer" content="no-referrer">'
        '<meta property="og:title" content="A shared picture"><meta property="og:type" content="website">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>",
        status_code=status,
        headers={**HEADERS, "Content-Security-Policy": policy},
    )
