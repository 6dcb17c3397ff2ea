"""The fenced code blocks of the documentation, and what their placeholders stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.local.home import REPOSITORY

DOCUMENTS = (
    *sorted(REPOSITORY.glob("*.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    REPOSITORY / "supabase" / "README.md",
)
_FENCE = re.compile(r"^(`{3,}|~{3,})(.*)$")
_PLACEHOLDER = re.compile(r"…|<[a-zA-Z][\w ]*>")


@dataclass(frozen=True)
class Block:
    """One fenced block. `info` is what stands behind the fence: the kind, and for JSON what it is an example of."""

    document: Path
    line: int
    info: str
    text: str
    heading: str

    @property
    def kind(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def place(self) -> str:
        """`docs/api.md:21`, the line of the fence."""
        return f"{self.document.relative_to(REPOSITORY)}:{self.line}"

    @property
    def name(self) -> str:
        """A name for a file: `docs_api_21`."""
        return re.sub(r"\W", "_", self.place.replace(".md", ""))

    def fail(self, words: str, line: int | None = None) -> None:
        """Fail the test with a place that an editor can open; `line` is that of the document."""
        place = self.place if line is None else f"{self.document.relative_to(REPOSITORY)}:{line}"
        pytest.fail(f"{place} ({self.kind}): {words}", pytrace=False)


def blocks_in(document: Path) -> Iterator[Block]:
    """The blocks of one document, in order; a fence that is never closed is an error."""
    heading, fence, info, start, body = "", "", "", 0, list[str]()
    for number, line in enumerate(document.read_text("utf-8").splitlines(), 1):
        match = _FENCE.match(line)
        if fence and match and match[1].startswith(fence) and not match[2].strip():
            yield Block(document, start, info, "\n".join(body) + "\n", heading)
            fence = ""
        elif fence:
            body.append(line)
        elif match:
            fence, info, start, body = match[1], match[2].strip(), number, []
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    if fence:
        raise ValueError(f"{document}:{start}: this block is never closed")


BLOCKS = [block for document in DOCUMENTS for block in blocks_in(document)]


def fill(block: Block, values: dict[str, str]) -> str:
    """The text with `values` in place of what a reader replaces, longest first; what is left over is an error."""
    text = block.text
    for placeholder in sorted(values, key=len, reverse=True):
        text = text.replace(placeholder, values[placeholder])
    for number, line in enumerate(text.splitlines(), block.line + 1):
        if left := _PLACEHOLDER.search(re.sub(r"(?:^|\s)(?:#|//|--) .*", "", line)):
            block.fail(
                f"nobody says what {left[0]!r} stands for; add it to `values` in tests/docs/scene.py", number
            )
    return text
