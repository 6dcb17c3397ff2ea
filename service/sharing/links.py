"""The life of a share link: made, opened, refused.

The token is 128 random bits and its sha256 is all that is kept, so the database finds a link by a digest that nobody
can aim at, and a copy of the database opens nothing. A view is counted after Storage has said that the picture is there
and before its URL is given out, by one statement that enforces max_views: no failure of Storage costs a view, and no
view goes uncounted.
"""

import hashlib
import math
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from service.cache.missing import bury
from service.cache.store import OutputRow
from service.library.errors import no_such_output, output_expired
from service.platform.addresses import Networks, networks
from service.platform.downloads import suggested_name
from service.platform.errors import Code, DependencyError, ProblemError, known
from service.platform.gcra import HOUR, MINUTE, Admission, Limit, by_address
from service.platform.journal import random_bytes
from service.platform.resources import Platform
from service.sharing.errors import (
    no_such_share,
    password_required,
    share_expired,
    share_locked,
    share_not_found,
    wrong_password,
)
from service.sharing.passwords import hash_password, matches
from service.sharing.schemas import ShareRequest
from service.sharing.store import FoundShare, ShareLinks, ShareRow
from service.sharing.tickets import ticket
from service.usage.meter import Meter

TOKEN_BYTES = 16
TOKEN = re.compile(r"[\w-]{22}", re.ASCII)
URL_SECONDS = 300
DAY = 24 * HOUR
GUESSES = 10
"""Wrong passwords for one link from one address, in ten minutes."""
SITE_GUESSES = 20
"""Wrong passwords for one link from one network (/24 or /48), in a day: half of all, lest one lock the link."""
LINK_GUESSES = 40
"""Wrong passwords for one link from the whole world, in a day."""
ADDRESS_GUESSES = 30
"""Wrong passwords for all links from one address, in ten minutes."""
PASSWORDS = 20
"""Links with a password that one user makes in ten minutes: each costs what a guess costs."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A picture that a link has opened. `url` shows it and `download_url` saves it as `filename`, both for minutes only
    and under the link's own address: they tell nothing that the link does not."""

    url: str
    download_url: str
    filename: str
    output: OutputRow


async def make(
    platform: Platform, output_id: UUID, user_id: UUID, wanted: ShareRequest
) -> tuple[ShareRow, str]:
    """A new link and its path. Raises ProblemError (output_not_found, output_expired, too_many_shares)."""
    password_hash = None
    if wanted.password is not None:
        # Hashing is dear: whatever can be refused is refused before.
        if not await ShareLinks(platform.database).may_share(output_id, user_id):
            raise no_such_output(output_id)
        limit = Limit("passwords", f"darkroom:rate:share:passwords:{user_id}", PASSWORDS, 10 * MINUTE)
        (await platform.limiter.admit([limit])).require()
        password_hash = await hash_password(wanted.password, str(user_id))
    token = _new_token()
    row = await ShareLinks(platform.database).create_share(
        output_id=output_id,
        user_id=user_id,
        token_hash=digest(token),
        password_hash=password_hash,
        seconds=wanted.expires_in,
        max_views=wanted.max_views,
    )
    if row is None:
        raise no_such_output(output_id)
    return row, _public_address(platform, token)


async def renew(platform: Platform, share_id: UUID, user_id: UUID) -> tuple[ShareRow, str]:
    """The link under a new address, with no guess counted against it; the address before leads nowhere. Raises
    ProblemError (share_not_found, or how the link has ended)."""
    token = _new_token()
    row = await ShareLinks(platform.database).renew_share(share_id, user_id, digest(token))
    if row is None:
        raise no_such_share(share_id)
    await platform.limiter.forgive([_link_limit(share_id)])
    return row, _public_address(platform, token)


async def locked_until(platform: Platform, rows: Sequence[ShareRow]) -> dict[UUID, datetime]:
    """When each link that has been guessed at too often takes passwords again."""
    guarded = [row.share_id for row in rows if row.has_password and row.status == "active"]
    if not guarded:
        return {}
    admission = await platform.limiter.admit([_link_limit(share_id, cost=0) for share_id in guarded])
    now = datetime.now(UTC)
    return {
        share_id: now + timedelta(seconds=standing.retry_after_s)
        for share_id, standing in zip(guarded, admission.standings, strict=True)
        if standing.retry_after_s
    }


def _new_token() -> str:
    return urlsafe_b64encode(random_bytes(TOKEN_BYTES, "share")).rstrip(b"=").decode()


def _public_address(platform: Platform, token: str) -> str:
    return f"{(platform.settings.public_url or '').rstrip('/')}/s/{token}"


def door(platform: Platform, token: str) -> str:
    """The path of a link, on whatever host it was opened."""
    return f"{urlsplit(platform.settings.public_url or '').path.rstrip('/')}/s/{token}"


