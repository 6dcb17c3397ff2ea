"""GET and PATCH /me: plan, settings and credits of the caller."""

from fastapi import APIRouter, Request

from service.access.limits import SignedIn
from service.plans.errors import plan_required
from service.plans.profile_schemas import Me, Plan, Settings, SettingsChange
from service.plans.profiles import Profiles
from service.plans.store import Plans, Profile
from service.platform.errors import account_gone, malformed_json, sign_in_required
from service.platform.problems import responses
from service.platform.resources import Platform, platform_of
from service.usage.report import library_of

router = APIRouter(tags=["library"])


@router.get("/me", responses=responses(sign_in_required))
async def get_me(request: Request, user_id: SignedIn) -> Me:
    """Plan, settings and credits of the caller."""
    platform = platform_of(request)
    return _me(platform, await Plans(platform.database).get_profile(user_id))


@router.patch("/me", responses=responses(sign_in_required, malformed_json, plan_required))
async def patch_me(body: SettingsChange, request: Request, user_id: SignedIn) -> Me:
    """Change settings. Fewer `versions_to_keep` take effect within minutes, on every image."""
    platform = platform_of(request)
    profile = await Plans(platform.database).set_profile(user_id, body.model_dump(exclude_unset=True))
    platform.shared(Profiles).put(user_id, profile)
    return _me(platform, profile)


def _me(platform: Platform, profile: Profile | None) -> Me:
    if profile is None or profile.user_id is None:
        raise account_gone()
    return Me(
        user_id=profile.user_id,
        plan=Plan(id=profile.plan_id, name=profile.plan_name, **profile.model_dump(include=_PLAN)),
        settings=Settings(**profile.model_dump(include=set(Settings.model_fields))),
        credits=profile.balance,
        library=library_of(platform.settings, profile.over_quota_since),
    )


_PLAN = set(Plan.model_fields) - {"id", "name"}
