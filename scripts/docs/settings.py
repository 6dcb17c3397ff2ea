"""Writes docs/settings.md, the table of every setting, from platform/settings.py:

.venv/bin/python -m scripts.docs.settings
"""

from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from service.platform.settings import CHECKOUT, Settings

PAGE = CHECKOUT / "docs" / "settings.md"
_HEAD = """\
# Settings

Every environment variable of the service, as `service/platform/settings.py` has it;
`python -m scripts.docs.settings` writes this page. Values may also stand in a file `.env` of the working directory.
What a deployment needs is told in [deploy.md](deploy.md).

| Variable | Default | Meaning |
|---|---|---|
"""


def variable(name: str, field: FieldInfo) -> str:
    """The environment variable that fills a field."""
    return str(field.validation_alias or f"DARKROOM_{name.upper()}")


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{variable(name, field)}` | {_default(field)} | {_escaped(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "needed"
    if value in (None, (), {}):
        return ""
    if isinstance(value, Path):
        value = value.relative_to(CHECKOUT)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
