"""Buying, one thing at a time, with events as they come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakes.stripe import checkout, payments, subscriptions
from tests.fakes.stripe.account import DAY, MONTH
from tests.payments.shop import Shop

SIGNUP = 100


async def test_a_pack_is_granted_once_when_it_is_paid(shop: Shop) -> None:
    person = await shop.person()
    session = await shop.buy(person, pack_id="pack-500")
    assert await shop.balance(person) == SIGNUP  # the way back from Stripe proves nothing
    await shop.news()
    assert await shop.balance(person) == SIGNUP + 500
    await shop.post.deliver(shop.account.events)
    await shop.sync()
    assert await shop.balance(person) == SIGNUP + 500
    reference = "select reference from public.credit_ledger where user_id = $1 and reason = 'purchase'"
    assert await shop.value(reference, person.id) == session["id"]


async def test_money_that_takes_days_is_waited_for(shop: Shop) -> None:
    person = await shop.person()
    session = await shop.buy(person, pack_id="pack-100", later=True)
    await shop.news()
    assert await shop.balance(person) == SIGNUP
    checkout.arrive(shop.account, session["id"])
    await shop.news()
    assert await shop.balance(person) == SIGNUP + 100


async def test_a_subscription_gives_its_plan_and_a_months_credits(shop: Shop) -> None:
    person = await shop.person()
    made = await shop.subscribe(person, "pro")
    await shop.news()
    assert (await shop.plan(person), await shop.balance(person)) == ("pro", SIGNUP + 1000)
    end = "select expires_at from public.credit_grants where user_id = $1 and source = 'subscription'"
    assert (await shop.value(end, person.id)).timestamp() == shop.account.now + MONTH
    shown = (await person.ask("/billing/subscription"))["subscription"]
    assert (shown["plan_id"], shown["status"], shown["entitled"]) == ("pro", "active", True)
    subscriptions.advance(shop.account, MONTH + DAY)
    await shop.news()
    assert (
        await shop.balance(person) == SIGNUP + 2000
    )  # the first month's end when the database's clock says so
    assert subscriptions.item_of(made)["current_period_end"] > shop.account.now


async def test_an_upgrade_adds_the_difference_for_the_time_that_is_left(shop: Shop) -> None:
    person = await shop.person()
    await shop.subscribe(person, "basic")
    await shop.news()
    shop.account.now += MONTH // 2
    answer = await person.post("/billing/change", plan_id="pro")
    assert answer.status_code == 200, answer.text
    assert answer.json()["subscription"]["plan_id"] == "pro"
    half = (1000 - 300) // 2
    assert abs(await shop.balance(person) - (SIGNUP + 300 + half)) <= 1
    before = await shop.balance(person)
    await shop.news()
    assert (await shop.plan(person), await shop.balance(person)) == ("pro", before)


async def test_an_invoice_of_many_lines_is_read_to_its_end(shop: Shop) -> None:
    person = await shop.person()
    made = await shop.subscribe(person, "basic")
    lines = shop.account.find("invoice", made["latest_invoice"])["lines"]["data"]
    for _ in range(11):  # something that was thrown in, and stands before the plan
        lines.insert(0, lines[-1] | {"id": f"il_{len(lines)}", "amount": 0})
    await shop.news()
    assert await shop.balance(person) == SIGNUP + 300
    assert any(path.endswith("/lines") for _, path in shop.server.requests)


async def test_a_discount_costs_no_credits_and_a_trial_gives_none(shop: Shop) -> None:
    person = await shop.person()
    made = await shop.subscribe(person, "basic")
    invoice = shop.account.find("invoice", made["latest_invoice"])
    invoice |= {
        "total": 0,
        "amount_paid": 0,
    }  # all of it taken off by a coupon; lines are told before discounts
    await shop.news()
    assert await shop.balance(person) == SIGNUP + 300
    other = await shop.person()
    tried = await shop.subscribe(other, "basic")
    tried["status"] = "trialing"
    invoice = shop.account.find("invoice", tried["latest_invoice"])
    invoice |= {"total": 0, "amount_paid": 0}
    invoice["lines"]["data"][0]["amount"] = 0
    await shop.news()
    assert (await shop.plan(other), await shop.balance(other)) == ("basic", SIGNUP)


async def test_back_and_forth_between_plans_gains_nothing(shop: Shop) -> None:
    person = await shop.person()
    await shop.subscribe(person, "basic")
    await shop.news()
    shop.account.now += MONTH // 3
    for plan_id in ("growth", "basic", "growth", "basic"):
        assert (await person.post("/billing/change", plan_id=plan_id)).status_code == 200
        await shop.news()
    assert await shop.plan(person) == "basic"
    assert SIGNUP + 300 - 4 <= await shop.balance(person) <= SIGNUP + 300


async def test_a_change_that_cannot_be_paid_changes_nothing(shop: Shop) -> None:
    person = await shop.person()
    made = await shop.subscribe(person, "basic")
    await shop.news()
    shop.account.bad_cards.add(made["customer"])
    answer = await person.post("/billing/change", plan_id="pro")
    assert (answer.status_code, answer.json()["code"]) == (402, "payment_failed")
    await shop.news()
    assert (await shop.plan(person), await shop.balance(person)) == ("basic", SIGNUP + 300)


async def test_cancel_holds_until_the_end_and_can_be_taken_back(shop: Shop) -> None:
    person = await shop.person()
    await shop.subscribe(person, "pro")
    await shop.news()
    for _ in range(2):
        shown = (await person.post("/billing/cancel")).json()["subscription"]
        assert (shown["cancel_at_period_end"], shown["entitled"]) == (True, True)
    shown = (await person.post("/billing/resume")).json()["subscription"]
    assert shown["cancel_at_period_end"] is False
    await person.post("/billing/cancel")
    await shop.news()
    assert await shop.plan(person) == "pro"
    subscriptions.advance(shop.account, MONTH + 1)
    await shop.news()
    assert await shop.plan(person) == "free"
    assert (await person.post("/billing/resume")).json()["code"] == "no_subscription"
    assert (await person.post("/billing/checkout", plan_id="basic")).status_code == 200


async def test_the_portal_cancels_by_a_date_and_that_can_be_taken_back(shop: Shop) -> None:
    """Subscriptions in Stripe's flexible billing mode, its default, get `cancel_at` from the portal and no more."""
    person = await shop.person()
    made = await shop.subscribe(person, "basic")
    made["cancel_at"] = subscriptions.item_of(made)["current_period_end"]
    shop.account.emit("customer.subscription.updated", made)
    await shop.news()
    shown = (await person.ask("/billing/subscription"))["subscription"]
    assert (shown["cancel_at_period_end"], shown["entitled"]) == (True, True)
    answer = await person.post("/billing/resume")
    assert answer.json()["subscription"]["cancel_at_period_end"] is False
    assert made["cancel_at"] is None
    # A date of an operator's, some months from now, is no cancelation of this period.
    made["cancel_at"] = subscriptions.item_of(made)["current_period_end"] + MONTH
    shop.account.emit("customer.subscription.updated", made)
    await shop.news()
    assert (await person.ask("/billing/subscription"))["subscription"]["cancel_at_period_end"] is False


