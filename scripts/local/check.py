"""What `scripts/test` does: every check in turn, all of them even when one fails, and a summary."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import asyncpg

from scripts.local.home import REPOSITORY
from scripts.local.lint import lint
from scripts.local.migrate import supabase
from scripts.local.migration import MIGRATIONS, changes, check_name, sources, write_migration
from scripts.local.process import StackError
from scripts.local.release import missing_release
from scripts.local.stack import HOSTED_LOCALE, Stack

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_DAEMON_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_HOSTED = "en_US.UTF-8"
TYPES = REPOSITORY / "supabase" / "types.ts"


def check(pytest_arguments: list[str]) -> int:
    """Run all checks; returns 0 when every one passed."""
    browser = _browser()
    scanner = clamd_program()
    locale = None if pytest_arguments else _locale()
    mypy = _start("mypy")  # on a processor of its own while the next steps use another
    steps: list[tuple[str, Callable[[], bool]]] = [
        ("ruff check", lambda: _program("ruff", "check", ".")),
        ("ruff format", lambda: _program("ruff", "format", "--check", ".")),
        ("database", lambda: asyncio.run(_database())),
        ("mypy", lambda: _finish(mypy)),
        ("pytest", lambda: _pytest(pytest_arguments, browser)),
    ]
    if locale is not None:
        steps.append(("tests/sql as on a hosted project", lambda: _hosted(locale)))
    failed = []
    for name, step in steps:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        if not step():
            failed.append(name)
        print(f"-- {name}: {time.monotonic() - started:.1f} s", flush=True)
    print(f"\n{'FAILED: ' + ', '.join(failed) if failed else 'All checks passed.'}")
    if browser is None:
        print("Not run: the browser tests, for want of Chromium (apt-get install chromium, or set CHROMIUM).")
    if scanner is None:
        print("Not run: the virus scan, for want of clamd (apt-get install clamav-daemon, or set CLAMD).")
    if locale is None and not pytest_arguments:
        print(f"Not run: tests/sql as on a hosted project, for want of {_HOSTED} (apt-get install locales).")
    if reason := missing_release():
        print(f"Not run: the release before on this schema: {reason}.")
    return int(bool(failed))


def _program(*argv: str, env: Mapping[str, str] | None = None) -> bool:
    whole = {**os.environ, **(env or {})}
    return (
        subprocess.run([sys.executable, "-m", *argv], cwd=REPOSITORY, env=whole, check=False).returncode == 0
    )


def _start(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *argv],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> bool:
    output, _ = process.communicate()
    print(output, end="", flush=True)
    return process.returncode == 0


def _pytest(arguments: list[str], browser: str | None) -> bool:
    """All tests with their coverage, in which API and workers as child processes count too; or a selection."""
    chosen = arguments or ["--cov", "--cov-report=term"]
    if browser is None:
        return _program("pytest", "-m", "not browser", *chosen)
    return _program("pytest", *chosen, env={"CHROMIUM": browser})


def _hosted(locale: str) -> bool:
    """The SQL once more, as a hosted project has it: a database of this locale, made by a role that is no superuser.
    A tenth of the random sequences: those look for faults of the functions, which rights and locale do not change."""
    return _program(
        "pytest", "tests/sql", "-q", "-n2", env={HOSTED_LOCALE: locale, "DARKROOM_EXAMPLES": "0.1"}
    )


def _locale() -> str | None:
    """The locale of hosted databases, made when it is missing and we are root."""
    if not _has_locale():
        _install("locales")
        if os.geteuid() == 0 and shutil.which("localedef"):
            subprocess.run(["localedef", "-i", "en_US", "-f", "UTF-8", _HOSTED], check=False)
    return _HOSTED if _has_locale() else None


def _has_locale() -> bool:
    if not shutil.which("locale"):
        return False
    known = subprocess.run(["locale", "-a"], check=False, capture_output=True, text=True).stdout
    return "en_US.utf8" in known.splitlines()


def _browser() -> str | None:
    """Path of a Chromium for the playground's tests: Debian's, installed when it is missing and we are root."""
    if found := os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None):
        return found
    _install("chromium")
    return shutil.which("chromium")


def clamd_program() -> str | None:
    """Path of ClamAV's daemon for the tests of the virus scan, installed in the same way."""
    if found := os.environ.get("CLAMD") or shutil.which("clamd", path=_DAEMON_PATH):
        return found
    _install("clamav-daemon")
    return shutil.which("clamd", path=_DAEMON_PATH)


def _install(package: str) -> None:
    """Try to install a Debian package, where we are root; only one process at a time."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    with (Path(tempfile.gettempdir()) / "darkroom-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print(f"installing Debian's {package}", flush=True)
        for argv in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package]):
            if subprocess.run(["apt-get", *argv], stdout=subprocess.DEVNULL, check=False).returncode != 0:
                return


async def _database() -> bool:
    """The lint of migrations; migrations on an empty database, the CLI's advisors, and the committed types."""
    if not lint(sorted(MIGRATIONS.glob("*.sql"))):
        return False
    try:
        async with _fresh_stack() as stack:
            url = stack.local.database_url
            print(await advisors(url))
            return compare_types(await _types(url))
    except StackError as error:
        print(error)
        return False


async def generate_migration(name: str) -> Path | None:
    """Write the migration of what functions/ and policies/ say and migrations/ do not make; None: nothing."""
    check_name(name)
    async with _fresh_stack() as stack:
        connection = await asyncpg.connect(stack.local.database_url)
        try:
            statements = await changes(connection, sources())
        finally:
            await connection.close()
    return write_migration(name, statements) if statements else None


async def generate_types() -> str:
    """TypeScript types of a freshly migrated database."""
    async with _fresh_stack() as stack:
        return await _types(stack.local.database_url)


@contextlib.asynccontextmanager
async def _fresh_stack() -> AsyncIterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="darkroom-check-") as directory:
        os.chmod(directory, 0o755)  # noqa: S103 - Postgres may run as another user
        async with Stack(Path(directory), api_port=0, supabase_port=0) as stack:
            yield stack


async def advisors(url: str) -> str:
    """The findings at level warn and above are an error of the CLI."""
    options = ["--type=all", "--level=warn", "--fail-on=warn", "--agent=no"]
    output = await supabase("db", "advisors", *options, remote=url)
    return output.strip() or "advisors: no finding"


async def _types(url: str) -> str:
    return await supabase("gen", "types", "typescript", "--schema=public", remote=url)


def compare_types(generated: str) -> bool:
    committed = TYPES.read_text("utf-8") if TYPES.exists() else ""
    if generated == committed:
        print("supabase/types.ts matches the database")
        return True
    difference = difflib.unified_diff(
        committed.splitlines(), generated.splitlines(), "supabase/types.ts", "generated", lineterm="", n=1
    )
    print("\n".join(list(difference)[:40]))
    print("supabase/types.ts is out of date: `python -m scripts.local types` writes it")
    return False
