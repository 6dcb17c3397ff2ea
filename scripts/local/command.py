"""What a home's bin/darkroom runs: the `darkroom` command with the settings of that home's stack.

python -m scripts.local.command HOME admin plan me@example.com pro --reason "trying it"
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from scripts.local.apps import environment
from scripts.local.home import Home, Local


def main(root: Path, arguments: list[str]) -> NoReturn:
    """Become the `darkroom` command; exit status 1 when the stack does not run."""
    home = Home(root)
    try:
        local = Local.model_validate_json(home.local_json.read_bytes())
    except FileNotFoundError:
        sys.exit(f"error: no stack is running on {home.root}; start it with ./scripts/run")
    argv = [sys.executable, "-P", "-m", "cli.main", *arguments]
    os.execve(  # noqa: S606 - no shell is wanted
        sys.executable, argv, {**os.environ, **environment(local, {"DARKROOM_HOME": str(home.root)})}
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
