"""Writes the table of callable functions into supabase/README.md, from private.callable_functions():

.venv/bin/python -m scripts.docs.sql
"""

import re

from scripts.local.home import REPOSITORY

README = REPOSITORY / "supabase" / "README.md"
_RIGHTS = REPOSITORY / "supabase" / "functions" / "99_rights.sql"
_HEAD = "| function | does | called by |\n|---|---|---|\n"
_ROW = re.compile(r"^ +\('\{(.+?)\}'(?:::text\[\])?,\s+'((?:[^']|'')*)', '((?:[^']|'')*)'\)", re.MULTILINE)


def table() -> str:
    """The rows of the list, as Markdown."""
    lines = []
    for names, does, callers in _ROW.findall(_RIGHTS.read_text("utf-8")):
        functions = ", ".join(f"`{name}`" for name in names.split(","))
        lines.append(f"| {functions} | {does} | {callers} |\n".replace("''", "'"))
    return _HEAD + "".join(lines)


def readme() -> str:
    """The whole page, with the table as it has to be."""
    before, _, rest = README.read_text("utf-8").partition(_HEAD)
    return before + table() + rest[rest.index("\n\n") + 1 :]


if __name__ == "__main__":
    README.write_text(readme(), "utf-8")
