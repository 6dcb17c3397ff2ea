"""Intake: is it in the cache, is it under way, or is it work?

The claimed sha256 is only a claim: it may find what a worker has verified before, and it may start a job, but nothing
enters the cache on its word.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath
from typing import NamedTuple
from uuid import UUID, uuid4

import structlog
from starlette.types import Scope

from service.access.addresses import pseudonym
from service.access.auth import Principal
from service.access.limits import admit
from service.cache.hot_answers import bound, claimed, hit_key, remember, unseal
from service.cache.missing import bury
from service.intake.load import Load
from service.intake.schemas import IntakeAnswer, IntakeRequest, PictureClaim
from service.intake.store import IntakeParameters, IntakeResult, Intakes
from service.jobs.documents import SIGN_UP, SignedOutput, describe, sign_checked
from service.jobs.store import JobRow
from service.library.promote import promote
from service.library.store import Library, Profile
from service.ops.errors import OpKeyError
from service.ops.models import UpscaleV2
from service.ops.registry import Chain, parse
from service.ops.size import planned_side
from service.ops.size import refusal as size_refusal
from service.ops.variant import variant_for
from service.plans.profiles import Profiles
from service.plans.quotes import honour
from service.plans.store import Plans
from service.plans.tariff import Price, Tariff
from service.platform.database import OutputGone, OutputRow, cache_key
from service.platform.downloads import download_url, suggested_name
from service.platform.errors import (
    DatabaseReadOnlyError,
    DependencyError,
    ProblemError,
    invalid_request,
    known,
    overloaded,
    sign_in_required,
    too_large,
    too_many_pixels,
    unsupported_type,
)
from service.platform.gcra import Admission, Kept
from service.platform.media import ACCEPTED, SVG, claimed_type, says_drawing
from service.platform.resources import Platform
from service.platform.settings import Settings
from service.platform.storage import (
    OUTPUTS,
    UPLOADS,
    ObjectExistsError,
    ObjectNotFoundError,
    SignedUpload,
    output_names,
)
from service.platform.telemetry import CACHE, SHED
from service.platform.weights import require, weights_digest
from service.teams.store import TeamProfile, Teams
from service.usage.meter import Label

HOT = CACHE.labels("hot")

log = structlog.get_logger()
MAX_LOOKUPS = 3
"""An output can vanish between its lookup and its use; after this many times there is no more looking."""


def accepted_types(settings: Settings) -> frozenset[str]:
    """Content types that this deployment takes."""
    return ACCEPTED if settings.accept_svg else ACCEPTED - {SVG}


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
    if content_type is not None and content_type not in accepted_types(settings):
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


def chain_of(platform: Platform, op_key: str) -> Chain:
    """The chain that an op_key names. Raises ProblemError: bad_op_key, unknown_op, bad_parameter, op_unavailable."""
    try:
        chain = parse(op_key)
    except OpKeyError as error:
        raise ProblemError(known(error.code), error.detail) from None
    require(platform.models, chain)
    return chain


async def intake(
    platform: Platform, principal: Principal, claim: IntakeRequest, scope: Scope
) -> tuple[bytes, Admission]:
    """Answer a claim: the body of an IntakeAnswer, and the admission for its headers. Raises ProblemError. `scope` is
    the request's.

    A hit that Redis knows costs one round trip, rate limit included; everything else is one RPC and one call of
    Storage, two for a copy. Beside the signing of a hit its bytes are looked for.
    """
    chain = check(claim, platform)
    check_wishes(claim, principal, platform.settings)
    settings = platform.settings
    if claim.quote_id is not None:
        price = honour(settings.secret, claim.quote_id, principal.user_id, chain.key)
    else:
        price = await platform.shared(Tariff).price(chain)
    # What costs is the database's to answer, which charges it.
    cacheable = chain.cacheable != "never" and price.hit == 0
    profile = await platform.shared(Profiles).of(principal.user_id)
    own_weights = weights_digest(settings, chain)
    variant = variant_of(profile, claim, own_weights)
    key = hit_key(cache_key(claim.sha256, chain.key, variant), principal.user_id)
    # A hot answer knows nothing of what is to be kept, nor of who is in a team at this moment.
    plain = not claim.wants_persist and claim.keep_for_days is None and claim.team_id is None
    said = claimed(claim)
    admission = await admit(platform, principal, scope, get=Kept(key, said) if cacheable and plain else None)
    if admission.value is not None:
        answer = unseal(settings.secret, bound(key, said), admission.value)
        if answer is not None:
            HOT.inc()
            return answer, admission
    if profile is None:  # unknown while the database was away: what is made must be the right variant
        profile = await Library(platform.database).get_profile(principal.user_id)
        variant = variant_of(profile, claim, own_weights)
        key = hit_key(cache_key(claim.sha256, chain.key, variant), principal.user_id)
    team = None
    if claim.team_id is not None and principal.user_id is not None:
        team = await Teams(platform.database).get_profile(claim.team_id, principal.user_id)
        variant = variant_of(team, claim, own_weights)
    desk = Desk(
        platform,
        principal.user_id,
        claim,
        chain,
        scope.get("darkroom.request_id"),
        variant=variant,
        profile=profile,
        team=team,
        price=price,
        key_id=principal.key_id,
        address=pseudonym(settings.secret, principal.ip),
    )
    return await desk.answer(key if cacheable and claim.team_id is None else None), admission


def check_wishes(claim: PictureClaim, principal: Principal, settings: Settings) -> None:
    """What only signed-in users can ask for. Raises ProblemError."""
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


def variant_of(profile: Profile | TeamProfile | None, claim: PictureClaim, weights: str | None) -> str:
    """Users who keep no full resolution work at the side of their plan, everybody else on all pixels; some plans give
    previews. weights: of a model of the operator's own."""
    side, marked = (None, False) if profile is None else (profile.side, profile.watermark)
    drawing = says_drawing(claim.filename, claim.content_type)
    return variant_for(claim.width, claim.height, side, drawing=drawing, marked=marked, weights=weights)


