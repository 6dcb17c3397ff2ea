"""What one caller asks to have made of one picture, with all that the answer depends on."""

from dataclasses import dataclass
from uuid import UUID

from service.intake.schemas import IntakeRequest, PictureClaim
from service.intake.store import IntakeParameters
from service.ops.registry import Chain
from service.ops.size import planned_side
from service.ops.variant import variant_for
from service.plans.store import Profile
from service.plans.tariff import Price
from service.platform.media import claimed_type, says_drawing
from service.platform.settings import Settings
from service.teams.store import TeamProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One claim about a picture, one chain of ops, and the facts about the caller that decide the answer. `profile`: of
    the caller, None while the database is away; `team`: whose library the result goes to. `may_upload` False: refuse if
    the bytes are not stored yet. `key_id`: the API key that asks; `address`: the caller's, hashed."""

    claim: IntakeRequest
    chain: Chain
    user_id: UUID | None
    variant: str
    profile: Profile | None
    team: TeamProfile | None
    price: Price
    request_id: str | None
    key_id: UUID | None
    address: str | None = None
    may_upload: bool = True

    @property
    def rules(self) -> Profile | TeamProfile | None:
        """The plan limits that apply: the team's, else the caller's; None while unknown."""
        return self.team or self.profile

    @property
    def persists(self) -> bool:
        """Whether the result goes to a library."""
        wanted = self.claim.wants_persist or self.team is not None
        return wanted and self.rules is not None and self.rules.persistent

    def parameters(
        self, settings: Settings, reference: str, *, use_cache: bool = True, may_queue: bool
    ) -> IntakeParameters:
        """The arguments of the SQL function `intake`. reference: the id under which a paid hit is charged."""
        claim = self.claim
        return IntakeParameters(
            user_id=self.user_id,
            sha256=claim.sha256,
            filename=claim.filename,
            content_type=claimed_type(claim.content_type),
            size=claim.size,
            width=claim.width,
            height=claim.height,
            op_key=self.chain.key,
            cacheable=self.chain.cacheable != "never",
            price=self.price.job,
            hit_price=self.price.hit,
            hit_reference=reference,
            ip=self.address,
            output_side=planned_side(
                self.chain, claim.width, claim.height, None if self.rules is None else self.rules.side
            ),
            queue=settings.queue,
            wants_persist=claim.wants_persist,
            use_cache=use_cache,
            variant=self.variant,
            keep_days=claim.keep_for_days,
            may_upload=self.may_upload,
            team_id=claim.team_id,
            await_seconds=settings.await_upload_seconds,
            upload_seconds=settings.upload_ttl_hours * 3600,
            output_seconds=settings.output_ttl_hours * 3600,
            request_id=self.request_id,
            api_key_id=self.key_id,
            may_queue=may_queue,
        )


def variant_of(profile: Profile | TeamProfile | None, claim: PictureClaim, weights: str | None) -> str:
    """Users who keep no full resolution work at the side of their plan, everybody else on all pixels; some plans give
    previews. weights: of a model of the operator's own."""
    side, marked = (None, False) if profile is None else (profile.side, profile.watermark)
    drawing = says_drawing(claim.filename, claim.content_type)
    return variant_for(claim.width, claim.height, side, drawing=drawing, marked=marked, weights=weights)
