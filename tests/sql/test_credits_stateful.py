"""Money in any order of events, cut off anywhere: hypothesis plays a buyer, jobs, an admin, a bank and the clock.

A model keeps what each grant should hold, by the rules as they are written for people: soonest expiring first, then
oldest; back to where it came from; what comes in pays the debt. After each step the database must agree grant by grant,
and check_invariants must have nothing to say. A step may be cut off first: at its n-th write, or by the death of its
connection before the commit. It has not happened then, and doing it again does all of it.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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

from scripts.local.home import Local
from tests.sql.scratch import scratch_database
from tests.sql.world import World, open_connection
from tests.support import examples

T = TypeVar("T")
SEQUENCES = 100
STEPS = 10
MONEY = ("credits", "credit_ledger", "credit_grants", "credit_uses", "jobs", "audit_log")
CRASHING = """
create function public.crash_here() returns trigger language plpgsql as $$
declare
  v_left integer := nullif(current_setting('test.crash_in', true), '')::integer;
begin
  if v_left = 0 then
    raise exception 'crash';
  end if;
  perform set_config('test.crash_in', (v_left - 1)::text, false);
  return new;
end $$;
revoke execute on function public.crash_here() from public, anon, authenticated;
"""
"""Raises at the n-th write of a statement, n being a setting of the session."""
KILL = -1
Crash = int | None
"""The number of writes that still happen; KILL: all, but not the commit."""
crashes = st.one_of(st.none(), st.none(), st.integers(0, 8), st.integers(0, 8), st.just(KILL))


@dataclass(eq=False)
class Grant:
    """What should be left of a grant; `end`: hours from now, None never; `over`: its time has come, and `ended` of it
    were unspent; `lapsed`: how much of these was taken back."""

    source: str
    reference: str
    amount: int
    end: int | None
    order: int
    left: int = 0
    clawed: int = 0
    lapsed: int = 0
    ended: int = 0
    over: bool = False


@dataclass(eq=False)
class Job:
    id: str
    queue: str
    path: str
    uses: dict[Grant, int]
    state: str = "held"


@dataclass
class Account:
    """The rules, without a database."""

    grants: list[Grant] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    debt: int = 0
    told: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    @property
    def balance(self) -> int:
        return sum(grant.left for grant in self.grants if not grant.over)

    def draw(self, amount: int, first: Grant | None = None) -> dict[Grant, int]:
        """Take from the grants in their order; what each gave."""
        taken: dict[Grant, int] = {}
        for grant in sorted(self.grants, key=lambda g: (g is not first, g.end or 10**6, g.order)):
            part = 0 if grant.over else min(grant.left, amount)
            if part:
                taken[grant] = part
                grant.left -= part
                amount -= part
        assert amount == 0
        return taken

    def pay_debt(self) -> None:
        part = min(self.debt, self.balance)
        self.draw(part)
        self.debt -= part

    def give(self, source: str, reference: str, amount: int, end: int | None = None) -> None:
        self.grants.append(Grant(source, reference, amount, end, len(self.grants), amount))
        self.pay_debt()

    def release(self, job: Job) -> None:
        for grant, part in job.uses.items():
            grant.left += 0 if grant.over else part
            grant.ended += part if grant.over else 0
        self.pay_debt()

    def refund(self, job: Job) -> None:
        ended = sum(part for grant, part in job.uses.items() if grant.over)
        for grant, part in job.uses.items():
            grant.left += 0 if grant.over else part
        if ended:
            self.grants.append(Grant("refund", job.id, ended, None, len(self.grants), ended))
        self.pay_debt()

    def claw_back(self, reference: str, amount: int, reason: str) -> tuple[int, int]:
        """(taken, debt)."""
        if (reference, reason) not in self.told:
            grant = next((grant for grant in self.grants if grant.reference == reference), None)
            if grant:
                amount = min(amount, grant.amount - grant.clawed)
                grant.clawed += amount
                lapsed = min(amount, grant.ended - grant.lapsed)
                grant.lapsed += lapsed
                amount -= lapsed
            taken = min(amount, self.balance)
            self.draw(taken, grant)
            self.debt += amount - taken
            self.told[reference, reason] = taken, amount - taken
        return self.told[reference, reason]


def in_state(*states: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Only when a job of the model is in one of these."""
    return precondition(lambda self: any(job.state in states for job in self.account.jobs))


