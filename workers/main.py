"""The worker process: arq's settings, the cron table, start and stop hooks. No task bodies.

arq is a doorbell here, and nothing depends on it or on Redis. A worker takes rings out of arq's queue when somebody
rings (a blocking pop on the wake list) or a slot comes free, and every half second. The cron table is kept by the clock
of each process (workers/schedule.py), and while Redis is away or full each worker looks for due jobs every second.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import structlog
from arq import cron, func
from arq.connections import ArqRedis
from arq.cron import CronJob
from arq.worker import Worker
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service import telemetry
from service.billing.watch import watching
from service.errors import DependencyError
from service.health.presence import TELL_SECONDS
from service.protections import Protections
from service.queue import DRAIN, deserialise, mend, queue_key, serialise, take_rings, wake_key
from service.redis_connection import is_wrong_type
from service.resources import Resources, open_resources
from service.settings import Settings, get_settings
from service.weights import WeightsError, check
from workers import environment
from workers.alone import TaskRunningError, alone
from workers.billing import billing, reconcile_billing
from workers.cleanup import cleanup, reconcile
from workers.data_requests import run_request
from workers.imaging.pool import PixelPool
from workers.look_again import look_again
from workers.originals import originals
from workers.protections import UnprotectedError, demand, measure
from workers.rescan import rescan
from workers.run_job import run_job
from workers.schedule import Schedule
from workers.sweep import sweep
from workers.usage import FOLD_SECONDS, usage
from workers.workbench import Slots, Workbench

log = structlog.get_logger()
POLL_SECONDS = 0.5
BLOCK_SECONDS = 5
BLOCKED_SECONDS = BLOCK_SECONDS + 2
"""A blocking pop that has not answered by then never will."""
LOOK_SECONDS = 1.0
LOOKS_PER_SHARED = 5
"""While rings come through, only every so many looks is made."""
TASK_SECONDS = 3600
"""The longest that a scheduled task may take."""
RECONCILE_MINUTE = 17
ORIGINALS_SECONDS = 5
BILLING_SECONDS = 5
RECONCILE_BILLING_HOUR = 3
HOUSEKEEPING_SECONDS = 60.0


class DoorbellWorker(Worker):
    """arq's worker, woken by rings, freed slots and the clock; `blocking` is the Redis client that may wait.

    Of arq it uses the queue's form, the health key and the handling of signals. Rings are taken by
    `service.queue.take_rings`; arq's own handshake takes seven round trips, trusts what it reads, and loses a place for
    every error on the way.
    """

    def __init__(
        self,
        *,
        queue: str,
        redis: Redis,
        blocking: Redis,
        slots: Slots,
        schedule: Schedule | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            queue_name=queue_key(queue),
            redis_pool=ArqRedis(
                connection_pool=redis.connection_pool, job_serializer=serialise, job_deserializer=deserialise
            ),
            job_serializer=serialise,
            job_deserializer=deserialise,
            keep_result=0,
            max_tries=1,
            poll_delay=POLL_SECONDS,
            log_results=False,
            **kwargs,
        )
        self._queue = queue
        self._blocking = blocking
        self._slots = slots
        self._schedule = schedule
        self._deaf = False
        self._awake = asyncio.Event()
        self._started = itertools.count(1)
        self.stopping = asyncio.Event()

    async def main(self) -> None:
        """Replaces arq's polling loop."""
        beside = [asyncio.create_task(self._listen(), name="doorbell")]
        if self._schedule is not None:
            schedule = self._schedule
            beside += [
                asyncio.create_task(schedule.run(self._is_running, self._start), name="schedule"),
                asyncio.create_task(self._look(schedule), name="look"),
            ]
        try:
            while True:
                for task in beside:
                    if task.done():
                        task.result()  # a bug: better to end, and be started again, than to go on without it
                self._awake.clear()
                try:
                    await self._poll_iteration()
                except (RedisError, OSError) as error:
                    self._deaf = True
                    log.warning("redis_away", error=type(error).__name__)
                    await self._mend(error)
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                self._deaf = False
                # Not wait_for: before Python 3.12 it loses a cancellation that meets the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._awake.wait()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def close(self) -> None:
        """Ends what still runs. Redis need not be there."""
        with contextlib.suppress(RedisError, OSError):
            await super().close()

    async def _poll_iteration(self) -> None:
        """Take as many rings as there are free places; leave the others to other workers."""
        for name, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[name]
        if self.allow_pick_jobs and self._slots.free:
            ids = await self.pool.zrange(self.queue_name, 0, self._slots.free - 1)
            if ids:
                for _ in range(await take_rings(self.pool, self._queue, ids)):
                    self._answer()
                await asyncio.sleep(0)  # lets them take their places
                if not self._slots.full:
                    self._awake.set()  # there may be more
        await self.heart_beat()

    async def _listen(self) -> None:
        """Wait for rings. One token wakes one idle worker; a busy worker leaves tokens to the others."""
        wake_list = wake_key(self._queue)
        while not self.stopping.is_set():
            await self._slots.available.wait()
            try:
                async with asyncio.timeout(BLOCKED_SECONDS):
                    token = await cast(
                        "Awaitable[Any]", self._blocking.blpop([wake_list], timeout=BLOCK_SECONDS)
                    )
                if token:
                    self._awake.set()
            except (RedisError, OSError) as error:
                await self._mend(error)
                await asyncio.sleep(POLL_SECONDS)

    async def _look(self, schedule: Schedule) -> None:
        """Look for work without having been rung: every second while rings may be lost, else now and then."""
        for turn in itertools.count(1):
            await asyncio.sleep(LOOK_SECONDS)
            alone = self._deaf or not schedule.shared
            if not self._slots.full and (alone or turn % LOOKS_PER_SHARED == 0):
                self._answer()

    async def _mend(self, error: Exception) -> None:
        """Remove what stands in the queue's place and is no queue."""
        if is_wrong_type(error):
            with contextlib.suppress(RedisError, OSError):
                await mend(self.pool, self._queue)

    def _answer(self) -> None:
        """Answer a ring."""
        self._start(f"{DRAIN}-{next(self._started)}", self.functions[DRAIN].coroutine)

    def _is_running(self, name: str) -> bool:
        task = self.tasks.get(name)
        return task is not None and not task.done()

    def _start(self, name: str, work: Callable[[dict[str, Any]], Awaitable[None]]) -> bool:
        """Run something beside the poll; a worker that is stopping waits for it. False: it is stopping."""
        if self.stopping.is_set():
            return False
        task = asyncio.create_task(self._run(name, work), name=name)
        task.add_done_callback(lambda _: self._awake.set())
        self.tasks[name] = task
        return True

    async def _run(self, name: str, work: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        try:
            await work(self.ctx)
        except asyncio.CancelledError:
            log.info("task_cut_off", task=name)  # by the end of the process
        except Exception:
            log.exception("task_crashed", task=name)

    def handle_sig_wait_for_completion(self, signum: signal.Signals) -> None:
        self.stopping.set()
        super().handle_sig_wait_for_completion(signum)


async def drain(context: dict[str, Any]) -> None:
    """Answer a ring: do due jobs until there are none. Extra rings find nothing and end."""
    bench: Workbench = context["bench"]
    if bench.slots.full:
        return  # whoever holds a place looks again before leaving
    async with bench.slots.take():
        await _drain(bench, context["worker"].stopping)


async def _drain(bench: Workbench, stopping: asyncio.Event) -> None:
    settings, jobs = bench.resources.settings, bench.resources.jobs
    while not stopping.is_set():
        try:
            job = await jobs.claim_next(settings.queue, bench.name, settings.lease_seconds)
        except DependencyError:
            log.warning("claim_skipped", reason="database is away")
            return
        if job is None:
            # Deletions and exports when there is no job to do, one at a time: they are long and nobody watches them.
            if not await _data_request(bench):
                return
            continue
        with structlog.contextvars.bound_contextvars(
            job_id=str(job.id), attempt=job.attempt, request_id=job.request_id
        ):
            await run_job(bench, job)


async def _data_request(bench: Workbench) -> bool:
    """Take a due request, if there is one, and a turn at it."""
    settings = bench.resources.settings
    if bench.slots.at_request:
        return False
    bench.slots.at_request = True
    try:
        request = await bench.resources.data_requests.claim_request(
            settings.queue, bench.name, settings.lease_seconds
        )
        if request is None:
            return False
        with structlog.contextvars.bound_contextvars(
            data_request_id=str(request.id), attempt=request.attempt
        ):
            await run_request(bench, request)
        return True
    except DependencyError:
        log.warning("claim_skipped", reason="database is away")
        return False
    finally:
        bench.slots.at_request = False


def _scheduled(
    task: Callable[[Resources], Awaitable[object]], *, single: bool = False
) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """A cron entry around a task of ours: a dependency that is away is a line in the log, not a failure. `single`: it
    may take longer than its interval, and is then left to the worker that is at it."""

    async def run(context: dict[str, Any]) -> None:
        resources: Resources = context["bench"].resources
        try:
            async with asyncio.timeout(TASK_SECONDS):
                await (alone(resources, task.__name__, task) if single else task(resources))
        except TaskRunningError:
            log.info("cron_skipped", task=task.__name__, reason="another worker is at it")
        except (DependencyError, RedisError, OSError) as error:
            log.warning("cron_skipped", task=task.__name__, error=type(error).__name__)

    run.__name__ = run.__qualname__ = task.__name__
    return run


def cron_table(settings: Settings) -> list[CronJob]:
    """Sweep and originals every few seconds, looks at what is kept and rescans of it every minute where they are on,
    cleanup every few minutes, reconciliation hourly; once per tick over all workers."""
    minutes = max(1, settings.cleanup_seconds // 60)
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
            minute=set(range(0, 60, minutes)),
            second=0,
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


def _worker(bench: Workbench) -> DoorbellWorker:
    settings, resources = bench.resources.settings, bench.resources
    context: dict[str, Any] = {"bench": bench}
    worker = DoorbellWorker(
        queue=settings.queue,
        redis=resources.redis,
        blocking=resources.redis_blocking,
        slots=bench.slots,
        schedule=Schedule(cron_table(settings), resources.redis, resources.redis_breaker, settings.secret),
        functions=[func(drain, name=DRAIN)],  # type: ignore[arg-type] # arq types contexts loosely
        ctx=context,
        job_completion_wait=settings.drain_seconds,
        health_check_interval=30,
    )
    context["worker"] = worker
    return worker


async def _confined(resources: Resources) -> Protections:
    """What holds of pixel children here. Raises UnprotectedError when that is less than the settings demand."""
    found = await measure(resources.scratch)
    demand(found, resources.settings.demanded_protections)
    missing = [name for name, held in found if not held]
    log.log(logging.WARNING if missing else logging.INFO, "pixel_sandbox", missing=missing)
    return found


def _tell_moderation(resources: Resources) -> None:
    """Say in the log whether this worker looks at what pictures show, and why it does not."""
    policy, wanted = resources.nsfw, resources.settings.moderation
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
async def _housekeeping(bench: Workbench, protections: Protections) -> AsyncIterator[None]:
    """Meanwhile, tell that this worker runs, and remove what killed processes have left in the temporary directory."""
    resources = bench.resources

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
                lambda: resources.presence.tell(bench.name, resources.settings.queue, protections),
            )
        ),
        asyncio.create_task(keep(HOUSEKEEPING_SECONDS, lambda: asyncio.to_thread(resources.scratch.sweep))),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with contextlib.suppress(RedisError, OSError):
            await resources.presence.leave(bench.name)