def check_days(days: int, settings: Settings) -> None:
    """Raises ProblemError (invalid_request) for more than this service keeps results."""
    if days > settings.kept_ttl_days:
        raise ProblemError(
            invalid_request,
            f"keep_for_days: {days}; at most {settings.kept_ttl_days} days are kept here.",
        )


SignUpload = Callable[[str, str], Awaitable[SignedUpload]]
"""(bucket, path) to where a client may upload; raises ObjectExistsError."""


class Told(NamedTuple):
    """An answer; of a hit also its output, and how long its URLs hold."""

    answer: IntakeAnswer
    output: OutputRow | None = None
    url_seconds: int = 0


async def refusal(
    platform: Platform,
    chain: Chain,
    claim: IntakeRequest,
    profile: Profile | None,
    team: TeamProfile | None = None,
) -> ProblemError | None:
    """Why the chain is not done on this picture for this caller; None: it is. What depends on the op, the size and the
    plan together: what each of them refuses alone is refused elsewhere."""
    rules = team or profile  # of whoever the result is for
    if rules is None:
        return None
    reason = size_refusal(chain, claim.width, claim.height, rules.side)
    if reason is not None:
        return ProblemError(too_many_pixels, reason[0].upper() + reason[1:] + ".")
    large = any(isinstance(step.params, UpscaleV2) and step.params.model == "large" for step in chain.steps)
    if large and rules.watermark:
        return await platform.shared(Tariff).refusal(
            0 if profile is None else profile.plan_rank,
            "large_model",
            "A plan that gives previews does not include the large model: leave model-large out.",
            lambda plan: not plan.watermark,
        )
    return None


