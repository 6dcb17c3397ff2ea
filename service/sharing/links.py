"""The life of a share link: made, opened, refused.

The token is 128 random bits and its sha256 is all that is kept, so the database finds a link by a digest that nobody
can aim at, and a copy of the database opens nothing. A view is counted after Storage has said that the picture is there
and before its URL is given out, by one statement that enforces max_views: no failure of Storage costs a view, and no
view goes uncounted.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

from service.database import OutputRow
from service.errors import CATALOGUE, Code, DependencyError, ProblemError
from service.gcra import HOUR, MINUTE, Limit, network
from service.missing import bury
from service.resources import Resources
from service.sharing.passwords import hash_password, matches
from service.sharing.schemas import ShareRequest
from service.sharing.store import FoundShare, ShareRow
from service.sharing.tickets import ticket

TOKEN_BYTES = 16
TOKEN = re.compile(r"[\w-]{22}", re.ASCII)
URL_SECONDS = 300
GUESSES = 10
"""Of an address, in ten minutes."""
LINK_GUESSES = 60
"""Of all addresses together, in an hour, beside the first one of each."""
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Shared:
    """A picture that a link has opened. `url` shows it and `download_url` saves it, both for minutes only and under the
    link's own address: they tell nothing that the link does not."""

    url: str
    download_url: str
    filename: str
    output: OutputRow


async def make(
    resources: Resources, output_id: UUID, user_id: UUID, wanted: ShareRequest
) -> tuple[ShareRow, str]:
    """A new link and its path. Raises ProblemError (output_not_found, output_expired, too_many_shares)."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    row = await resources.share_links.create_share(
        output_id=output_id,
        user_id=user_id,
        token_hash=digest(token),
        password_hash=None if wanted.password is None else await hash_password(wanted.password),
        seconds=wanted.expires_in,
        max_views=wanted.max_views,
    )
    if row is None:
        raise output_not_found(output_id)
    return row, f"{(resources.settings.public_url or '').rstrip('/')}/s/{token}"


def door(resources: Resources, token: str) -> str:
    """The path of a link, on whatever host it was opened."""
    return f"{urlsplit(resources.settings.public_url or '').path.rstrip('/')}/s/{token}"


async def open_link(resources: Resources, token: str, password: str | None, ip: str) -> Shared:
    """The picture behind a token, its view counted. Raises ProblemError, each refusal with a code of its own."""
    found = await check(resources, token, password, ip)
    shared = await _address(resources, token, found)
    try:
        await resources.share_links.open_share(found.share_id)
    except DependencyError:
        raise
    except ProblemError as error:
        raise refusal(error.code) from None
    await resources.meter.served(shared.output.user_id, shared.output.size)
    return shared


async def check(resources: Resources, token: str, password: str | None, ip: str) -> FoundShare:
    """All that can be refused without counting: rate, token, end of the link, password. Raises ProblemError."""
    here = network(ip)
    await admit_address(resources, ip)
    found = await find(resources, token)
    if found.status != "active":
        raise refusal(Code(found.status))
    if found.password_hash is not None:
        if not password:
            raise refusal(Code.password_required)
        spent = await _admit_guess(resources, found.share_id, here)
        if not await matches(password, found.password_hash):
            raise refusal(Code.wrong_password)
        for limit in spent:
            await resources.limiter.forgive(limit)
    return found


async def admit_address(resources: Resources, ip: str) -> None:
    """Raises ProblemError (429) for an address that asks for too many links."""
    key = f"darkroom:rate:share:ip:{network(ip)}"
    limit = Limit("ip", key, resources.settings.rate_per_ip_minute, MINUTE)
    (await resources.limiter.admit([limit])).require()


async def find(resources: Resources, token: str) -> FoundShare:
    """What a token leads to. Raises ProblemError (share_not_found)."""
    found = await resources.share_links.find_share(digest(token)) if TOKEN.fullmatch(token) else None
    if found is None:
        raise refusal(Code.share_not_found)
    return found


async def _admit_guess(resources: Resources, share_id: UUID, here: str) -> list[Limit]:
    """Let an address guess; what a password that is right gives back. Raises ProblemError (429).

    Spent before the password is looked at, so that guesses sent at once count as well. Many addresses share one limit,
    but the first guess of each in a day is free of it: whoever knows the password gets in whatever others do.
    """
    key = f"darkroom:rate:share:guess:{share_id}"
    mine = Limit("link", f"{key}:{here}", GUESSES, 10 * MINUTE)
    first = Limit("link", f"{key}:{here}:first", 1, DAY)
    (await resources.limiter.admit([mine])).require()
    if not (await resources.limiter.admit([first])).allowed:
        (await resources.limiter.admit([Limit("link", key, LINK_GUESSES, HOUR)])).require()
    return [mine, first]


async def _address(resources: Resources, token: str, found: FoundShare) -> Shared:
    """URLs that outlive neither the link nor the picture."""
    output = found.output
    if output is None:
        raise refusal(Code.output_expired)
    now = datetime.now(UTC)
    ends = [(found.expires_at, Code.share_expired)]
    if output.expires_at is not None:
        ends.append((output.expires_at, Code.output_expired))
    end, why = min(ends)
    seconds = min(URL_SECONDS, int((end - now).total_seconds()))
    if seconds <= 0:
        raise refusal(why)
    if not await resources.storage.has_bytes(output.bucket, output.path):
        # A row without its object, or without the bytes: nobody may be sent there again.
        await bury(resources, output.output_id)
        raise refusal(Code.output_expired)
    here, query = door(resources, token), f"ticket={ticket(resources.settings.secret, token, seconds)}"
    return Shared(f"{here}/picture?{query}", f"{here}/download?{query}", found.filename or "picture", output)


def digest(token: str) -> str:
    """What is kept of a token: its sha256 in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def refusal(code: Code) -> ProblemError:
    """A refusal in the catalogue's own words: there is nothing more to say to a stranger."""
    headers = {"WWW-Authenticate": 'Password realm="share link"'} if code is Code.password_required else None
    return ProblemError(code, CATALOGUE[code].example, headers=headers)


def output_not_found(output_id: UUID) -> ProblemError:
    return ProblemError(Code.output_not_found, f"No output of yours has the id {output_id}.")
