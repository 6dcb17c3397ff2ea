"""Re-run: other ops on a picture that is there already, without an upload."""

from collections.abc import Sequence
from uuid import UUID

from service.intake.answer import answer
from service.intake.checks import require_bulk
from service.intake.order import Order, variant_of
from service.intake.schemas import IntakeAnswer, IntakeRequest, RerunResult
from service.library.errors import no_such_image
from service.library.store import ImageSource, Library
from service.ops.registry import Chain
from service.plans.profiles import Profiles
from service.plans.tariff import Tariff
from service.platform.chains import chain_of
from service.platform.errors import ProblemError
from service.platform.resources import Platform
from service.platform.weights import weights_digest
from service.teams.store import Teams


async def rerun(  # noqa: PLR0913 - who asks, for what
    platform: Platform,
    user_id: UUID,
    image_id: UUID,
    op_keys: Sequence[str],
    request_id: str | None,
    *,
    key_id: UUID | None = None,
) -> list[RerunResult]:
    """A hit or a job for each op, once each. Where the first is refused, all are; a later refusal is a result.

    Raises ProblemError: image_not_found, original_missing, bad_op_key …, and whatever an intake refuses.
    """
    chains = {chain.key: chain for chain in (chain_of(platform, key) for key in op_keys)}
    source = await Library(platform.database).get_image_source(image_id, user_id)
    if source is None:
        raise no_such_image(image_id)
    profile = await platform.shared(Profiles).require(user_id)
    if profile is not None:
        await require_bulk(platform, profile, len(chains))
    team = await Teams(platform.database).find_profile(source.team_id, user_id)
    results: list[RerunResult] = []
    for chain in chains.values():
        claim = _claim(source, chain)
        order = Order(
            claim=claim,
            chain=chain,
            user_id=user_id,
            variant=variant_of(team or profile, claim, weights_digest(platform.settings, chain)),
            profile=profile,
            team=team,
            price=await platform.shared(Tariff).price(chain),
            request_id=request_id,
            key_id=key_id,
            may_upload=False,
        )
        results.append(await _result(platform, order, first=not results))
    return results


async def _result(platform: Platform, order: Order, *, first: bool) -> RerunResult:
    """Raises ProblemError where the first op is refused."""
    try:
        answered = IntakeAnswer.model_validate_json(await answer(platform, order))
    except ProblemError as error:
        if first:
            raise
        return RerunResult(op_key=order.chain.key, error=error.problem(order.request_id))
    return RerunResult(op_key=order.chain.key, answer=answered)


def _claim(source: ImageSource, chain: Chain) -> IntakeRequest:
    """What an intake of this original would have said."""
    return IntakeRequest(
        sha256=source.sha256,
        filename=source.filename,
        content_type=source.content_type,
        size=source.size,
        width=source.width,
        height=source.height,
        op_key=chain.key,
        wants_persist=True,
        team_id=source.team_id,
    )
