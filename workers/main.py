"""The worker process: arq's settings, the cron table, start and stop hooks. No task bodies.

arq is a doorbell here, and nothing depends on it or on Redis. A worker takes rings out of arq's queue when somebody
rings (a blocking pop on the wake list) or a slot comes free, and every half second. The cron table is kept by the clock
of each process (workers/schedule.py), and while Redis is away or full each worker looks for due jobs every second.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog
from arq import cron, func
from arq.cron import CronJob
from redis.exceptions import RedisError

import service.error_codes  # noqa: F401 - so that every code is known
from service.health.checks import require_size_limits
from service.health.presence import TELL_SECONDS, Presence
from service.jobs.store import Jobs
from service.moderation.moderators import Moderators
from service.ops.weights import Installed
from service.plans.watch import watching
from service.platform import telemetry
from service.platform.errors import DependencyError
from service.platform.protections import Protections
from service.platform.queue import DRAIN
from service.platform.resources import Platform, open_platform
from service.platform.settings import Settings, SettingsError, get_settings
from service.platform.weights import WeightsError, check
from service.privacy.store import DataRequests
from workers import environment
from workers.alone import TaskRunningError, alone
from workers.billing import billing, reconcile_billing
from workers.cleanup import cleanup, reconcile
from workers.context import Slots, WorkerContext
from workers.data_requests import run_request
from workers.doorbell import DoorbellWorker
from workers.imaging.pool import PixelPool
from workers.look_again import look_again
from workers.originals import originals
from workers.protections import UnprotectedError, demand, measure
from workers.rescan import rescan
from workers.run_job import run_job
from workers.schedule import Schedule
from workers.sweep import sweep
from workers.usage import FOLD_SECONDS, usage

log = structlog.get_logger()
TASK_SECONDS = 3600
"""The longest that a scheduled task may take."""
MINUTE = 60
RECONCILE_MINUTE = 17
ORIGINALS_SECONDS = 5
BILLING_SECONDS = 5
RECONCILE_BILLING_HOUR = 3
HOUSEKEEPING_SECONDS = 60.0


async def drain(ctx: dict[str, Any]) -> None:
    """Answer a ring: do due jobs until there are none. Extra rings find nothing and end."""
    context: WorkerContext = ctx["context"]
    if context.slots.full:
        return  # whoever holds a place looks again before leaving
    async with context.slots.take():
        await _drain(context, ctx["worker"].stopping)


async def _drain(context: WorkerContext, stopping: asyncio.Event) -> None:
    settings, jobs = context.platform.settings, Jobs(context.platform.database)
    while not stopping.is_set():
        if context.slots.owes_a_look and await _data_request(context):
            continue
        try:
            job = await jobs.claim_next(settings.queue, context.name, settings.lease_seconds)
        except DependencyError:
            log.warning("claim_skipped", reason="database is away")
            return
        if job is None:
            # Deletions and exports when there is no job to do, or now and then: they are long and nobody watches them.
            if not await _data_request(context):
                return
            continue
        with structlog.contextvars.bound_contextvars(
            job_id=str(job.id), attempt=job.attempt, request_id=job.request_id
        ):
            await run_job(context, job)


async def _data_request(context: WorkerContext) -> bool:
    """Take a due request, if there is one, and a turn at it; one at a time in a process."""
    settings = context.platform.settings
    if context.slots.at_request:
        return False
    context.slots.at_request = True
    context.slots.looked_at = time.monotonic()
    try:
        request = await DataRequests(context.platform.database).claim_request(
            settings.queue, context.name, settings.lease_seconds
        )
        if request is None:
            return False
        with structlog.contextvars.bound_contextvars(
            data_request_id=str(request.id), attempt=request.attempt
        ):
            await run_request(context, request)
        return True
    except DependencyError:
        log.warning("claim_skipped", reason="database is away")
        return False
    finally:
        context.slots.at_request = False


def _scheduled(
    task: Callable[[Platform], Awaitable[object]], *, single: bool = False
) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """A cron entry around a task of ours: a dependency that is away is a line in the log, not a failure. `single`: it
    may take longer than its interval, and is then left to the worker that is at it."""

    async def run(ctx: dict[str, Any]) -> None:
        platform: Platform = ctx["context"].platform
        try:
            async with asyncio.timeout(TASK_SECONDS):
                await (alone(platform, task.__name__, task) if single else task(platform))
        except TaskRunningError:
            log.info("cron_skipped", task=task.__name__, reason="another worker is at it")
        except (DependencyError, RedisError, OSError) as error:
            log.warning("cron_skipped", task=task.__name__, error=type(error).__name__)

    run.__name__ = run.__qualname__ = task.__name__
    return run


def _every(seconds: int) -> dict[str, Any]:
    """When a task is due that has this interval, of up to an hour: from a minute on it is of whole minutes."""
    if seconds < MINUTE:
        return {"second": set(range(0, MINUTE, seconds))}
    return {"minute": set(range(0, 60, seconds // MINUTE)), "second": 0}


def cron_table(settings: Settings) -> list[CronJob]:
    """Sweep and originals every few seconds, looks at what is kept and rescans of it every minute where they are on,
    cleanup every few minutes, reconciliation hourly; once per tick over all workers."""
    table = [
        cron(
            _scheduled(sweep),  # type: ignore[arg-type] # arq wants its own protocol of the same shape
            name="sweep",
            second=set(range(0, 60, settings.sweep_seconds)),
            run_at_startup=True,
        ),
        cron(_scheduled(originals), name="originals", second=set(range(0, 60, ORIGINALS_SECONDS))),  # type: ignore[arg-type]
        cron(_scheduled(usage), name="usage", second=set(range(5, 60, FOLD_SECONDS))),  # type: ignore[arg-type]
        cron(_scheduled(billing), name="billing", second=set(range(2, 60, BILLING_SECONDS))),  # type: ignore[arg-type]
        cron(
            _scheduled(reconcile_billing, single=True),  # type: ignore[arg-type]
            name="reconcile_billing",
            hour=RECONCILE_BILLING_HOUR,
            minute=23,
        ),
        cron(
            _scheduled(cleanup, single=True),  # type: ignore[arg-type]
            name="cleanup",
            **_every(settings.cleanup_seconds),
        ),
        cron(
            _scheduled(reconcile, single=True),  # type: ignore[arg-type]
            name="reconcile",
            minute=RECONCILE_MINUTE,
            second=30,
        ),
    ]
    if settings.moderation != "off":
        table.append(cron(_scheduled(look_again), name="look_again", second=40))  # type: ignore[arg-type]
    if settings.clamd_url is not None:
        table.append(cron(_scheduled(rescan), name="rescan", second=10))  # type: ignore[arg-type]
    return table


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _worker(context: WorkerContext) -> DoorbellWorker:
    settings, platform = context.platform.settings, context.platform
    ctx: dict[str, Any] = {"context": context}
    worker = DoorbellWorker(
        queue=settings.queue,
        redis=platform.redis,
        blocking=platform.redis_blocking,
        slots=context.slots,
        schedule=Schedule(cron_table(settings), platform.redis, platform.redis_breaker, settings.secret),
        functions=[func(drain, name=DRAIN)],
        ctx=ctx,
        job_completion_wait=settings.drain_seconds,
        health_check_interval=30,
    )
    ctx["worker"] = worker
    return worker


async def _confined(platform: Platform, models: tuple[Installed, ...] = ()) -> Protections:
    """What holds of pixel children here. Raises UnprotectedError when that is less than the settings demand. `models`:
    those of a pool that runs; then a child of its fork server is what is measured."""
    found = await measure(platform.scratch, models)
    demand(found, platform.settings.demanded_protections)
    missing = [name for name, held in found if not held]
    log.log(logging.WARNING if missing else logging.INFO, "pixel_sandbox", missing=missing)
    return found


def _tell_moderation(platform: Platform) -> None:
    """Say in the log whether this worker looks at what pictures show, and why it does not."""
    policy, wanted = platform.shared(Moderators).policy, platform.settings.moderation
    if policy is not None:
        log.info("moderation_on", model=policy.model, review=policy.review, refuse=policy.refuse)
    elif wanted == "off":
        log.warning("moderation_off", reason="DARKROOM_MODERATION=off")
    else:
        reason = "the model open-nsfw is not installed: scripts/models, or the extra `models`"
        log.log(
            logging.ERROR if wanted == "required" else logging.WARNING,
            "moderation_off",
            reason=reason,
            jobs="wait and fail" if wanted == "required" else "pass unseen",
        )


@contextlib.asynccontextmanager
async def _housekeeping(context: WorkerContext, protections: Protections) -> AsyncIterator[None]:
    """Meanwhile, tell that this worker runs, and remove what killed processes have left in the temporary directory."""
    platform = context.platform

    async def keep(seconds: float, act: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await act()
            except (RedisError, OSError) as error:
                log.warning("housekeeping_skipped", error=type(error).__name__)
            except Exception:  # one turn that fails is no reason to end all later ones
                log.exception("housekeeping_crashed")
            await asyncio.sleep(seconds)

    tasks = [
        asyncio.create_task(
            keep(
                TELL_SECONDS,
                lambda: Presence(platform.redis).tell(context.name, platform.settings.queue, protections),
            )
        ),
        asyncio.create_task(keep(HOUSEKEEPING_SECONDS, lambda: asyncio.to_thread(platform.scratch.sweep))),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with contextlib.suppress(RedisError, OSError):
            await Presence(platform.redis).leave(context.name)


async def serve(settings: Settings) -> None:
    """Run one worker until SIGTERM or SIGINT: it takes nothing new, gives running jobs `drain_seconds` to end, and
    hands the rest to other workers."""
    async with open_platform(settings) as platform:
        await require_size_limits(platform)
        weights = tuple(platform.models.values())
        await asyncio.to_thread(check, weights)
        pixels = PixelPool(
            workers=settings.worker_slots,
            memory_mb=settings.pixel_memory_mb,
            seconds=settings.pixel_seconds,
            models=weights,
        )
        models = PixelPool(
            workers=min(settings.model_slots, settings.worker_slots),
            memory_mb=settings.model_memory_mb,
            seconds=settings.model_seconds,
            models=weights,
        )
        context = WorkerContext(platform, pixels, Slots(settings.worker_slots), worker_name(), models)
        worker = _worker(context)
        async with pixels, models:
            protections = await _confined(platform, weights)
            _tell_moderation(platform)
            async with _housekeeping(context, protections), watching(platform, context.look_after):
                log.info(
                    "worker_started", worker=context.name, queue=settings.queue, slots=settings.worker_slots
                )
                try:
                    if not worker.stopping.is_set():  # a signal before arq's main task exists would be lost
                        await worker.async_run()
                except asyncio.CancelledError:
                    log.info("worker_stopping", worker=context.name)
                finally:
                    await worker.close()


def run() -> None:
    """Entry point of `darkroom worker`."""
    environment.hide()
    settings = get_settings()
    telemetry.configure(settings, "worker")
    environment.forget()
    try:
        telemetry.serve_metrics(settings)
        asyncio.run(serve(settings))
    except (SettingsError, UnprotectedError, WeightsError) as error:
        log.error("worker_not_started", reason=str(error))
        raise SystemExit(2) from None
