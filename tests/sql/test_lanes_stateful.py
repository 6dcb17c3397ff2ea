"""Up to two hundred lanes in any order of calls: each claim takes from the lane that the rule names, and the counts are
true."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.sql.lanes_model import COST, Lane, Model
from tests.sql.world import Document, World, open_connection
from tests.support import examples

T = TypeVar("T")
USERS = 200
PLANS = {"one": (1, 1), "two": (2, 2), "six": (6, 1), "twelve": (12, 3), "many": (48, 2)}
"""Weight and limit of jobs at once, by what the plan is called here."""

Rule = TypeVar("Rule", bound=Callable[..., None])
anybody = st.integers(0, USERS - 1)


class Queue(RuleBasedStateMachine):
    """The class variables are set by the test and serve all sequences; each has a queue of its own."""

    runner: ClassVar[asyncio.Runner]
    world: ClassVar[World]
    users: ClassVar[list[uuid.UUID]]
    plan_of: ClassVar[list[str]]
    prefix: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.queue = secrets.token_hex(6)
        self.model = Model()
        self.lanes: dict[int, Lane] = {}
        self.waiting: dict[int, list[str]] = {}
        self.running: list[tuple[int, Document]] = []

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def lane(self, user: int) -> Lane:
        """Of the model; a new one comes last in the order of ties."""
        if user not in self.lanes:
            weight, limit = PLANS[self.plan_of[user]]
            self.lanes[user] = Lane(weight, max_running=limit)
            self.waiting[user] = []
            self.model.add(self.lanes[user])
        return self.lanes[user]

    @rule(users=st.lists(anybody, min_size=1, max_size=60), op=st.sampled_from(sorted(COST)))
    def queue_jobs(self, users: list[int], op: str) -> None:
        for user in users:
            job = self.run(self.world.queued(self.users[user], queue=self.queue, op_key=op))
            lane = self.lane(user)
            lane.jobs.append(op)
            self.waiting[user].append(job["job_id"])
            self.model.touch(lane)

    @rule(count=st.integers(1, 20))
    def claim(self, count: int) -> None:
        for _ in range(count):
            expected = self.model.claim()
            job = self.run(self.world.claim(self.queue))
            if expected is None:
                assert job is None
                return
            assert job is not None
            user = self.users.index(uuid.UUID(job["user_id"]))
            assert self.lanes[user] is expected
            assert job["id"] == self.waiting[user].pop(0)
            self.running.append((user, job))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["done", "retry", "snooze", "cancel"]))
    def leave(self, data: st.DataObject, how: str) -> None:
        place = data.draw(st.integers(0, len(self.running) - 1))
        user, job = self.running.pop(place)
        lane = self.lanes[user]
        lane.running -= 1
        again = how == "snooze" or (how == "retry" and job["attempt"] < job["max_attempts"])
        if how == "snooze":
            self.run(self.world.snooze(job))
        elif how == "cancel":
            self.run(self.world.cancel(job["id"], self.users[user]))
        else:
            self.run(self.world.fail(job, retry=0.0 if how == "retry" else None))
        if again:  # behind what was queued before
            lane.jobs.append(job["op_key"])
            self.waiting[user].append(job["id"])
        self.model.touch(lane)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        user = data.draw(st.sampled_from([user for user, jobs in self.waiting.items() if jobs]))
        place = data.draw(st.integers(0, len(self.waiting[user]) - 1))
        self.run(self.world.cancel(self.waiting[user].pop(place), self.users[user]))
        del self.lanes[user].jobs[place]
        self.model.touch(self.lanes[user])

    @precondition(lambda self: self.lanes)
    @rule(data=st.data())
    def pause_or_resume(self, data: st.DataObject) -> None:
        user = data.draw(st.sampled_from(sorted(self.lanes)))
        lane = self.lanes[user]
        lane.paused = not lane.paused
        found = "select id from public.lanes where queue = $1 and user_id = $2"
        lane_id = self.run(self.world.value(found, self.queue, self.users[user]))
        names: dict[str, Any] = {"p_lane_id": lane_id, "p_paused": lane.paused, "p_actor": None}
        self.run(self.world.call("admin_pause_lane", **names, p_by="test", p_reason="test"))
        self.model.touch(lane)

    @rule(user=anybody, plan=st.sampled_from(sorted(PLANS)))
    def change_plan(self, user: int, plan: str) -> None:
        changed, self.plan_of[user] = self.plan_of[user] != plan, plan
        names = {"p_user_id": self.users[user], "p_plan_id": f"{self.prefix}{plan}", "p_reason": "test"}
        self.run(self.world.call("set_plan", **names))
        if changed and user in self.lanes:
            lane = self.lanes[user]
            lane.weight, lane.max_running = PLANS[plan]
            self.model.touch(lane)

    def teardown(self) -> None:
        self.run(self.world.sweep())
        faults = self.run(self.world.connection.fetch("select * from private.lane_faults()"))
        assert [tuple(row.values()) for row in faults] == []
        load = self.run(self.world.call("queue_load", p_queue=self.queue))
        assert load["queued"] == sum(map(len, self.waiting.values()))
        assert load["running"] == len(self.running)


async def _prepare(world: World) -> None:
    """Two hundred users, of every plan."""
    Queue.prefix = f"{secrets.token_hex(4)}-"
    for name, (weight, limit) in PLANS.items():
        await world.connection.execute(
            "insert into public.plans (id, name, weight, max_running, max_pending) values ($1, $2, $3, $4, 1000)",
            *(f"{Queue.prefix}{name}", name, weight, limit),
        )
    names = sorted(PLANS)
    Queue.plan_of = [names[number % len(names)] for number in range(USERS)]
    Queue.users = [await world.user(plan=f"{Queue.prefix}{plan}") for plan in Queue.plan_of]


def test_any_order_of_calls(scratch: str) -> None:
    with asyncio.Runner() as runner:
        Queue.runner, Queue.world = runner, World(runner.run(open_connection(scratch)))
        try:
            runner.run(_prepare(Queue.world))
            run_state_machine_as_test(
                Queue,
                settings=settings(
                    max_examples=examples(15),
                    stateful_step_count=30,
                    deadline=None,
                    database=None,
                    derandomize=False,  # also where the variable CI is set
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(Queue.world.connection.close())
