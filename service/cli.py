"""The `darkroom` command: one entry point for every process of a deployment. Imports are lazy, so that each command
loads only what it runs."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service.settings import CHECKOUT, Settings, SettingsError, get_settings

if TYPE_CHECKING:
    from service.resources import Resources

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals hold keys
    help="Darkroom: the image backend of a Supabase application.",
)
console = Console(stderr=True)


def _settings() -> Settings:
    """Settings, or a clear exit: what is missing is for the operator, not a traceback."""
    try:
        return get_settings()
    except SettingsError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(2) from None


@app.command()
def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="DARKROOM_API_PORT", help="Port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(help="Processes; several need PROMETHEUS_MULTIPROC_DIR.")] = 1,
) -> None:
    """Serve the HTTP API."""
    import uvicorn

    _settings()
    uvicorn.run(
        "service.app:create_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=False,
        log_config=None,
        # X-Forwarded-For is believed by DARKROOM_TRUSTED_HOPS alone.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


@app.command()
def worker() -> None:
    """Run one worker: takes jobs, and sweeps and cleans up by the clock."""
    _settings()
    from workers.main import run

    run()


@app.command()
def sweep() -> None:
    """Do one delivery sweep, for an external scheduler."""
    from workers.sweep import sweep as once

    _report("sweep", once)


@app.command()
def cleanup(
    orphans: Annotated[bool, typer.Option(help="Reconcile rows and objects as well.")] = False,
) -> None:
    """Expire and remove what has reached its end, for an external scheduler."""
    from workers.cleanup import cleanup as once
    from workers.cleanup import reconcile

    _report("cleanup", once)
    if orphans:
        _report("reconcile", reconcile)


stripe_app = typer.Typer(no_args_is_help=True, help="What is sold at Stripe, and what Stripe has told.")
app.add_typer(stripe_app, name="stripe")


@stripe_app.command("sync")
def stripe_sync() -> None:
    """Make products and prices of plans and packs, and fetch what webhooks did not bring."""
    from service.billing.stripe_sync import sync

    _report("stripe sync", sync)


@stripe_app.command("inbox")
def stripe_inbox(
    retry: Annotated[bool, typer.Option(help="Give events that failed another round.")] = False,
) -> None:
    """Say how many events wait, and how many were given up."""

    async def look(resources: "Resources") -> Any:
        retried = await resources.stripe_store.retry() if retry else 0
        return (await resources.stripe_store.inbox()).model_dump() | {"retried": retried}

    _report("stripe inbox", look)


SHA256 = typer.Argument(help="Hex digest of the bytes.")


@app.command()
def block(
    sha256: Annotated[str, SHA256],
    category: Annotated[str, typer.Option(help="What the caller is told: a-z, 0-9, - and _.")],
    reason: Annotated[str, typer.Option(help="For operators.")] = "",
    by: Annotated[str, typer.Option(envvar="USER", help="Who does it, for the audit log.")] = "operator",
) -> None:
    """Refuse these bytes from now on, and take away what exists of them."""
    from service.safety import blocking

    digest = _digest(sha256)
    if not re.fullmatch(r"[a-z0-9_-]{1,40}", category):
        raise typer.BadParameter("a-z, 0-9, - and _, at most 40", param_hint="--category")
    _report("block", lambda r: blocking.block(r, digest, category=category, reason=reason, by=by))


@app.command()
def unblock(
    sha256: Annotated[str, SHA256],
    by: Annotated[str, typer.Option(envvar="USER", help="Who does it, for the audit log.")] = "operator",
) -> None:
    """Accept these bytes again; what was taken away does not come back."""
    from service.safety import blocking

    digest = _digest(sha256)
    _report("unblock", lambda r: blocking.unblock(r, digest, by=by))


def _digest(sha256: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise typer.BadParameter("64 hex digits", param_hint="SHA256")
    return sha256.lower()


@app.command()
def ops() -> None:
    """List the ops, with their parameters and examples."""
    from service.ops.registry import catalogue

    table = Table("op", "title", "credits", "parameters", "example", title="Ops")
    for op in catalogue():
        names = ", ".join(op.schema.get("properties", {}))
        table.add_row(op.key, op.title, str(op.price), names, op.examples[-1])
    Console().print(table)


def _report(name: str, task: "Callable[[Resources], Awaitable[Any]]") -> None:
    """Run a task of the workers once with resources of its own; exit 1 when a dependency is away."""
    from service import telemetry
    from service.errors import ProblemError
    from service.resources import open_resources

    settings = _settings()
    telemetry.configure(settings, name)

    async def once() -> Any:
        async with open_resources(settings) as resources:
            return await task(resources)

    try:
        done = asyncio.run(once())
    except ProblemError as error:  # a dependency is away, or billing is off
        console.print(error.detail, style="red", markup=False)
        raise typer.Exit(1) from None
    if done is None:
        raise typer.Exit(1)
    Console().print(done)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench(context: typer.Context) -> None:
    """Measure, in a checkout: the benchmarks are no part of a deployment."""
    if not (CHECKOUT / "scripts" / "bench").is_dir():
        console.print(
            "The benchmarks are in the repository's scripts/bench; run this in a checkout.", style="red"
        )
        raise typer.Exit(2)
    sys.path.insert(0, str(CHECKOUT))  # scripts/ is not installed, and this may be called from anywhere
    from scripts.bench.__main__ import app as benchmarks

    benchmarks(args=context.args, prog_name="darkroom bench")


if __name__ == "__main__":
    app()
