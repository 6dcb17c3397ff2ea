"""What the commands of `darkroom` share: settings or a clear exit, and a task with a platform of its own."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console

from service.platform.settings import Settings, SettingsError, get_settings

if TYPE_CHECKING:
    from service.platform.resources import Platform

T = TypeVar("T")
complaints = Console(stderr=True)


@contextlib.contextmanager
def refused_settings() -> Iterator[None]:
    """Around what may raise SettingsError: its sentence and exit 2, since it is for the operator, not a traceback."""
    try:
        yield
    except SettingsError as error:
        complaints.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


def settings_or_exit() -> Settings:
    """Settings, or the sentence that says what is missing."""
    with refused_settings():
        return get_settings()


def run_task(name: str, task: "Callable[[Platform], Awaitable[T]]") -> T:
    """The outcome of a task, which gets a platform of its own; exit 1 when it is refused or a dependency is away."""
    import service.error_codes  # noqa: F401 - so that every code is known
    from service.platform import telemetry
    from service.platform.errors import ProblemError
    from service.platform.resources import open_platform

    settings = settings_or_exit()
    telemetry.configure(settings, name)

    async def once() -> T:
        async with open_platform(settings) as platform:
            return await task(platform)

    try:
        return asyncio.run(once())
    except ProblemError as error:
        complaints.print(error.detail, style="red", markup=False)
        raise typer.Exit(1) from None
