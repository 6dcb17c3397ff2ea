"""What things cost and what plans there are, as a process remembers them: asked of the database once a minute, and at
once when the watch of changes says so."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

from service.ops.chain import Chain
from service.plans.errors import plan_required
from service.plans.store import PlanRow, Plans
from service.platform.errors import DependencyError, ProblemError
from service.platform.resources import Platform

FRESH_SECONDS = 60.0


class Price(NamedTuple):
    """Credits: `job` for the work, `hit` for an answer from the cache."""

    job: int
    hit: int


class Tariff:
    """Plans and prices of ops. While the database is away the last answer holds, or else the release's own prices."""

    def __init__(self, store: Plans) -> None:
        self._store = store
        self._prices: Mapping[str, Price] = {}
        self._prices_until = 0.0
        self._plans: Sequence[PlanRow] = ()
        self._plans_until = 0.0

    @classmethod
    def open(cls, platform: Platform) -> Self:
        return cls(Plans(platform.database))

    def forget(self, *, plans: bool, prices: bool) -> None:
        """Ask again the next time."""
        if plans:
            self._plans_until = 0.0
        if prices:
            self._prices_until = 0.0

    async def prices(self) -> Mapping[str, Price]:
        """By op name: those that the database sets in place of the release's."""
        if self._prices_until < time.monotonic():
            try:
                rows = await self._store.list_op_prices()
            except DependencyError:
                return self._prices
            self._prices = {row.op: Price(row.price, row.hit_price) for row in rows}
            self._prices_until = time.monotonic() + FRESH_SECONDS
        return self._prices

    async def price(self, chain: Chain) -> Price:
        """Of a chain: the sum of its steps."""
        known = await self.prices()
        if not known:
            return Price(chain.price, chain.hit_price)
        each = [known.get(step.op.name, Price(step.op.price, step.op.hit_price)) for step in chain.steps]
        jobs = (one.job * step.params.price_factor for one, step in zip(each, chain.steps, strict=True))
        return Price(sum(jobs), sum(one.hit for one in each))

    async def plans(self) -> Sequence[PlanRow]:
        """All of them by rank. Raises DependencyError while none could be had yet."""
        if self._plans_until < time.monotonic():
            try:
                self._plans = await self._store.list_plans()
                self._plans_until = time.monotonic() + FRESH_SECONDS
            except DependencyError:
                if not self._plans:
                    raise
        return self._plans

    async def refusal(
        self, rank: int, policy: str, detail: str, suits: Callable[[PlanRow], bool]
    ) -> ProblemError:
        """plan_required for what a plan of `rank` does not include, naming the cheapest plan on sale that `suits`."""
        better = [plan for plan in await self.plans() if plan.public and plan.rank > rank and suits(plan)]
        cheapest = min(
            better,
            key=lambda plan: (plan.price_cents is None, plan.price_cents or 0, plan.rank),
            default=None,
        )
        facts = {
            "violated_policies": [policy],
            "plan_required": None if cheapest is None else cheapest.id,
        }
        return ProblemError(plan_required, detail, facts=facts)
