"""Deleting all data of a user: rows, then objects, then whatever turns up in another look, then money and account.

There is no list of what is done: each round asks the database what is left, so a worker that dies anywhere leaves the
next one nothing to know. Objects go by way of tombstones, and the receipt is written when a whole round, and a listing
of the user's own folders in Storage, have found nothing more.
"""

import itertools
from collections import defaultdict

import structlog
from redis.exceptions import RedisError

from service.cache.hot_answers import forget, forget_user
from service.maintenance.store import Maintenance
from service.platform.errors import DependencyError, ProblemError, conflict
from service.platform.resources import Platform
from service.platform.storage import EXPORTS, LIBRARY
from service.platform.transport import dependency
from service.privacy.store import DataRequests
from workers.lease import RequestLease

log = structlog.get_logger()
ROWS = 200
OBJECTS = 1000
FOLDERS = (LIBRARY, EXPORTS)
"""Buckets whose keys begin with the id of a user, or of a team that was theirs alone."""
DAY = 86_400
AGAIN_SECONDS = 1.0


async def wipe(platform: Platform, lease: RequestLease) -> str:
    """Delete until nothing is left; the status of the request after this turn."""
    requests, request = DataRequests(platform.database), lease.request
    await lease.step("cache", 0.01)
    try:
        await forget_user(platform.redis, request.user_id)
    except (RedisError, OSError) as error:  # rows and objects need not wait for it; the last look below does
        log.warning("hits_not_forgotten", error=type(error).__name__)
    while True:
        waiting = await _rows(platform, lease)
        if waiting is not None:
            await lease.step("settle", 0.1)
            await lease.wait(waiting)
            return "queued"
        await lease.step("objects", 0.6)
        if not await _objects(platform, lease):
            break
    # An intake that had looked before the deletion began may have kept its answer until now.
    await lease.step("verify", 0.8)
    await forget_user(platform.redis, request.user_id)
    await platform.freshness.changed(request.user_id)  # their API keys are gone
    await lease.step("money", 0.85)
    await requests.wipe_money(request)
    await lease.step("account", 0.9)
    account = await _account(platform, lease)
    await lease.step("finish", 0.95)
    receipt_seconds = platform.settings.receipt_ttl_days * DAY
    try:
        return await lease.finish(requests.finish_deletion(request, account, receipt_seconds))
    except ProblemError as error:
        if error.code is not conflict:
            raise
        # Somebody has marked another object in the user's folders since the last look: look again.
        await lease.wait(AGAIN_SECONDS)
        return "queued"


async def _rows(platform: Platform, lease: RequestLease) -> float | None:
    """Delete rows until none is left; or how long to wait for workers that have lost their job, seconds."""
    while True:
        batch = await DataRequests(platform.database).wipe_batch(lease.request, ROWS)
        await forget(platform.invalidation, batch.forget)
        if batch.wait_seconds is not None:
            return batch.wait_seconds
        if batch.done:
            return None
        await lease.step(batch.step, 0.3)


async def _objects(platform: Platform, lease: RequestLease) -> int:
    """Remove every object of the request, and what else lies in the user's folders. Returns how many there were."""
    requests, storage, request = DataRequests(platform.database), platform.storage, lease.request
    found = 0
    folders = [str(request.user_id), *request.options.get("team_ids", [])]
    for bucket, folder in itertools.product(FOLDERS, folders):
        paths = [item.path async for item in storage.list_objects(bucket, f"{folder}/")]
        for start in range(0, len(paths), OBJECTS):
            found += await requests.wipe_objects(request, bucket, paths[start : start + OBJECTS])
    while tombstones := await requests.request_tombstones(request, OBJECTS):
        by_bucket: dict[str, list[str]] = defaultdict(list)
        for tombstone in tombstones:
            by_bucket[tombstone.bucket].append(tombstone.path)
        for bucket, gone in by_bucket.items():
            await storage.remove(bucket, gone)
        await lease.step("removed", 0.7)
        await Maintenance(platform.database).confirm_purged([tombstone.id for tombstone in tombstones])
        found += len(tombstones)
    return found


async def _account(platform: Platform, lease: RequestLease) -> str:
    """Delete the account if that was asked for, by the Auth API where there is one, else in SQL."""
    request = lease.request
    if request.options.get("delete_account"):
        settings = platform.settings
        url = f"{settings.supabase_url}/auth/v1/admin/users/{request.user_id}"
        with dependency("auth", "delete_user"):
            answer = await platform.http.delete(url, headers=settings.service_headers)
        if answer.is_redirect or answer.status_code == 429 or answer.is_server_error:
            raise DependencyError("auth")
        # 404: gone already, or an Auth without this route. What counts is whether the row is there.
        log.info("account_deletion", status=answer.status_code)
    return await DataRequests(platform.database).close_account(request)
