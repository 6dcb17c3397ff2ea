"""Writes docs/errors.md, the table of every error code, from the errors.py of each context:

.venv/bin/python -m scripts.docs.errors
"""

from service.error_codes import CODES
from service.platform.settings import CHECKOUT

PAGE = CHECKOUT / "docs" / "errors.md"
_HEAD = """\
# Error codes

Every code that a problem or the `error` of a job can have, as the contexts' `errors.py` declare them;
`python -m scripts.docs.errors` writes this page. What leads to them and what to do is told in [api.md](api.md#errors).
A code that can be tried again may succeed later with nothing changed. A job fails with a code and its document;
the status is then what the same refusal of a request would have.

| Code | Status | Try again | Title |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{code}` | {code.status} | {'yes' if code.retryable else ''} | {code.summary} |"
        for code in sorted(CODES.values())
    ]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
