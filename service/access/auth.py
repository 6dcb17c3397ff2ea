"""Authentication: a Supabase user's JWT, an API key of theirs, or nobody, becomes a Principal.

Keys are verified by key_ring.py. A token is verified as Supabase documents it: signature by the project's JWKS
(ES256, RS256) or, where one is configured, by the legacy HS256 secret; `iss`, `aud=authenticated`,
`role=authenticated` and `exp`. Plan and rights are not read here: they come from our own tables, never from the
token's metadata. Verifying costs about 100 us, so the outcome is kept by the header's digest until `exp`.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Self
from uuid import UUID

import httpx
import jwt
import structlog
from cachetools import LRUCache
from fastapi import Depends
from starlette.requests import Request
from starlette.types import Scope

from service.access.key_format import looks_like_key
from service.access.key_ring import KeyRing, VerifiedKey
from service.access.scopes import scope_of
from service.platform.addresses import client_ip
from service.platform.errors import (
    DependencyError,
    ProblemError,
    expired_token,
    insufficient_scope,
    invalid_token,
    session_required,
)
from service.platform.resources import Platform, platform_of
from service.platform.settings import Settings
from service.platform.transport import dependency

AUDIENCE = "authenticated"
ASYMMETRIC = ("ES256", "RS256")
LEEWAY_SECONDS = 30
"""How far the clock of whoever issued a token may be ahead of ours; PostgREST allows as much."""
MAX_TOKEN_BYTES = 16_384
JWKS_SECONDS = 600
JWKS_RETRY_SECONDS = 10
CACHED_PRINCIPALS = 10_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. Without a user it is the anonymous public, known by its address alone.

    `key`: the API key that speaks for the user, None for a session.
    """

    user_id: UUID | None
    ip: str
    key: VerifiedKey | None = None

    @property
    def key_id(self) -> UUID | None:
        return None if self.key is None else self.key.key_id


@dataclass(frozen=True, slots=True)
class _User:
    """The part of a Principal that its token tells, and until when (unix seconds)."""

    user_id: UUID
    expires_at: float


class KeySet:
    """The project's public keys: fetched when first needed, again every ten minutes and for an unknown `kid`.

    A fetch is tried at most every ten seconds; keys that were good stay good while the endpoint is away.
    """

    def __init__(
        self, http: httpx.AsyncClient, url: str, headers: dict[str, str], clock: Callable[[], float]
    ) -> None:
        self._http = http
        self._url = url
        self._headers = headers
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """The key named `kid`, or None. Raises DependencyError while no key could ever be fetched."""
        if kid not in self._keys or self._clock() - self._fetched_at > JWKS_SECONDS:
            await self._refresh(kid)
        return self._keys.get(kid)

    async def _refresh(self, kid: str) -> None:
        async with self._lock:
            now = self._clock()
            fresh = now - self._fetched_at <= JWKS_SECONDS
            if kid in self._keys and fresh:
                return  # fetched by another request while this one waited
            if now - self._tried_at < JWKS_RETRY_SECONDS:
                if self._fetched_at == float("-inf"):
                    raise DependencyError("auth")
                return
            self._tried_at = now
            try:
                with dependency("auth", "jwks"):
                    response = await self._http.get(self._url, headers=self._headers)
                    response.raise_for_status()
                self._keys = _parse(response.json())
                self._fetched_at = now
            except (DependencyError, ValueError) as error:
                if isinstance(error, ValueError):  # what did not come is logged by dependency()
                    log.warning("jwks_malformed", error=str(error))
                if self._fetched_at == float("-inf"):
                    raise DependencyError("auth") from error


def _parse(document: Any) -> dict[str, jwt.PyJWK]:
    """Signing keys by `kid`. Symmetric keys and keys of another use are never trusted. Raises ValueError for what is no
    JWKS."""
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("no JWKS")
    found: dict[str, jwt.PyJWK] = {}
    for raw in document["keys"]:
        if (
            not isinstance(raw, dict)
            or raw.get("kty") not in {"EC", "RSA"}
            or raw.get("use", "sig") != "sig"
            or not raw.get("kid")
        ):
            continue
        try:
            key = jwt.PyJWK(raw)
        except jwt.PyJWTError:
            continue
        if key.algorithm_name in ASYMMETRIC:
            found[raw["kid"]] = key
    return found


