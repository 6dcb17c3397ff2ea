"""kill -9 of a worker at every step of a deletion and of an export: another completes it, and nothing is left over."""

from __future__ import annotations

import pytest

from service.platform.resources import Platform
from service.privacy.store import DataRequest, DataRequests
from tests.chaos.dying import ForkServer, alone, hand_over
from tests.jobs import new_queue
from tests.privacy.estate import Connection, ended, furnish, objects_of, wiped_clean
from tests.support import User, until_gone
from workers.cleanup import CleanupReport, purge

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("worker")]
SILENT_SECONDS = 600.0
"""The lease of a worker that may still be writing, where the first worker is to find one that it has to wait for."""
_SILENT_NO_LONGER = """
update public.data_requests
set cursor = cursor || jsonb_build_object(
  'settle_until', least((cursor ->> 'settle_until')::timestamptz, now() + interval '1 second'))
where id = $1 and cursor ? 'settle_until'
"""
"""A request has a second to wait at the most."""
DELETION = (
    *("claimed", "cache", "cancel", "settle", "jobs", "rows", "images", "objects", "removed"),
    *("verify", "money", "account", "finish", "finished"),
)
EXPORT = ("claimed", "collect", "store", "stored", "finished")


async def _kill_one_then_survive(
    fork_server: ForkServer, platform: Platform, db: Connection, step: str, request: DataRequest
) -> None:
    """The first worker kills itself at the step; a second one brings the request to its end."""
    await platform.doorbell.ring(request.queue)
    await fork_server.run_until_killed("dying_requester", step, env=alone(request.queue))
    await db.execute(_SILENT_NO_LONGER, request.request_id)
    await hand_over(platform, db, "data_requests", request.request_id)
    row = await ended(platform, request.request_id, request.user_id)
    assert (row.status, row.error) == ("done", None)


@pytest.mark.parametrize("step", DELETION)
async def test_a_deletion_is_completed(
    fork_server: ForkServer, platform: Platform, user: User, db: Connection, step: str
) -> None:
    account = step in {"account", "finish", "finished", "jobs"}
    silent = SILENT_SECONDS if step == "settle" else 1.0
    estate = await furnish(platform, db, user, silent_seconds=silent)
    queue = new_queue()
    request = await DataRequests(platform.database).request_deletion(
        user.id, delete_account=account, queue=queue
    )
    there = len(await objects_of(db, estate))
    await _kill_one_then_survive(fork_server, platform, db, step, request)
    await wiped_clean(db, platform, estate, account=account)
    row = await DataRequests(platform.database).get_request(request.request_id, None if account else user.id)
    assert row is not None
    assert row.receipt is not None
    assert row.receipt["account"] == ("deleted" if account else "kept")
    assert row.receipt["rows"]["jobs"] == len(estate.jobs)
    # A cleanup elsewhere may have removed some of them before the request was made; all later ones are counted.
    assert there <= sum(row.receipt["objects"].values()) <= len(estate.objects)


@pytest.mark.parametrize("step", EXPORT)
async def test_an_export_is_completed(
    fork_server: ForkServer, platform: Platform, user: User, db: Connection, step: str
) -> None:
    estate = await furnish(platform, db, user)
    queue = new_queue()
    request = await DataRequests(platform.database).request_export(user.id, queue, None)
    await _kill_one_then_survive(fork_server, platform, db, step, request)
    row = await DataRequests(platform.database).get_request(request.request_id, user.id)
    assert row is not None
    assert row.path is not None
    await purge(platform, CleanupReport())

    async def left() -> set[str]:
        """What the attempt that was killed has stored; a worker's own cleanup may be at it."""
        exports = {path for bucket, path in await objects_of(db, estate) if bucket == "exports"}
        assert row.path in exports
        return exports - {row.path}

    await until_gone(left)
