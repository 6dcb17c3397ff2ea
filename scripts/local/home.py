"""Where a stack keeps its state, and the files other tools read: `local.json` and the run lock."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import secrets
import shlex
import socket
import sys
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict

from scripts.local.process import StackError

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_API_PORT = 8000
DEFAULT_SUPABASE_PORT = 54321


def package_directory(name: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StackError(f"the package {name} is not installed; run scripts/local/bootstrap")
    return Path(spec.origin).parent


class Local(BaseModel):
    """The content of local.json: where everything is and the keys to it. All on loopback."""

    model_config = ConfigDict(frozen=True)

    api_url: str
    supabase_url: str
    publishable_key: str
    secret_key: str
    jwt_secret: str
    darkroom_secret: str
    database_url: str
    redis_url: str


class Secrets(BaseModel):
    """Random per home, made once: the keys of the gateway, the HS256 secret that signs user tokens, Darkroom's own
    secret, the passwords of Postgres' superuser, of lite's login, of Redis and of the sample account."""

    publishable_key: str
    secret_key: str
    jwt_secret: str
    darkroom_secret: str
    postgres_password: str
    lite_password: str
    redis_password: str
    sample_password: str

    @classmethod
    def new(cls) -> Secrets:
        return cls(
            publishable_key=f"sb_publishable_{secrets.token_urlsafe(24)}",
            secret_key=f"sb_secret_{secrets.token_urlsafe(24)}",
            jwt_secret=secrets.token_hex(32),
            darkroom_secret=secrets.token_hex(32),
            postgres_password=secrets.token_hex(24),
            lite_password=secrets.token_hex(24),
            redis_password=secrets.token_hex(24),
            sample_password=secrets.token_hex(12),
        )


class Ports(BaseModel):
    """TCP ports on 127.0.0.1. The last three are private and kept over restarts when still free."""

    api: int
    supabase: int
    postgres: int
    redis: int
    lite: int


class Home:
    """The state directory (`DARKROOM_HOME`): bin/, postgres/, storage/, lite/, logs/, local.json, run.lock.

    Nobody but its owner can read anything in it.
    """

    def __init__(self, root: Path | None = None) -> None:
        chosen = root or Path(os.environ.get("DARKROOM_HOME") or REPOSITORY / ".darkroom")
        self.root = chosen.expanduser().resolve()
        self.postgres = self.root / "postgres"
        self.storage = self.root / "storage"
        self.lite = self.root / "lite"
        self.logs = self.root / "logs"
        self.command = self.root / "bin" / "darkroom"
        self.sample_json = self.root / "sample.json"
        self.local_json = self.root / "local.json"
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Make the directories and take the run lock; StackError when another stack runs on this home.

        The lock is the kernel's (flock): it ends with its holder, so a crash cannot leave a stale one.
        """
        for directory in (self.root, self.postgres, self.storage, self.lite, self.logs, self.command.parent):
            directory.mkdir(parents=True, exist_ok=True)
        self._shut_out_others()
        path = self.root / "run.lock"
        path.touch(mode=0o600)
        lock = path.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise StackError(
                f"another stack (process {holder}) is running on {self.root}; stop it or set DARKROOM_HOME"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _shut_out_others(self) -> None:
        """Take away other users' rights, also in a home that an older checkout made.

        Started by root, Postgres runs as `nobody`, who has to pass through two of the directories, and no more.
        """
        through = {self.root, self.postgres} if os.geteuid() == 0 else set()
        for path in (self.root, *self.root.iterdir(), *self.postgres.iterdir()):
            if not path.is_symlink():
                path.chmod(0o600 if path.is_file() else 0o711 if path in through else 0o700)

    def write_command(self) -> None:
        """Write bin/darkroom: the `darkroom` command with the settings of this home's stack."""
        python = f"PYTHONPATH={shlex.quote(str(REPOSITORY))} exec {shlex.quote(sys.executable)}"
        module = f"-P -m scripts.local.command {shlex.quote(str(self.root))}"
        self.command.write_text(f'#!/bin/sh\n{python} {module} "$@"\n', "utf-8")
        self.command.chmod(0o700)

    def close(self) -> None:
        """Remove local.json (nothing answers there any more) and give the lock back."""
        if self._lock is not None:
            self.local_json.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def secrets(self) -> Secrets:
        """The secrets of this home, made at the first call."""
        path = self.root / "secrets.json"
        known = json.loads(path.read_bytes()) if path.exists() else {}
        # What a home of an older checkout lacks is made now.
        complete = Secrets.model_validate(Secrets.new().model_dump() | known)
        if complete.model_dump() != known:
            write_private(path, complete.model_dump_json(indent=2))
        return complete

    def ports(self, api: int | None = None, supabase: int | None = None) -> Ports:
        """Choose ports: one asked for must be free, a default moves on to the next free one, 0 is any."""
        path = self.root / "ports.json"
        before = Ports.model_validate_json(path.read_bytes()) if path.exists() else None
        taken: set[int] = set()

        def claim(port: int) -> int:
            taken.add(port)
            return port

        def private(previous: int | None) -> int:
            if previous is not None and previous not in taken and is_free(previous):
                return claim(previous)
            return claim(any_free_port())

        ports = Ports(
            api=claim(_public_port("DARKROOM_API_PORT", api, DEFAULT_API_PORT, taken)),
            supabase=claim(_public_port("DARKROOM_SUPABASE_PORT", supabase, DEFAULT_SUPABASE_PORT, taken)),
            postgres=private(before.postgres if before else None),
            redis=private(before.redis if before else None),
            lite=private(before.lite if before else None),
        )
        write_private(path, ports.model_dump_json())
        return ports

    def write_local(self, local: Local) -> None:
        write_private(self.local_json, local.model_dump_json(indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace `path` atomically with a file only its owner can read."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def any_free_port() -> int:
    """A port the kernel considers free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _public_port(variable: str, asked: int | None, default: int, taken: set[int]) -> int:
    if asked is None and os.environ.get(variable):
        try:
            asked = int(os.environ[variable])
        except ValueError:
            raise StackError(f"{variable} is not a port number: {os.environ[variable]!r}") from None
    if asked == 0:
        return any_free_port()
    if asked is not None:
        if not 0 < asked < 65536:
            raise StackError(f"{variable}={asked} is not a port number")
        if asked in taken or not is_free(asked):
            raise StackError(f"port {asked} ({variable}) is taken; choose another one")
        return asked
    for port in range(default, default + 200):
        if port not in taken and is_free(port):
            return port
    raise StackError(f"no free port between {default} and {default + 199}; set {variable}")
