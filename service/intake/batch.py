"""Several results of one picture in one call: POST /intake/batch.

All op_keys are looked up and charged in one transaction, all or none; an op_key that cannot be run at all is left out
and told as a problem. New jobs read one upload.
"""

from __future__ import annotations

from starlette.types import Scope

from service.access.auth import Principal
from service.access.limits import admit
from service.intake.answer import SignUpload, answer, answer_to, may_queue
from service.intake.checks import check_picture, check_wishes, refusal, require_bulk
from service.intake.order import Order, variant_of
from service.intake.schemas import BatchAnswer, BatchItem, BatchRequest, IntakeAnswer, IntakeRequest
from service.intake.store import IntakeResult, Intakes
from service.ops.registry import Chain
from service.plans.profiles import Profiles
from service.plans.tariff import Tariff
from service.platform.addresses import pseudonym
from service.platform.chains import chain_of
from service.platform.errors import ProblemError
from service.platform.gcra import Admission
from service.platform.journal import random_uuid
from service.platform.resources import Platform
from service.platform.storage import SignedUpload
from service.platform.weights import weights_digest
from service.teams.store import Teams


async def intake_batch(
    platform: Platform, principal: Principal, claim: BatchRequest, scope: Scope
) -> tuple[BatchAnswer, Admission]:
    """Answer a claim for every op_key, and the admission for the headers. Raises ProblemError for what concerns all of
    them: the picture, the caller, credits, quotas."""
    check_picture(claim, platform.settings)
    check_wishes(claim, principal, platform.settings)
    chains: dict[str, Chain] = {}
    problems: dict[str, ProblemError] = {}
    for op_key in claim.op_keys:
        try:
            chains[op_key] = chain_of(platform, op_key)
        except ProblemError as error:
            problems[op_key] = error
    different = {chain.key: chain for chain in chains.values()}
    admission = await admit(platform, principal, scope, times=max(1, len(different)))
    orders = await _orders(platform, principal, claim, list(different.values()), scope)
    refused = {order.chain.key: await refusal(platform, order) for order in orders}
    problems |= {
        op_key: reason for op_key, chain in chains.items() if (reason := refused[chain.key]) is not None
    }
    answers = await _answers(platform, [order for order in orders if refused[order.chain.key] is None])
    items = [
        BatchItem(op_key=op_key, problem=problems[op_key].problem(scope.get("darkroom.request_id")))
        if op_key in problems
        else BatchItem(op_key=op_key, answer=answers[chains[op_key].key])
        for op_key in claim.op_keys
    ]
    return BatchAnswer(items=items, charged=sum(answer.charged for answer in answers.values())), admission


async def _answers(platform: Platform, orders: list[Order]) -> dict[str, IntakeAnswer]:
    """By canonical op_key."""
    if not orders:
        return {}
    references = [str(random_uuid("reference")) for _ in orders]
    results = await _ask(platform, orders, references)
    sign = _once(platform.storage.sign_upload)
    answers = {}
    for order, reference, result in zip(orders, references, results, strict=True):
        found = await answer_to(platform, order, result, reference, sign)
        if found is None:  # what was found is gone since: as an intake of its own
            answers[order.chain.key] = IntakeAnswer.model_validate_json(await answer(platform, order))
        else:
            answers[order.chain.key] = found.answer
    return answers


async def _orders(
    platform: Platform, principal: Principal, claim: BatchRequest, chains: list[Chain], scope: Scope
) -> list[Order]:
    if not chains:
        return []
    profile = await platform.shared(Profiles).require(principal.user_id)
    if profile is not None:
        await require_bulk(platform, profile, len(chains))
    team = await Teams(platform.database).find_profile(claim.team_id, principal.user_id)
    common = claim.model_dump(exclude={"op_keys"})
    orders = []
    for chain in chains:
        one = IntakeRequest.model_construct(**common, op_key=chain.key)
        orders.append(
            Order(
                claim=one,
                chain=chain,
                user_id=principal.user_id,
                variant=variant_of(team or profile, one, weights_digest(platform.settings, chain)),
                profile=profile,
                team=team,
                price=await platform.shared(Tariff).price(chain),
                request_id=scope.get("darkroom.request_id"),
                key_id=principal.key_id,
                address=pseudonym(platform.settings.secret, principal.ip),
            )
        )
    return orders


async def _ask(platform: Platform, orders: list[Order], references: list[str]) -> list[IntakeResult]:
    """Raises ProblemError: what intake() refuses, and `overloaded` for work when too much waits."""
    async with may_queue(platform, orders[0].profile) as may:
        parameters = [
            order.parameters(platform.settings, reference, may_queue=may)
            for order, reference in zip(orders, references, strict=True)
        ]
        return await Intakes(platform.database).intake_batch(parameters)


def _once(sign: SignUpload) -> SignUpload:
    """Signs each path once: answers that share an upload share its URL."""
    signed: dict[tuple[str, str], SignedUpload] = {}

    async def remembered(bucket: str, path: str) -> SignedUpload:
        if (bucket, path) not in signed:
            signed[bucket, path] = await sign(bucket, path)
        return signed[bucket, path]

    return remembered