class Money(RuleBasedStateMachine):
    """`url`, `runner`, `world` and `observer` are set by the test, and serve all sequences."""

    url: ClassVar[str]
    runner: ClassVar[asyncio.Runner]
    world: ClassVar[World]
    observer: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.account = Account()
        self.midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0) + timedelta(days=2)
        self.user = self.run(self.world.user(plan="pro"))
        signup = self.run(self.world.balance(self.user))
        self.account.give("signup_grant", "signup", signup)

    def teardown(self) -> None:
        """Nothing of this sequence is left for the next: check_invariants reads everything there is."""
        # Triggers and foreign keys left aside; truncating takes ten times as long.
        tables = (*(f"public.{table}" for table in (*MONEY, "profiles", "job_events")), "auth.users")
        deletes = "; ".join(f"delete from {table}" for table in tables)
        self.run(
            self.world.connection.execute(
                f"begin; set local session_replication_role = replica; {deletes}; commit"
            )
        )

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def do(self, crash: Crash, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call`, after an attempt that was cut off, if it is to be; the database is as before in between."""

        async def whole() -> T:
            return await call()

        if crash == KILL:
            self.run(self._die(call))
            self.the_database_agrees()
        elif crash is not None:
            try:
                self.run(self._set(crash))
                return self.run(whole())
            except asyncpg.RaiseError as error:
                if str(error).partition("\n")[0] != "crash":
                    raise
            finally:
                self.run(self._set(None))
            self.the_database_agrees()
        return self.run(whole())

    async def _set(self, writes: int | None) -> None:
        value = "" if writes is None else str(writes)
        await self.world.value("select set_config('test.crash_in', $1, false)", value)

    async def _die(self, call: Callable[[], Awaitable[object]]) -> None:
        """The connection is lost when all is done but the commit."""
        transaction = self.world.connection.transaction()
        await transaction.start()
        try:
            await call()
        except asyncpg.PostgresError:
            await transaction.rollback()
            return
        pid = await self.world.pid()
        await self.observer.value("select pg_terminate_backend($1)", pid)
        Money.world = World(await open_connection(self.url))

    def pick(self, data: st.DataObject, *states: str) -> Job:
        return data.draw(st.sampled_from([job for job in self.account.jobs if job.state in states]))

    # What comes in

    @rule(amount=st.integers(1, 60), crash=crashes)
    def purchase(self, amount: int, crash: Crash) -> None:
        self._give("purchase", amount, None, crash)

    @rule(amount=st.integers(1, 60), hours=st.integers(1, 3), crash=crashes)
    def subscription(self, amount: int, hours: int, crash: Crash) -> None:
        self._give("subscription", amount, hours, crash)

    @rule(amount=st.integers(1, 60), hours=st.none() | st.integers(1, 3), crash=crashes)
    def admin_grant(self, amount: int, hours: int | None, crash: Crash) -> None:
        self._give("admin_grant", amount, hours, crash)

    def _give(self, source: str, amount: int, hours: int | None, crash: Crash) -> None:
        reference = f"{source}-{next(self.numbers)}"
        assert self.do(crash, lambda: self._grant(source, reference, amount, hours))
        self.account.give(source, reference, amount, hours)

    async def _grant(self, source: str, reference: str, amount: int, hours: int | None) -> bool:
        end = None if hours is None else self.midnight + timedelta(hours=hours)
        return await self.world.grant(self.user, amount, source, reference, expires_at=end, note="sorry")

    @rule(data=st.data(), crash=crashes)
    def told_again(self, data: st.DataObject, crash: Crash) -> None:
        """The same payment once more: nothing happens."""
        known = [grant for grant in self.account.grants if grant.source != "refund"]
        grant = data.draw(st.sampled_from(known))
        assert not self.do(crash, lambda: self._grant(grant.source, grant.reference, grant.amount, grant.end))

    # Jobs

    @rule(price=st.integers(1, 120), crash=crashes)
    def intake(self, price: int, crash: Crash) -> None:
        queue = secrets.token_hex(6)
        affordable = self.account.balance >= price
        try:
            answer = self.do(crash, lambda: self.world.intake(self.user, price=price, queue=queue))
        except asyncpg.PostgresError as error:
            refusal = str(error).partition("\n")[0]
        else:
            refusal = ""
        assert refusal == ("" if affordable else "insufficient_credits")
        if refusal:
            return
        job = answer["job"]
        uses = self.account.draw(price)
        self.account.jobs.append(Job(job["job_id"], queue, job["upload_path"], uses))

    @in_state("held")
    @rule(data=st.data(), end=st.sampled_from(["complete", "complete", "fail"]), crash=crashes)
    def work(self, data: st.DataObject, end: str, crash: Crash) -> None:
        """A worker takes the job and finishes it, or fails for good."""
        job = self.pick(data, "held")

        async def start() -> Any:
            await self.world.put(job.path)
            return await self.world.claim(job.queue)

        lease = self.run(start())
        assert lease is not None
        self.do(crash, lambda: getattr(self.world, end)(lease))
        if end == "complete":
            job.state = "captured"
        else:
            job.state = "released"
            self.account.release(job)
            self.nothing_ended_is_left()

    @in_state("held")
    @rule(data=st.data(), end=st.sampled_from(["cancel", "expire"]), crash=crashes)
    def give_up(self, data: st.DataObject, end: str, crash: Crash) -> None:
        job = self.pick(data, "held")
        if end == "expire":
            self.run(self.world.late("expires_at", job.id))
            self.do(crash, lambda: self.world.call("sweep"))
        else:
            self.do(crash, lambda: self.world.cancel(job.id, self.user))
        job.state = "released"
        self.account.release(job)
        self.nothing_ended_is_left()

    @in_state("captured", "refunded")
    @rule(data=st.data(), crash=crashes)
    def refund(self, data: st.DataObject, crash: Crash) -> None:
        job = self.pick(data, "captured", "refunded")
        parameters = {"p_job_id": uuid.UUID(job.id), "p_reason": "bad picture", "p_actor": None}
        refunded = self.do(crash, lambda: self.world.call("refund_job", **parameters))
        assert refunded == (job.state == "captured")
        if refunded:
            job.state = "refunded"
            self.account.refund(job)

    # What goes

    @rule(data=st.data(), amount=st.integers(1, 90), reason=st.sampled_from("ab"), crash=crashes)
    def dispute(self, data: st.DataObject, amount: int, reason: str, crash: Crash) -> None:
        """Of a payment that is known, or not yet."""
        paid = ("purchase", "subscription")
        known = [(grant.source, grant.reference) for grant in self.account.grants if grant.source in paid]
        source, reference = data.draw(st.sampled_from([*known, ("purchase", "unheard of")]))
        what = {"source": source, "reason": reason}
        answer = self.do(crash, lambda: self.world.claw_back(self.user, amount, reference, **what))
        assert (answer["taken"], answer["debt"]) == self.account.claw_back(reference, amount, reason)

    @precondition(lambda self: any(grant.end and not grant.over for grant in self.account.grants))
    @rule()
    def time_passes(self) -> None:
        """The next grant to end has ended, and all that end with it."""
        hour = min(grant.end for grant in self.account.grants if grant.end and not grant.over)
        ended = [grant for grant in self.account.grants if grant.end == hour and not grant.over]
        self.run(
            self.world.value(
                "update public.credit_grants set expires_at = now() - interval '1 s'"
                " where user_id = $1 and reference = any ($2)",
                *(self.user, [grant.reference for grant in ended]),
            )
        )
        for grant in ended:
            grant.over, grant.ended, grant.left = True, grant.left, 0

    @rule(crash=crashes)
    def cron(self, crash: Crash) -> None:
        self.do(crash, lambda: self.world.call("expire_grants", p_limit=10))
        self.nothing_ended_is_left()

    def nothing_ended_is_left(self) -> None:
        left = "select sum(remaining) from public.credit_grants where user_id = $1 and expires_at < now()"
        assert not self.run(self.world.value(left, self.user))

    @invariant()
    def the_database_agrees(self) -> None:
        self.run(self._agrees())

    async def _agrees(self) -> None:
        # By a connection that no step ends: in a new one, everything would have to be planned first.
        found = await self.observer.value(SEEN, self.user)
        held = sum(sum(job.uses.values()) for job in self.account.jobs if job.state == "held")
        assert found == {
            "violations": [],
            "credits": [self.account.balance, held, self.account.debt],
            "grants": sorted(
                [grant.source, grant.reference, grant.amount, grant.clawed, grant.left]
                for grant in self.account.grants
                if not grant.over
            ),
            "jobs": {job.id: MOVEMENTS[job.state] for job in self.account.jobs},
        }


SEEN = """
select jsonb_build_object(
  'violations', (select coalesce(jsonb_agg(v), '[]') from public.check_invariants() v),
  'credits', (select jsonb_build_array(c -> 'balance', c -> 'held', c -> 'debt') from public.get_credits($1) c),
  'grants', (
    select coalesce(jsonb_agg(
      jsonb_build_array(g.source, g.reference, g.amount, g.clawed, g.remaining)
      order by g.source collate "C", g.reference collate "C"), '[]')
    from public.credit_grants g where g.user_id = $1 and (g.expires_at is null or g.expires_at > now())),
  'jobs', (
    select coalesce(jsonb_object_agg(j.reference, j.reasons), '{}') from (
      select l.reference, jsonb_agg(l.reason order by l.id) as reasons from public.credit_ledger l
      where l.user_id = $1 and l.reason in ('hold', 'capture', 'release', 'refund') group by l.reference) j))
"""
MOVEMENTS = {
    "held": ["hold"],
    "captured": ["hold", "capture"],
    "released": ["hold", "release"],
    "refunded": ["hold", "capture", "refund"],
}


@pytest.fixture
async def own_database(local: Local) -> AsyncIterator[str]:
    """One whose rows this test may truncate, with a trigger that cuts off whoever asks for it."""
    async with scratch_database(local.database_url) as url:
        world = World(await open_connection(url))
        await world.connection.execute(CRASHING)
        # What a sequence commits need not outlive the machine.
        await world.connection.execute(
            f'alter database "{url.rpartition("/")[2]}" set synchronous_commit = off'
        )
        for table in MONEY:
            await world.connection.execute(
                f"create trigger zz_crash before insert or update on public.{table}"
                " for each row when (current_setting('test.crash_in', true) <> '') execute function public.crash_here()"
            )
        await world.connection.close()
        yield url


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("unmeasured_here")
def test_money_in_any_order(own_database: str) -> None:
    with asyncio.Runner() as runner:
        Money.url, Money.runner = own_database, runner
        Money.world, Money.observer = [World(runner.run(open_connection(own_database))) for _ in range(2)]
        try:
            run_state_machine_as_test(
                Money,
                settings=settings(
                    max_examples=examples(SEQUENCES),
                    stateful_step_count=STEPS,
                    deadline=None,
                    database=None,
                    derandomize=False,  # also where the variable CI is set
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            for world in (Money.world, Money.observer):
                runner.run(world.connection.close())