async def serve(settings: Settings) -> None:
    """Run one worker until SIGTERM or SIGINT: it takes nothing new, gives running jobs `drain_seconds` to end, and
    hands the rest to other workers."""
    async with open_resources(settings) as resources:
        weights = tuple(resources.models.values())
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
        bench = Workbench(resources, pixels, Slots(settings.worker_slots), worker_name(), models)
        worker = _worker(bench)
        protections = await _confined(resources)
        _tell_moderation(resources)
        async with pixels, models, _housekeeping(bench, protections), watching(resources, bench.look_after):
            log.info("worker_started", worker=bench.name, queue=settings.queue, slots=settings.worker_slots)
            try:
                if not worker.stopping.is_set():  # a signal before arq's main task exists would be lost
                    await worker.async_run()
            except asyncio.CancelledError:
                log.info("worker_stopping", worker=bench.name)
            finally:
                await worker.close()


def run() -> None:
    """Entry point of `darkroom worker`."""
    environment.hide()
    settings = get_settings()
    telemetry.configure(settings, "worker")
    environment.forget()
    telemetry.serve_metrics(settings)
    try:
        asyncio.run(serve(settings))
    except (UnprotectedError, WeightsError) as error:
        log.error("worker_not_started", reason=str(error))
        raise SystemExit(2) from None
