"""What an intake refuses before the database is asked: by the claim, by the caller, by their plan."""

from service.access.auth import Principal
from service.intake.order import Order
from service.intake.schemas import IntakeRequest, PictureClaim
from service.library.keep import check_days
from service.ops.models import UpscaleV2
from service.ops.registry import Chain
from service.ops.size import refusal as size_refusal
from service.plans.store import Profile
from service.plans.tariff import Tariff
from service.platform.chains import chain_of
from service.platform.errors import (
    ProblemError,
    sign_in_required,
    too_large,
    too_many_pixels,
    unsupported_type,
)
from service.platform.media import SVG, accepted_types, claimed_type
from service.platform.resources import Platform
from service.platform.settings import Settings


def check(claim: IntakeRequest, platform: Platform) -> Chain:
    """What can be refused on the claim alone. Raises ProblemError."""
    check_picture(claim, platform.settings)
    return chain_of(platform, claim.op_key)


def check_picture(claim: PictureClaim, settings: Settings) -> None:
    """Whether a file like this is taken at all. Raises ProblemError."""
    content_type = claimed_type(claim.content_type)
    name = claim.filename.lower()
    if not settings.accept_svg and (content_type == SVG or name.endswith(".svg")):
        raise ProblemError(
            unsupported_type,
            "SVG can run scripts and load other files, so it is not accepted here: export it as PNG and send that.",
        )
    if name.endswith(".svgz"):
        raise ProblemError(
            unsupported_type, "A packed drawing is not accepted: unpack it and send the .svg inside."
        )
    if content_type is not None and content_type not in accepted_types(svg=settings.accept_svg):
        raise ProblemError(
            unsupported_type,
            f"{content_type} is not accepted: send JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF, BMP or SVG.",
        )
    if claim.size > settings.max_bytes:
        raise ProblemError(too_large, f"{claim.size} bytes; at most {settings.max_bytes} are accepted.")
    if max(claim.width, claim.height) > settings.max_side or claim.width * claim.height > settings.max_pixels:
        raise ProblemError(
            too_many_pixels,
            f"{claim.width} x {claim.height} px; at most {settings.max_side} px a side and "
            f"{settings.max_pixels} px in all are accepted: scale it down first.",
        )


def check_wishes(claim: PictureClaim, principal: Principal, settings: Settings) -> None:
    """Refuse options that need an account: keep_for_days, team_id. Raises ProblemError."""
    if claim.keep_for_days is not None:
        check_days(claim.keep_for_days, settings)
        if principal.user_id is None:
            raise ProblemError(sign_in_required, "Sign in to keep results longer than a visitor's.")
    if claim.team_id is not None and principal.user_id is None:
        raise ProblemError(sign_in_required, "Sign in to work for a team.")


async def require_bulk(platform: Platform, profile: Profile, ops: int) -> None:
    """Raises ProblemError (plan_required) for several ops at once where the plan allows one."""
    if ops > 1 and not profile.bulk:
        raise await platform.shared(Tariff).refusal(
            profile.plan_rank,
            "bulk",
            f"The plan {profile.plan_name} allows one op at a time.",
            lambda plan: plan.bulk,
        )


async def refusal(platform: Platform, order: Order) -> ProblemError | None:
    """Why an order is not carried out for its caller; None: it is. What depends on the op, the size and the plan
    together: what each of them refuses alone is refused elsewhere."""
    chain, claim, rules = order.chain, order.claim, order.rules
    if rules is None:
        return None
    reason = size_refusal(chain, claim.width, claim.height, rules.side)
    if reason is not None:
        return ProblemError(too_many_pixels, reason[0].upper() + reason[1:] + ".")
    large = any(isinstance(step.params, UpscaleV2) and step.params.model == "large" for step in chain.steps)
    if large and rules.watermark:
        return await platform.shared(Tariff).refusal(
            0 if order.profile is None else order.profile.plan_rank,
            "large_model",
            "A plan that gives previews does not include the large model: leave model-large out.",
            lambda plan: not plan.watermark,
        )
    return None
