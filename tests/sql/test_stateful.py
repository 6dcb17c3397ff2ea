"""Any order of calls: hypothesis plays users, workers, a sweeper and a cleaner against a model of what must be.

The model knows each job's state, its leases and every user's balance; after each step the database must agree, and
check_invariants must have nothing to say. A lease that the model knows as lost must be refused.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.sql.world import Document, World, open_connection
from tests.support import examples, new_sha256

T = TypeVar("T")
CREDITS = 9
PRICES = {"resize-v1:width-9": 0, "upscale-v1": 4}
MAX_RUNNING = 2
UNFINISHED = {"awaiting_upload", "queued", "running"}


@dataclass
class Job:
    """What the model knows of a job. `lease` is the claimed row of its present worker."""

    id: str
    user: uuid.UUID | None
    key: tuple[str, str]
    price: int
    path: str
    status: str
    attempts: int = 0
    lease: Document | None = None
    charged: int = 0


@dataclass
class Model:
    users: list[uuid.UUID | None]
    jobs: dict[str, Job] = field(default_factory=dict)
    lost: list[Document] = field(default_factory=list)

    def balance(self, user: uuid.UUID) -> int:
        mine = [job for job in self.jobs.values() if job.user == user]
        held = sum(job.price for job in mine if job.status in UNFINISHED)
        return CREDITS - held - sum(job.charged for job in mine)

    def running(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.status == "running"]

    def claimable(self) -> set[str]:
        running = self.running()
        keys = {job.key for job in running}
        busy = [job.user for job in running if job.user is not None]
        return {
            job.id
            for job in self.jobs.values()
            if job.status == "queued"
            and job.key not in keys
            and busy.count(job.user or uuid.UUID(int=0)) < MAX_RUNNING
        }

    def end(self, job: Job, status: str, charged: int = 0) -> None:
        """The job leaves its worker."""
        if job.lease:
            self.lost.append(job.lease)
        job.lease, job.status, job.charged = None, status, charged


Rule = TypeVar("Rule", bound=Callable[..., None])


def any_job(*statuses: str) -> Callable[[Rule], Rule]:
    """Only when the model knows a job in one of these states."""
    return precondition(lambda self: any(job.status in statuses for job in self.model.jobs.values()))


class Players(RuleBasedStateMachine):
    """`runner` and `world` are set by the test, and serve all sequences."""

    runner: ClassVar[asyncio.Runner]
    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.queue = secrets.token_hex(6)
        self.pictures = [new_sha256(), new_sha256()]
        users = [self.run(self.world.user(balance=CREDITS)) for _ in range(2)]
        self.model = Model([None, *users])

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def attempt(self, call: Coroutine[Any, Any, T]) -> tuple[T | None, str]:
        """The answer, or None and the code of the refusal."""
        try:
            return self.run(call), ""
        except asyncpg.PostgresError as error:
            return None, str(error).partition("\n")[0]

    def pick(self, data: st.DataObject, statuses: set[str]) -> Job:
        jobs = [job for job in self.model.jobs.values() if job.status in statuses]
        return data.draw(st.sampled_from(jobs))

    @rule(
        user=st.integers(0, 2),
        picture=st.integers(0, 1),
        op=st.sampled_from(sorted(PRICES)),
        cache=st.booleans(),
    )
    def intake(self, user: int, picture: int, op: str, cache: bool) -> None:
        who, sha256, price = self.model.users[user], self.pictures[picture], PRICES[op]
        affordable = price == 0 or (who is not None and self.model.balance(who) >= price)
        claim = {"sha256": sha256, "op_key": op, "price": price, "queue": self.queue, "use_cache": cache}
        answer, refusal = self.attempt(self.world.intake(who, **claim))
        if answer is None:
            assert (refusal, affordable) == ("insufficient_credits", False)
            return
        if "output" in answer:
            # Nobody else's; and whatever answers has a job that the caller may use.
            assert answer["output"]["user_id"] in {None, who and str(who)}
            assert (answer["outcome"] == "hit") == (answer["output"]["user_id"] == (who and str(who)))
            if answer["outcome"] == "hit":
                job = self.run(self.world.call("get_job", p_job_id=answer["job_id"], p_user_id=who))
                assert job["output"]["output_id"] == answer["output"]["output_id"]
        if answer["outcome"] == "copy":
            job = self.run(self.world.adopt(who, answer["output"]["output_id"]))
            self.model.jobs[job["job_id"]] = Job(job["job_id"], who, (sha256, op), 0, "", "done")
        elif answer["outcome"] == "job" and answer["created"]:
            assert affordable
            job = answer["job"]
            self.model.jobs[job["job_id"]] = Job(
                job["job_id"], who, (sha256, op), price, job["upload_path"], job["status"]
            )
        elif answer["outcome"] == "job":
            known = self.model.jobs[answer["job"]["job_id"]]
            assert (known.user, known.key, known.status) == (who, (sha256, op), answer["job"]["status"])

    @any_job("awaiting_upload")
    @rule()
    def uploads_arrive(self) -> None:
        for job in self.model.jobs.values():
            if job.status == "awaiting_upload":
                self.run(self.world.put(job.path))
                self.run(self.world.uploaded(job.id, job.user))
                job.status = "queued"

    @any_job("queued")
    @rule()
    def claim(self) -> None:
        claimable = self.model.claimable()
        claimed = self.run(self.world.claim(self.queue))
        assert (claimed is not None) == bool(claimable)
        if claimed is not None:
            assert claimed["id"] in claimable
            job = self.model.jobs[claimed["id"]]
            job.status, job.lease, job.attempts = "running", claimed, job.attempts + 1
            assert claimed["attempt"] == job.attempts

    @any_job("running")
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        job = self.pick(data, {"running"})
        assert job.lease is not None
        document = self.run(self.world.complete(job.lease))
        assert document["output"] is not None
        self.model.end(job, "done", job.price)

    @any_job("running")
    @rule(data=st.data())
    def reuse(self, data: st.DataObject) -> None:
        job = self.pick(data, {"running"})
        assert job.lease is not None
        lease = {"p_job_id": job.id, "p_lease_token": job.lease["lease_token"]}
        found = self.run(self.world.call("cached_output", **lease, p_output_seconds=3600))
        if found and found["own"]:
            self.run(self.world.reuse(job.lease, found["output"]["output_id"]))
            self.model.end(job, "done")

    @any_job("running")
    @rule(data=st.data(), retry=st.booleans(), drop=st.booleans())
    def fail(self, data: st.DataObject, retry: bool, drop: bool) -> None:
        job = self.pick(data, {"running"})
        assert job.lease is not None
        last = job.attempts >= job.lease["max_attempts"]
        self.run(self.world.fail(job.lease, retry=0.0 if retry else None, drop=drop))
        self.model.end(job, "queued" if retry and not last else "error")

    @any_job("running")
    @rule(data=st.data())
    def snooze(self, data: st.DataObject) -> None:
        job = self.pick(data, {"running"})
        assert job.lease is not None
        self.run(self.world.snooze(job.lease))
        job.attempts -= 1
        self.model.end(job, "queued")

    @precondition(lambda self: self.model.lost)
    @rule(data=st.data(), act=st.sampled_from(["heartbeat", "complete", "fail", "snooze"]))
    def come_too_late(self, data: st.DataObject, act: str) -> None:
        lease = data.draw(st.sampled_from(self.model.lost))
        assert self.attempt(getattr(self.world, act)(lease))[1] == "lease_lost"

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.model.jobs.values())))
        _, refusal = self.attempt(self.world.cancel(job.id, job.user))
        assert refusal == ("job_finished" if job.status in {"done", "error", "expired"} else "")
        if not refusal:
            self.model.end(job, "canceled")

    @any_job("running")
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        job = self.pick(data, {"running"})
        assert job.lease is not None
        self.run(self.world.late("lease_expires_at", job.id))
        self.run(self.world.sweep())
        last = job.attempts >= job.lease["max_attempts"]
        self.model.end(job, "error" if last else "queued")

    @any_job("awaiting_upload", "queued")
    @rule(data=st.data())
    def a_deadline_passes(self, data: st.DataObject) -> None:
        job = self.pick(data, {"awaiting_upload", "queued"})
        self.run(self.world.late("expires_at", job.id))
        self.run(self.world.sweep())
        self.model.end(job, "expired")

    @any_job("done")
    @rule()
    def outputs_expire(self) -> None:
        late = "update public.image_outputs set expires_at = now() - interval '1 s' where input_sha256 = any ($1)"
        self.run(self.world.value(late, self.pictures))
        self.run(self.world.expire())

    @invariant()
    def the_database_agrees(self) -> None:
        users = [user for user in self.model.users if user is not None]
        found = self.run(self.world.value(SEEN, self.pictures, users))
        jobs = [
            [job.id, job.status, job.charged, job.lease["lease_token"] if job.lease else None]
            for job in self.model.jobs.values()
        ]
        assert found == {
            "violations": [],
            "jobs": sorted(jobs),
            "balances": {str(user): self.model.balance(user) for user in users},
        }


SEEN = """
select jsonb_build_object(
  'violations', (select coalesce(jsonb_agg(v), '[]') from public.check_invariants() v),
  'jobs', (
    select coalesce(jsonb_agg(jsonb_build_array(id, status, charged, lease_token) order by id), '[]')
    from public.jobs where sha256 = any ($1) and not for_hits),
  'balances', (select jsonb_object_agg(user_id, balance) from public.credits where user_id = any ($2)))
"""


@pytest.mark.usefixtures("unmeasured_here")
def test_any_order_of_calls(scratch: str) -> None:
    with asyncio.Runner() as runner:
        Players.runner, Players.world = runner, World(runner.run(open_connection(scratch)))
        try:
            run_state_machine_as_test(
                Players,
                settings=settings(
                    max_examples=examples(25),
                    stateful_step_count=40,
                    deadline=None,
                    database=None,
                    derandomize=False,  # also where the variable CI is set
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(Players.world.connection.close())