async def open_link(platform: Platform, token: str, password: str | None, ip: str) -> Shared:
    """The picture behind a token, its view counted. Raises ProblemError, each refusal with a code of its own."""
    found = await check(platform, token, password, ip)
    shared = await _address(platform, token, found)
    try:
        await ShareLinks(platform.database).open_share(found.share_id)
    except DependencyError:
        raise
    except ProblemError as error:
        raise refusal(error.code) from None
    await platform.shared(Meter).served(shared.output.user_id, shared.output.size)
    return shared


async def check(platform: Platform, token: str, password: str | None, ip: str) -> FoundShare:
    """All that can be refused without counting: rate, token, end of the link, password. Raises ProblemError."""
    where = networks(ip)
    await admit_address(platform, ip)
    found = await find(platform, token)
    if found.status != "active":
        raise refusal(known(found.status))
    if found.password_hash is not None:
        if not password:
            raise refusal(password_required)
        await _check_password(platform, found.share_id, password, found.password_hash, where)
    return found


async def admit_address(platform: Platform, ip: str) -> None:
    """Raises ProblemError (429) for an address that asks for too many links."""
    limits = by_address(
        "ip", "darkroom:rate:share", platform.settings.rate_per_ip_minute, MINUTE, networks(ip)
    )
    (await platform.limiter.admit(limits)).require()


async def find(platform: Platform, token: str) -> FoundShare:
    """What a token leads to. Raises ProblemError (share_not_found)."""
    found = await ShareLinks(platform.database).find_share(digest(token)) if TOKEN.fullmatch(token) else None
    if found is None:
        raise refusal(share_not_found)
    return found


async def _check_password(
    platform: Platform, share_id: UUID, password: str, stored: str, where: Networks
) -> None:
    """Raises ProblemError: wrong_password, or 429 where too many wrong ones came before.

    A guess is spent before the password is looked at, so that guesses sent at once count as well; one that was right,
    or that could not be looked at, is given back.
    """
    link = _link_limit(share_id)
    limits = [
        Limit("link", f"{link.key}:ip:{where.subscriber}", GUESSES, 10 * MINUTE),
        Limit("link", f"{link.key}:net:{where.site}", SITE_GUESSES, DAY),
        *by_address("guesses", "darkroom:rate:share:guesses", ADDRESS_GUESSES, 10 * MINUTE, where),
        link,
    ]
    admission = await platform.limiter.admit(limits)
    if not admission.allowed and limits[admission.answer[0] - 1] is link:
        raise _locked(admission)
    admission.require()
    try:
        right = await matches(password, stored, where.subscriber, where.site)
    except ProblemError:
        await platform.limiter.give_back(limits)
        raise
    if not right:
        raise refusal(wrong_password)
    await platform.limiter.give_back(limits)


def _link_limit(share_id: UUID, cost: int = 1) -> Limit:
    return Limit("link", f"darkroom:rate:share:guess:{share_id}", LINK_GUESSES, DAY, cost)


def _locked(admission: Admission) -> ProblemError:
    minutes = math.ceil(int(admission.headers()["Retry-After"]) / 60)
    return ProblemError(
        share_locked,
        f"Too many wrong passwords were tried. This link takes passwords again in {minutes} min; whoever sent it can "
        "send a new one.",
        headers=admission.headers(),
    )


async def _address(platform: Platform, token: str, found: FoundShare) -> Shared:
    """URLs that outlive neither the link nor the picture."""
    output = found.output
    if output is None:
        raise refusal(output_expired)
    now = datetime.now(UTC)
    ends = [(found.expires_at, share_expired)]
    if output.expires_at is not None:
        ends.append((output.expires_at, output_expired))
    end, why = min(ends)
    seconds = min(URL_SECONDS, int((end - now).total_seconds()))
    if seconds <= 0:
        raise refusal(why)
    if not await platform.storage.has_bytes(output.bucket, output.path):
        # A row without its object, or without the bytes: nobody may be sent there again.
        await bury(platform, output.output_id)
        raise refusal(output_expired)
    here, query = door(platform, token), f"ticket={ticket(platform.settings.secret, token, seconds)}"
    return Shared(f"{here}/picture?{query}", f"{here}/download?{query}", shown_name(found, output), output)


def shown_name(found: FoundShare, output: OutputRow) -> str:
    """What strangers see a shared picture called, on its page and when they save it: not as the user typed it."""
    return suggested_name(found.filename or "", "", output.path)


def digest(token: str) -> str:
    """What is kept of a token: its sha256 in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def refusal(code: Code) -> ProblemError:
    """Without details: there is nothing more to say to a stranger."""
    headers = {"WWW-Authenticate": 'Password realm="share link"'} if code is password_required else None
    return ProblemError(code, headers=headers)
