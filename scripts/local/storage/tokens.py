"""Who is calling, and the tokens of signed URLs.

A caller is named by `Authorization: Bearer <user JWT>`, else by the `apikey` header (`sb_publishable_…`,
`sb_secret_…`, or a legacy JWT). Signed URLs carry an HS256 token with the claims
`{url: "bucket/path", scope: "download" | "upload", upsert?, owner?, iat, exp}`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jwt

from . import errors
from .database import ANON, SERVICE, Caller

ROLES = frozenset({"anon", "authenticated", "service_role"})
JWKS_SECONDS = 10.0
"""The key set is asked for again at most this often."""

FetchKeys = Callable[[], Awaitable[list[dict[str, Any]]]]
Scope = Literal["download", "upload"]


@dataclass(frozen=True)
class SignedUpload:
    """What a signed upload URL allows: one path, whether it may overwrite, and in whose name."""

    path: str
    upsert: bool
    owner: str | None


class Tokens:
    """Signs and verifies with the project's secret; asks the Auth server for its public keys when it must."""

    def __init__(
        self, *, secret: str, publishable_key: str, secret_key: str, fetch_keys: FetchKeys | None = None
    ) -> None:
        self._secret = secret
        self._api_keys = {publishable_key: ANON, secret_key: SERVICE}
        self._fetch_keys = fetch_keys
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._callers: dict[str, Caller] = {}

    # -- callers

    async def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """The caller, or None when the request names nobody. StorageError 403 for a token that fails."""
        api_key = headers.get("apikey", "")
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        token = bearer.strip() if scheme.lower() == "bearer" else ""
        if token and token not in self._api_keys:
            return await self._from_jwt(token)
        key = api_key or token  # the clients repeat their key as bearer when nobody is signed in
        if key in self._api_keys:
            return self._api_keys[key]
        return await self._from_jwt(key) if key else None

    async def _from_jwt(self, token: str) -> Caller:
        cached = self._callers.get(token)
        if cached is not None and cached.claims.get("exp", float("inf")) > time.time():
            return cached
        try:
            claims = await self._verify(token)
        except jwt.PyJWTError as error:
            raise errors.access_denied(_reason(error)) from error
        role = claims.get("role", "anon")
        if role not in ROLES:
            raise errors.access_denied(f'role "{role}" does not exist')
        if len(self._callers) > 1000:
            self._callers.clear()
        caller = self._callers[token] = Caller(role, claims)
        return caller

    async def _verify(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        # Neither does `jose`, the library of the real server, ask when a token was issued.
        options: Any = {"verify_aud": False, "verify_iat": False}
        if header.get("alg") == "HS256":
            return jwt.decode(token, self._secret, algorithms=["HS256"], options=options)
        key = await self._public_key(str(header.get("kid", "")))
        return jwt.decode(token, key, algorithms=["ES256", "RS256", "EdDSA"], options=options)

    async def _public_key(self, kid: str) -> jwt.PyJWK:
        if kid not in self._keys and self._fetch_keys and time.monotonic() - self._fetched > JWKS_SECONDS:
            self._fetched = time.monotonic()
            keys = jwt.PyJWKSet(await self._fetch_keys()).keys
            self._keys = {str(key.key_id): key for key in keys}
        if kid not in self._keys:
            raise jwt.InvalidSignatureError
        return self._keys[kid]

    # -- signed URLs

    def sign_download(self, path: str, seconds: int) -> str:
        return self._sign({"url": path, "scope": "download"}, seconds)

    def sign_upload(self, path: str, seconds: int, *, owner: str | None, upsert: bool) -> str:
        claims: dict[str, Any] = {"url": path, "upsert": upsert, "scope": "upload"}
        if owner:
            claims["owner"] = owner
        return self._sign(claims, seconds)

    def verify_download(self, token: str, path: str) -> dict[str, Any]:
        """The claims of a download token for `path`."""
        return self._verify_signed(token, path, "download")

    def verify_upload(self, token: str, path: str) -> SignedUpload:
        claims = self._verify_signed(token, path, "upload")
        return SignedUpload(path, bool(claims.get("upsert")), claims.get("owner"))

    def _sign(self, claims: dict[str, Any], seconds: int) -> str:
        now = int(time.time())
        return jwt.encode({**claims, "iat": now, "exp": now + seconds}, self._secret, algorithm="HS256")

    def _verify_signed(self, token: str, path: str, scope: Scope) -> dict[str, Any]:
        """StorageError InvalidJWT for a bad or expired token, InvalidSignature for another path or scope."""
        try:
            options: Any = {"verify_aud": False, "verify_iat": False, "require": ["exp", "url"]}
            claims: dict[str, Any] = jwt.decode(token, self._secret, algorithms=["HS256"], options=options)
        except jwt.PyJWTError as error:
            raise errors.invalid_jwt(_reason(error)) from error
        if claims["url"] != path or claims.get("scope", scope) != scope:
            raise errors.invalid_signature()
        return claims


def _reason(error: jwt.PyJWTError) -> str:
    """The words of `jose`, the library of the real server, for the same failure."""
    match error:
        case jwt.ExpiredSignatureError():
            return '"exp" claim timestamp check failed'
        case jwt.InvalidSignatureError():
            return "signature verification failed"
        case jwt.DecodeError():
            return "Invalid Compact JWS"
        case _:
            return str(error)
