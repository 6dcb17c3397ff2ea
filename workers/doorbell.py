"""The worker's loop: it hears rings of the queue in Redis and looks at the database where it hears none."""

import asyncio
import contextlib
import itertools
import signal
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.platform.queue import DRAIN, deserialise, mend, queue_key, serialise, take_rings, wake_key
from service.platform.redis import is_wrong_type
from workers.context import Slots
from workers.schedule import Schedule

log = structlog.get_logger()
POLL_SECONDS = 0.5
BLOCK_SECONDS = 5
BLOCKED_SECONDS = BLOCK_SECONDS + 2
"""A blocking pop that has not answered by then never will."""
LOOK_SECONDS = 1.0
LOOKS_PER_SHARED = 5
"""While rings come through, only every so many looks is made."""


class DoorbellWorker(Worker):
    """arq's worker, woken by rings, freed slots and the clock; `blocking` is the Redis client that may wait.

    Of arq it uses the queue's form, the health key and the handling of signals. Rings are taken by
    `platform.queue.take_rings`; arq's own handshake takes seven round trips, trusts what it reads, and loses a place
    for every error on the way.
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
