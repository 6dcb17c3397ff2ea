"""The pages that the API serves, and the browser client: where their files are, and how they are sent."""

from pathlib import Path
from typing import Any

from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

_ROOT = Path(__file__).parents[2]
"""The checkout, or site-packages: `web` and `clients` stand beside this package in both."""
PLAYGROUND = _ROOT / "web" / "playground"
ADMIN = _ROOT / "web" / "admin"
CLIENT = _ROOT / "clients" / "js"


class PageFiles(StaticFiles):
    """The files of these folders under one address; of two with the same name, that of the first folder.

    Modules keep their names when they change: a browser asks each time, so that it never mixes two versions. The
    content policy is that of the page which loads them: a worker's script brings its own.
    """

    def __init__(self, *folders: Path, policy: str) -> None:
        super().__init__()
        if missing := [folder for folder in folders if not folder.is_dir()]:
            raise RuntimeError(f"this installation lacks {missing[0]}")
        self.all_directories = list(folders)
        self.policy = policy

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = self.policy
        return response