class Authenticator:
    """Turns a request's Authorization header and address into a Principal. One per process."""

    def __init__(
        self, settings: Settings, http: httpx.AsyncClient, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._issuer = settings.issuer
        # The local stack's Auth signs HS256 and leaves `iss` out; hosted projects always set it.
        self._issuer_optional = not settings.production
        secret = settings.supabase_jwt_secret
        self._secret = secret.get_secret_value() if secret else None
        self._clock = clock
        headers = {"apikey": settings.supabase_publishable_key}
        self._keys = KeySet(http, f"{settings.supabase_url}/auth/v1/.well-known/jwks.json", headers, clock)
        self._users: LRUCache[bytes, _User] = LRUCache(CACHED_PRINCIPALS)

    @classmethod
    def open(cls, platform: Platform) -> Self:
        return cls(platform.settings, platform.http)

    async def principal(self, authorization: str | None, ip: str) -> Principal:
        """Who sends this header from this address. Raises ProblemError (401) for a malformed, foreign or expired
        token."""
        if authorization is None:
            return Principal(None, ip)
        user = await self._user(authorization)
        return Principal(user.user_id, ip)

    async def _user(self, authorization: str) -> _User:
        digest = hashlib.blake2b(authorization.encode(), digest_size=16).digest()
        user = self._users.get(digest)
        if user is None:
            user = self._users[digest] = await self._verify(bearer(authorization))
        elif self._clock() >= user.expires_at:
            raise _expired()
        return user

    async def _verify(self, token: str) -> _User:
        key, algorithm = await self._key(token)
        symmetric = algorithm == "HS256"
        required = (
            ["exp", "sub", "aud"] if symmetric and self._issuer_optional else ["exp", "sub", "aud", "iss"]
        )
        try:
            # `algorithms` names the one algorithm that belongs to the key: the header cannot choose another.
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=AUDIENCE,
                leeway=LEEWAY_SECONDS,
                options={"require": required, "verify_exp": False},
            )
        except jwt.InvalidAudienceError:
            raise invalid("The token is not a user's access token (aud is not 'authenticated').") from None
        except jwt.MissingRequiredClaimError as error:
            raise invalid(f"The token lacks the claim '{error.claim}'.") from None
        except jwt.PyJWTError:
            raise invalid("The token's signature or claims are not valid.") from None
        return self._accept(claims)

    def _accept(self, claims: dict[str, Any]) -> _User:
        if "iss" in claims and claims["iss"] != self._issuer:
            raise invalid("The token was issued by another project.")
        if claims.get("role") != AUDIENCE:
            raise invalid("The token does not carry the role of a user; API keys are not access tokens.")
        try:
            user_id = UUID(claims["sub"])
            expires_at = float(claims["exp"])
        except (TypeError, ValueError, AttributeError):
            raise invalid("The token's subject is not a user id.") from None
        if self._clock() >= expires_at:
            raise _expired()
        return _User(user_id, expires_at)

    async def _key(self, token: str) -> tuple[Any, str]:
        """The key that must have signed this token, and that key's own algorithm."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise invalid("The Authorization header does not hold a JWT.") from None
        if header.get("alg") == "HS256":
            if self._secret is None:
                raise invalid("Tokens signed with HS256 are not accepted by this project.")
            return self._secret, "HS256"
        kid = header.get("kid")
        if header.get("alg") not in ASYMMETRIC or not isinstance(kid, str):
            raise invalid("The token is not signed in a way that this project accepts.")
        key = await self._keys.find(kid)
        if key is None or key.algorithm_name != header["alg"]:
            raise invalid("The token was not signed by a key of this project.")
        return key.key, str(key.algorithm_name)


def bearer(authorization: str) -> str:
    """The token of an Authorization header. Raises ProblemError (401); API keys get a word of advice."""
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or " " in token or len(token) > MAX_TOKEN_BYTES:
        raise invalid("Write the header as 'Authorization: Bearer <access token>'.")
    if token.startswith("sb_"):
        raise invalid(
            "This is an API key, not a user's access token; without a session, send no Authorization header."
        )
    return token


def invalid(detail: str) -> ProblemError:
    return ProblemError(invalid_token, detail)


def _expired() -> ProblemError:
    return ProblemError(
        expired_token,
        "The access token has expired; refresh the session and send the new one.",
        headers={
            "WWW-Authenticate": 'Bearer error="invalid_token", error_description="The access token expired"'
        },
    )


async def caller(request: Request) -> Principal:
    """Who sent this request. Raises ProblemError as `identify`."""
    headers = request.headers
    return await identify(
        platform_of(request), request.scope, headers.get("authorization"), headers.getlist("x-forwarded-for")
    )


async def identify(
    platform: Platform, scope: Scope, authorization: str | None, forwarded_for: list[str]
) -> Principal:
    """Who sent the request of this scope with these headers. Raises ProblemError: 401 for what is no valid token or
    key, 403 for a key that may not be used on this route."""
    peer = scope["client"][0] if scope.get("client") else ""
    ip = client_ip(peer, forwarded_for, platform.settings.trusted_hops)
    # A session's token is not taken apart for this: no space stands in one.
    if (
        authorization is not None
        and " dk_" in authorization
        and looks_like_key(token := bearer(authorization))
    ):
        return await _key_holder(platform, scope, token, ip)
    return await platform.shared(Authenticator).principal(authorization, ip)


async def _key_holder(platform: Platform, scope: Scope, key: str, ip: str) -> Principal:
    verified = await platform.shared(KeyRing).verify(key, ip)
    allowed = scope_of(scope["method"], scope["route"].path)
    if allowed is None:
        raise ProblemError(
            session_required, "API keys cannot be used here: send the access token of a signed-in user."
        )
    if allowed not in verified.scopes:
        raise ProblemError(
            insufficient_scope,
            f"This needs the scope {allowed}, which the key does not have.",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{allowed}"'},
        )
    return Principal(verified.user_id, ip, verified)


Caller = Annotated[Principal, Depends(caller)]
