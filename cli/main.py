"""The `darkroom` command: one entry point for every process of a deployment. Imports are lazy, so that each command
loads only what it runs."""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.admin import app as admin
from cli.common import complaints, refused_settings, run_task, settings_or_exit
from service.platform.settings import CHECKOUT, Settings, SettingsError

if TYPE_CHECKING:
    from service.platform.resources import Platform

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: longer than proxies keep theirs (a minute, as a rule). With uvicorn's own
5 s a proxy now and then sends a request down a connection that is being closed, and answers 502."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals hold keys
    help="Darkroom: the image backend of a Supabase application.",
)
app.add_typer(admin, name="admin")


@app.command()
def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="DARKROOM_API_PORT", help="Port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(help="Processes; several need PROMETHEUS_MULTIPROC_DIR.")] = 1,
) -> None:
    """Serve the HTTP API."""
    import uvicorn

    from service.platform.telemetry import serve_metrics

    settings = settings_or_exit()
    with refused_settings():
        _require_ports(settings, host, port)
        serve_metrics(settings)  # once, for all processes
    uvicorn.run(
        "service.app:create_app",
        factory=True,
        http="service.platform.http_protocol:HttpProtocol",
        ws="none",
        host=host,
        port=port,
        workers=workers,
        access_log=False,
        log_config=None,
        # X-Forwarded-For is believed by DARKROOM_TRUSTED_HOPS alone.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


def _require_ports(settings: Settings, host: str, port: int) -> None:
    """Raises SettingsError where the API's port is taken, or is that of the metrics."""
    from service.platform.ports import require_port

    if settings.metrics_port == port:
        raise SettingsError(
            f"DARKROOM_METRICS_PORT is {port}, where the API itself listens: set another, or change the API's"
            " (--port or DARKROOM_API_PORT)."
        )
    advice = "Choose another with it or with --port, or stop what listens there."
    require_port("DARKROOM_API_PORT", host, port, advice)


@app.command()
def worker() -> None:
    """Run one worker: takes jobs, and sweeps and cleans up by the clock."""
    from workers.environment import hide

    hide()  # before the settings are read: it starts this process again
    settings_or_exit()
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
    lost_bytes: Annotated[
        bool, typer.Option("--lost-bytes", help="After a restore: give up every row whose bytes are gone.")
    ] = False,
) -> None:
    """Expire and remove what has reached its end, for an external scheduler. What a worker is at is left to it."""
    from workers.cleanup import cleanup as once
    from workers.cleanup import reconcile, restore

    _report_alone("cleanup", once)
    if orphans:
        _report_alone("reconcile", reconcile)
    if lost_bytes:
        _report_alone("restore", restore)


stripe_app = typer.Typer(no_args_is_help=True, help="What is sold at Stripe, and what Stripe has told.")
app.add_typer(stripe_app, name="stripe")


@stripe_app.command("sync")
def stripe_sync() -> None:
    """Make products and prices of plans and packs, and fetch what webhooks did not bring."""
    from workers.billing import sync

    # Of two at once each would archive the price that the other has made.
    _report_alone("stripe sync", sync)


@stripe_app.command("inbox")
def stripe_inbox(
    retry: Annotated[bool, typer.Option(help="Give events that failed another round.")] = False,
) -> None:
    """Say how many events wait, and how many were given up."""
    from service.payments.store import StripeStore

    async def look(platform: "Platform") -> Any:
        store = StripeStore(platform.database)
        retried = await store.retry() if retry else 0
        return (await store.inbox()).model_dump() | {"retried": retried}

    _report("stripe inbox", look)


@app.command()
def ops() -> None:
    """List the ops, with their parameters and examples."""
    from service.ops.registry import catalogue

    table = Table("op", "title", "credits", "parameters", "example", title="Ops")
    for op in catalogue():
        names = ", ".join(op.schema.get("properties", {}))
        table.add_row(op.key, op.title, str(op.price), names, op.examples[-1])
    Console().print(table)


def _report(name: str, task: "Callable[[Platform], Awaitable[Any]]") -> None:
    """Run a task once and say what it did; exit 1 when that is nothing."""
    done = run_task(name, task)
    if done is None:
        raise typer.Exit(1)
    Console().print(done)


def _report_alone(name: str, task: "Callable[[Platform], Awaitable[Any]]") -> None:
    """The same for a task that one process at a time does; when another one is at it, it says that and does nothing."""
    from workers.alone import TaskRunningError, alone

    try:
        _report(name, lambda platform: alone(platform, name, task))
    except TaskRunningError as error:
        complaints.print(str(error), markup=False)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench(context: typer.Context) -> None:
    """Measure, in a checkout: the benchmarks are no part of a deployment."""
    if not (CHECKOUT / "scripts" / "bench").is_dir():
        complaints.print(
            "The benchmarks are in the repository's scripts/bench; run this in a checkout.", style="red"
        )
        raise typer.Exit(2)
    sys.path.insert(0, str(CHECKOUT))  # scripts/ is not installed, and this may be called from anywhere
    from scripts.bench.__main__ import app as benchmarks

    benchmarks(args=context.args, prog_name="darkroom bench")


if __name__ == "__main__":
    app(prog_name="darkroom")
