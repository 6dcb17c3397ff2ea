"""Several results of one picture in one call: POST /intake/batch.

All op_keys are looked up and charged in one transaction, all or none; an op_key that cannot be run at all is left out
and told as a problem. New jobs read one upload.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from starlette.types import Scope

from service.access.addresses import pseudonym
from service.access.auth import Principal
from service.access.limits import admit
from service.intake.intake import (
    Desk,
    SignUpload,
    chain_of,
    check_picture,
    check_wishes,
    require_bulk,
    variant_of,
)
from service.intake.load import Load
from service.intake.schemas import BatchAnswer, BatchItem, BatchRequest, IntakeAnswer, IntakeRequest
from service.intake.store import IntakeResult, Intakes
from service.library.store import Library
from service.ops.registry import Chain
from service.plans.profiles import Profiles
from service.plans.tariff import Price, Tariff
from service.platform.errors import ProblemError, overloaded
from service.platform.gcra import Admission
from service.platform.media import claimed_type
from service.platform.resources import Platform
from service.platform.storage import SignedUpload
from service.platform.telemetry import SHED
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
    desks = await _desks(platform, principal, claim, list(different.values()), scope)
    refused = {desk.chain.key: await desk.refusal() for desk in desks}
    problems |= {
        op_key: reason for op_key, chain in chains.items() if (reason := refused[chain.key]) is not None
    }
    answers = await _answers(platform, [desk for desk in desks if refused[desk.chain.key] is None])
    items = [
        BatchItem(op_key=op_key, problem=problems[op_key].problem(scope.get("darkroom.request_id")))
        if op_key in problems
        else BatchItem(op_key=op_key, answer=answers[chains[op_key].key])
        for op_key in claim.op_keys
    ]
    return BatchAnswer(items=items, charged=sum(answer.charged for answer in answers.values())), admission


async def _answers(platform: Platform, desks: list[Desk]) -> dict[str, IntakeAnswer]:
    """By canonical op_key."""
    if not desks:
        return {}
    references = [str(uuid4()) for _ in desks]
    results = await _ask(platform, desks, references)
    sign = _once(platform.storage.sign_upload)
    answers = {}
    for desk, reference, result in zip(desks, references, results, strict=True):
        told = await desk.tell(result, reference, sign)
        if told is None:  # found, and gone since: as an intake of its own
            answers[desk.chain.key] = IntakeAnswer.model_validate_json(await desk.answer(None))
        else:
            answers[desk.chain.key] = told.answer
    return answers


async def _desks(
    platform: Platform, principal: Principal, claim: BatchRequest, chains: list[Chain], scope: Scope
) -> list[Desk]:
    if not chains:
        return []
    profile = await platform.shared(Profiles).of(principal.user_id)
    if profile is None:
        profile = await Library(platform.database).get_profile(principal.user_id)
    if profile is not None:
        await require_bulk(platform, profile, len(chains))
    team = None
    if claim.team_id is not None and principal.user_id is not None:
        team = await Teams(platform.database).get_profile(claim.team_id, principal.user_id)
    common = claim.model_dump(exclude={"op_keys"})
    desks = []
    for chain in chains:
        one = IntakeRequest.model_construct(**common, op_key=chain.key)
        price: Price = await platform.shared(Tariff).price(chain)
        desks.append(
            Desk(
                platform,
                principal.user_id,
                one,
                chain,
                scope.get("darkroom.request_id"),
                variant=variant_of(team or profile, one, weights_digest(platform.settings, chain)),
                profile=profile,
                team=team,
                price=price,
                key_id=principal.key_id,
                address=pseudonym(platform.settings.secret, principal.ip),
            )
        )
    return desks


async def _ask(platform: Platform, desks: list[Desk], references: list[str]) -> list[IntakeResult]:
    """Raises ProblemError: what intake() refuses, and `overloaded` for work when too much waits."""
    first = desks[0]
    overload = await platform.shared(Load).refusal(first.profile)
    common = _common(first) | {"may_queue": overload is None}
    items = [_own(desk, reference) for desk, reference in zip(desks, references, strict=True)]
    try:
        return await Intakes(platform.database).intake_batch(first.user_id, common, items)
    except ProblemError as error:
        if overload is None or error.code is not overloaded:
            raise
        SHED.labels(overload.caller).inc()
        raise overload from None


def _common(desk: Desk) -> dict[str, Any]:
    """What the intakes of a batch have in common, by the names of IntakeParameters."""
    claim, settings = desk.claim, desk.settings
    return {
        "sha256": claim.sha256,
        "filename": claim.filename,
        "content_type": claimed_type(claim.content_type),
        "size": claim.size,
        "width": claim.width,
        "height": claim.height,
        "queue": settings.queue,
        "wants_persist": claim.wants_persist,
        "await_seconds": settings.await_upload_seconds,
        "upload_seconds": settings.upload_ttl_hours * 3600,
        "output_seconds": desk.output_seconds,
        "request_id": desk.request_id,
        "keep_days": claim.keep_for_days,
        "team_id": claim.team_id,
        "api_key_id": desk.key_id,
        "ip": desk.address,
    }


def _own(desk: Desk, reference: str) -> dict[str, Any]:
    """What is one intake's own."""
    return {
        "op_key": desk.chain.key,
        "variant": desk.variant,
        "cacheable": desk.chain.cacheable != "never",
        "price": desk.price.job,
        "hit_price": desk.price.hit,
        "output_side": desk.output_side,
        "hit_reference": reference,
    }


def _once(sign: SignUpload) -> SignUpload:
    """Signs each path once: answers that share an upload share its URL."""
    signed: dict[tuple[str, str], SignedUpload] = {}

    async def remembered(bucket: str, path: str) -> SignedUpload:
        if (bucket, path) not in signed:
            signed[bucket, path] = await sign(bucket, path)
        return signed[bucket, path]

    return remembered
