"""The pages that the API serves, and the browser client: where their files are, and how they are sent."""

import hashlib
import re
from pathlib import Path

from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

_ROOT = Path(__file__).parents[2]
"""The checkout, or site-packages: `web` and `clients` stand beside this package in both."""
PLAYGROUND = _ROOT / "web" / "playground"
ADMIN = _ROOT / "web" / "admin"
CLIENT = _ROOT / "clients" / "js"

_VERSION = re.compile(r"v-[0-9a-f]{16}")
_LOADED = re.compile(r'(<(?:link|script|img)\b[^>]*? (?:href|src)="static/)')
"""What a page loads at once; not a link for people to follow or copy."""


class PageFiles(StaticFiles):
    """The files of these folders under one address; of two with the same name, that of the first folder.

    Each is served twice. Under its name alone a browser asks each time whether it has changed. Below a folder named by
    `version()` it may be kept for ever, since another version has other addresses. Modules import each other by
    relative addresses, so it is enough that a page loads the first one from there. Below the folder of another version,
    as while a new one is rolled out, a file is what it is now, and is asked for each time.

    The content policy is that of the page which loads them: a worker's script brings its own.
    """

    def __init__(self, *folders: Path, policy: str) -> None:
        super().__init__()
        if missing := [folder for folder in folders if not folder.is_dir()]:
            raise RuntimeError(f"this installation lacks {missing[0]}")
        self.all_directories = list(folders)
        self.folders = folders
        self.policy = policy
        self._current = self.version()

    def version(self) -> str:
        """The folder for the files as they are now: it changes with the bytes or the name of any of them."""
        digest = hashlib.sha256()
        for folder in self.folders:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{file.relative_to(folder)} {content}\n".encode())
        self._current = f"v-{digest.hexdigest()[:16]}"
        return self._current

    def versioned(self, page: str) -> str:
        """The page, loading its files from the folder of their version; a browser must ask for it each time."""
        return _LOADED.sub(rf"\1{self.version()}/", page)

    async def get_response(self, path: str, scope: Scope) -> Response:
        folder, _, rest = path.partition("/")
        versioned = _VERSION.fullmatch(folder) is not None
        response = await super().get_response(rest if versioned else path, scope)
        kept = folder == self._current
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        response.headers["Content-Security-Policy"] = self.policy
        return response
