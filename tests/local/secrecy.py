"""What of a stack's home other users of the machine could read."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from scripts.local.home import Home


def secret_values(home: Path) -> dict[str, str]:
    """Every secret there is, by name: a new field of Secrets is looked for without being named here."""
    values = Home(home).secrets().model_dump()
    return {name: value for name, value in values.items() if name != "publishable_key"}


def told(words: str, values: dict[str, str]) -> list[str]:
    return [name for name, value in values.items() if value in words]


def exposed(home: Path, values: dict[str, str]) -> dict[str, list[str]]:
    """Files below `home` that group or others may read, and the secrets in them."""
    found = {}
    for path in home.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & 0o044:
            found[str(path)] = [name for name, value in values.items() if value.encode() in path.read_bytes()]
    return {path: names for path, names in found.items() if names}


def open_to_others(home: Path) -> list[str]:
    """Files and directories below `home` that somebody else could read, going by every directory on the way."""

    def walk(directory: Path) -> Iterator[str]:
        for path in directory.iterdir():
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                continue
            if mode & 0o044:
                yield str(path)
            if stat.S_ISDIR(mode) and mode & 0o011:
                yield from walk(path)

    return list(walk(home)) if home.stat().st_mode & 0o011 else []