async def test_a_refund_takes_credits_in_proportion_and_a_failed_one_gives_them_back(shop: Shop) -> None:
    person = await shop.person()
    session = await shop.buy(person, pack_id="pack-500")
    await shop.news()
    first = payments.refund(shop.account, session["payment_intent"], 1000)
    await shop.news()
    assert await shop.balance(person) == SIGNUP + 500 - 500 * 1000 // 1999
    payments.refund(shop.account, session["payment_intent"])
    await shop.news()
    assert await shop.balance(person) == SIGNUP
    payments.fail_refund(shop.account, first["id"])
    await shop.news()
    assert await shop.balance(person) == SIGNUP + 500 * 1000 // 1999


async def test_what_was_spent_becomes_a_debt_that_the_next_purchase_pays(shop: Shop) -> None:
    person = await shop.person()
    session = await shop.buy(person, pack_id="pack-500")
    await shop.news()
    await shop.value("select private.spend_credits($1, 550, 'hold', 'a job')", person.id)
    await shop.value("select private.return_credits($1, 'a job')", person.id)
    await shop.value("select private.spend_credits($1, 550, 'hold', 'another')", person.id)
    payments.refund(shop.account, session["payment_intent"])
    await shop.news()
    assert (await shop.balance(person), await shop.debt(person)) == (0, 450)
    await shop.buy(person, pack_id="pack-500")
    await shop.news()
    assert (await shop.balance(person), await shop.debt(person)) == (50, 0)
    await shop.value("select private.return_credits($1, 'another')", person.id)


async def test_credits_told_of_after_their_end_pay_no_debt(shop: Shop) -> None:
    person = await shop.person()
    await shop.value("select public.claw_back($1, 'purchase', 'a pack', 150, 'refund')", person.id)
    ended = "select public.grant_credits($1, 70, 'subscription', 'a month', now() - interval '1 day')"
    assert await shop.value(ended, person.id) is True
    assert (await shop.balance(person), await shop.debt(person)) == (0, 50)


async def test_a_dispute_takes_credits_and_flags_until_it_is_won(shop: Shop) -> None:
    person = await shop.person()
    await shop.subscribe(person, "basic")
    await shop.news()
    (intent,) = shop.account.every("payment_intent")
    dispute = payments.dispute(shop.account, intent["id"])
    await shop.news()
    assert (await shop.balance(person), await shop.flagged(person)) == (SIGNUP, True)
    payments.close_dispute(shop.account, dispute["id"], "won")
    await shop.news()
    assert (await shop.balance(person), await shop.flagged(person)) == (SIGNUP + 300, False)