class Desk:
    """One intake that Redis could not answer. `may_upload` False: refuse what is not there already. `key_id`: the API
    key that asks; `address`: the caller's, hashed."""

    def __init__(  # noqa: PLR0913 - all that an intake depends on
        self,
        platform: Platform,
        user_id: UUID | None,
        claim: IntakeRequest,
        chain: Chain,
        request_id: str | None,
        *,
        variant: str,
        profile: Profile | None,
        price: Price,
        team: TeamProfile | None = None,
        may_upload: bool = True,
        key_id: UUID | None = None,
        address: str | None = None,
    ) -> None:
        self.platform = platform
        self.settings = platform.settings
        self.user_id = user_id
        self.claim = claim
        self.chain = chain
        self.request_id = request_id
        self.variant = variant
        self.may_upload = may_upload
        self.profile = profile
        self.key_id = key_id
        self.price = price
        self.address = address
        self.team = team
        rules = team or profile  # of whoever the result is for
        self.output_side = planned_side(
            chain, claim.width, claim.height, None if rules is None else rules.side
        )
        wanted = claim.wants_persist or team is not None
        self.persists = wanted and rules is not None and rules.persistent
        self.output_seconds = self.settings.output_ttl_hours * 3600

    async def refusal(self) -> ProblemError | None:
        """Why this is not done for this caller; None: it is."""
        return await refusal(self.platform, self.chain, self.claim, self.profile, self.team)

    async def answer(self, key: str | None) -> bytes:
        refused = await self.refusal()
        if refused is not None:
            raise refused
        for lookup in range(MAX_LOOKUPS + 1):
            reference = str(uuid4())
            result = await self._ask(reference, use_cache=lookup < MAX_LOOKUPS)
            told = await self.tell(result, reference, self.platform.storage.sign_upload)
            if told is not None:
                body = told.answer.model_dump_json().encode()
                if key is not None and told.output is not None and self.platform.redis_breaker.closed:
                    await self._remember(key, body, told.output, told.url_seconds)
                return body
        raise DependencyError("storage")

    async def tell(self, result: IntakeResult, reference: str, sign: SignUpload) -> "Told | None":
        """The answer to what the database has found or made; None: what it found is gone since, ask again."""
        if result.outcome == "job" and result.job is not None:
            CACHE.labels("miss" if result.created else "in_flight").inc()
            return Told(await self._job(result.job, sign, created=result.created))
        if result.output is None:
            raise DependencyError("storage")
        CACHE.labels(result.outcome).inc()
        job_id, output, charged = result.job_id, result.output, result.charged
        if result.outcome == "copy":
            adopted = await self._adopt(result.output)
            if adopted is None or adopted.output is None:
                return None
            job_id, output, charged = adopted.job_id, adopted.output, adopted.charged
            reference = str(job_id)
        if job_id is None:
            # No caller like this one has had this hit before, so that its job would have to be made now.
            raise DatabaseReadOnlyError
        try:
            if self.persists and output.bucket == OUTPUTS and self.user_id is not None:
                output = await promote(self.platform, self.user_id, output_id=output.output_id, charge=False)
            signed = await sign_checked(self.platform, output)
        except ProblemError:
            await self._refund(charged, reference)
            raise
        if signed is None:
            await self._refund(charged, reference)
            return None
        return Told(self._hit(job_id, output, signed, charged), output, signed.seconds)

    async def _remember(self, key: str, body: bytes, output: OutputRow, url_seconds: int) -> None:
        await remember(
            self.platform.redis,
            self.settings.secret,
            key,
            body,
            claim=self.claim,
            url_seconds=url_seconds,
            expires_at=output.expires_at,
            label=Label(self.price.job, output.vendor_cost_micros, output.size),
        )

    async def _refund(self, charged: int, reference: str) -> None:
        """Give back the price of a hit that cannot be given."""
        if charged and self.user_id is not None:
            await Plans(self.platform.database).refund_hit(self.user_id, reference, self.key_id)

    async def _ask(self, reference: str, *, use_cache: bool) -> IntakeResult:
        """Raises ProblemError: what intake() refuses, and `overloaded` for work when too much waits."""
        overload = await self.platform.shared(Load).refusal(self.profile)
        try:
            return await self._intake(reference, use_cache=use_cache, may_queue=overload is None)
        except ProblemError as error:
            if overload is None or error.code is not overloaded:
                raise
            SHED.labels(overload.caller).inc()
            raise overload from None

    async def _intake(self, reference: str, *, use_cache: bool, may_queue: bool) -> IntakeResult:
        claim, settings = self.claim, self.settings
        return await Intakes(self.platform.database).intake(
            IntakeParameters(
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
                output_side=self.output_side,
                queue=settings.queue,
                wants_persist=claim.wants_persist,
                use_cache=use_cache,
                variant=self.variant,
                keep_days=claim.keep_for_days,
                may_upload=self.may_upload,
                team_id=self.claim.team_id,
                await_seconds=settings.await_upload_seconds,
                upload_seconds=settings.upload_ttl_hours * 3600,
                output_seconds=self.output_seconds,
                request_id=self.request_id,
                api_key_id=self.key_id,
                may_queue=may_queue,
            )
        )

    async def _adopt(self, source: OutputRow) -> JobRow | None:
        """Copy an output under a key of the caller's; None when it went away meanwhile."""
        object_key = uuid4()
        path, thumb = output_names(object_key, PurePosixPath(source.path).suffix)
        storage, platform = self.platform.storage, self.platform
        try:
            await asyncio.gather(
                storage.copy(source.bucket, source.path, path, target_bucket=OUTPUTS),
                storage.copy(source.bucket, source.thumb_path, thumb, target_bucket=OUTPUTS),
            )
            return await Intakes(platform.database).adopt_output(
                job_id=uuid4(),
                object_key=object_key,
                user_id=self.user_id,
                source_id=source.output_id,
                filename=self.claim.filename,
                path=path,
                thumb_path=thumb,
                output_seconds=max(self.output_seconds, (self.claim.keep_for_days or 0) * 86_400),
                request_id=self.request_id,
                price=self.price.job,
                hit_price=self.price.hit,
                api_key_id=self.key_id,
                team_id=self.claim.team_id,
            )
        except ObjectNotFoundError:
            await bury(platform, source.output_id)
            return None
        except OutputGone:
            return None

    def _hit(self, job_id: UUID, output: OutputRow, signed: SignedOutput, charged: int) -> IntakeAnswer:
        return IntakeAnswer(
            cached=True,
            job_id=job_id,
            status="done",
            op_key=self.chain.key,
            expires_at=output.expires_at,
            charged=charged,
            output_urls=[signed.url],
            thumbnail_url=signed.thumbnail_url,
            # Visitors share one answer in Redis: none shall read what another one calls the picture.
            download_url=download_url(
                signed.url,
                suggested_name(self.claim.filename if self.user_id else "", self.chain.key, output.path),
            ),
            output=describe(output),
            hint=SIGN_UP if self.user_id is None else None,
        )

    async def _job(self, job: JobRow, sign: SignUpload, *, created: bool) -> IntakeAnswer:
        answer = IntakeAnswer(
            cached=False,
            job_id=job.job_id,
            status=job.status,
            op_key=job.op_key,
            expires_at=job.expires_at,
            charged=job.charged,
            hint=SIGN_UP if self.user_id is None else None,
        )
        if job.status != "awaiting_upload":
            if created:
                await self.platform.doorbell.ring(job.queue)
            return answer
        try:
            signed = await sign(UPLOADS, job.upload_path)
        except ObjectExistsError:
            # Uploaded while nobody looked: this was the trigger's to see, and the sweep will.
            return answer
        return answer.model_copy(
            update={
                "upload_url": signed.url,
                "upload_token": signed.token,
                "upload_bucket": UPLOADS,
                "upload_path": job.upload_path,
                "upload_expires_at": signed.expires_at,
                "resumable_url": f"{self.settings.supabase_url}/storage/v1/upload/resumable/sign",
            }
        )