async def test_a_lost_dispute_leaves_the_flag_and_an_inquiry_sets_none(shop: Shop) -> None:
    person = await shop.person()
    await shop.subscribe(person, "basic")
    (intent,) = shop.account.every("payment_intent")
    inquiry = payments.dispute(shop.account, intent["id"], status="warning_needs_response")
    await shop.news()
    assert (await shop.balance(person), await shop.flagged(person)) == (SIGNUP + 300, False)
    payments.close_dispute(shop.account, inquiry["id"], "warning_closed")
    dispute = payments.dispute(shop.account, intent["id"])
    payments.close_dispute(shop.account, dispute["id"], "lost")
    await shop.news()
    assert (await shop.balance(person), await shop.flagged(person)) == (SIGNUP, True)


@pytest.mark.parametrize("told", ["at each step", "at the end"])
async def test_what_stands_is_taken_though_what_was_before_it_is_given_back(shop: Shop, told: str) -> None:
    """A refund of all that fails leaves the dispute beside it, a dispute that is won the refund."""
    person = await shop.person()
    first = (await shop.buy(person, pack_id="pack-500"))["payment_intent"]
    second = (await shop.buy(person, pack_id="pack-100"))["payment_intent"]
    steps: list[Callable[[], object]] = [
        lambda: payments.refund(shop.account, first),
        lambda: payments.dispute(shop.account, second, 300),
        lambda: later(shop),
        lambda: payments.dispute(shop.account, first),
        lambda: payments.refund(shop.account, second),
        lambda: payments.fail_refund(shop.account, shop.account.every("refund")[0]["id"]),
        lambda: payments.close_dispute(shop.account, shop.account.every("dispute")[0]["id"], "won"),
        lambda: payments.close_dispute(shop.account, shop.account.every("dispute")[1]["id"], "lost"),
    ]
    for step in steps:
        step()
        if told == "at each step":
            await shop.news()
    await shop.news()
    assert (await shop.balance(person), await shop.debt(person)) == (SIGNUP, 0)
    await shop.post.deliver(shop.account.events)
    await shop.sync()
    assert (await shop.balance(person), await shop.debt(person)) == (SIGNUP, 0)


def later(shop: Shop) -> None:
    shop.account.now += 60


@pytest.mark.parametrize(
    ("spent", "cents", "left", "debt"), [(0, 999, 50, 0), (100, 500, 50, 0), (300, 999, 0, 250)]
)
async def test_what_ended_unspent_is_not_taken_a_second_time(
    shop: Shop, spent: int, cents: int, left: int, debt: int
) -> None:
    """A refund of a month that is over asks for what was spent of it, as it would have within the month."""
    person = await shop.person()
    await shop.value("select public.claw_back($1, 'purchase', 'none', 50, 'test')", person.id)
    await shop.subscribe(person, "basic")
    await shop.news()
    if spent:
        await shop.value("select private.spend_credits($1, $2, 'hold', 'a job')", person.id, spent)
    await shop.db.execute(
        "update public.credit_grants set expires_at = now() - interval '1 s'"
        " where user_id = $1 and expires_at is not null",
        person.id,
    )
    await shop.value("select public.expire_grants(1000)")
    (intent,) = shop.account.every("payment_intent")
    won = payments.dispute(shop.account, intent["id"])
    await shop.news()
    payments.close_dispute(shop.account, won["id"], "won")
    await shop.news()
    assert (await shop.balance(person), await shop.debt(person)) == (50, 0)
    later(shop)
    payments.refund(shop.account, intent["id"], cents)
    await shop.news()
    assert (await shop.balance(person), await shop.debt(person)) == (left, debt)
    await shop.value("select private.return_credits($1, 'a job')", person.id) if spent else None


async def test_another_currency_is_not_taken_for_ours(shop: Shop) -> None:
    """900 yen are not nine dollars: an operator has to look."""
    person = await shop.person()
    await shop.subscribe(person, "basic")
    (invoice,) = shop.account.every("invoice")
    invoice["lines"]["data"][0]["currency"] = "jpy"
    await shop.news()
    assert await shop.balance(person) == SIGNUP
    errors = await shop.db.fetch("select error from public.stripe_events where status = 'waiting'")
    assert any("UnknownPrice" in row["error"] and "jpy" in row["error"] for row in errors)


async def test_a_mark_of_an_operators_outlives_a_dispute(shop: Shop) -> None:
    person = await shop.person()
    await shop.subscribe(person, "basic")
    await shop.value("select public.flag_account($1, 'many accounts at one address')", person.id)
    (intent,) = shop.account.every("payment_intent")
    dispute = payments.dispute(shop.account, intent["id"])
    payments.close_dispute(shop.account, dispute["id"], "won")
    await shop.news()
    assert await shop.flagged(person)
