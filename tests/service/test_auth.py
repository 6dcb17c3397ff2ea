"""Authentication: which tokens make a user, and what every other one is told."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
import tomllib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from httpx_aiohttp import HttpxAiohttpClient
from structlog.testing import capture_logs

from scripts.local.home import REPOSITORY, Local
from service.access.auth import JWKS_SECONDS, Authenticator, Principal
from service.platform.addresses import client_ip
from service.platform.errors import DependencyError, ProblemError, expired_token, invalid_token
from service.platform.settings import Settings
from tests.service.conftest import JWT_SECRET, PUBLISHABLE, SECRET, Jwks, settings_for, settings_with
from tests.service.junk import NOT_HTTP, saying
from tests.support import User

USER = uuid.uuid4()


class Signer:
    """A project's signing key: signs tokens and describes itself to a JWKS."""

    def __init__(self, kid: str, algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.key: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if algorithm == "ES256"
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )

    @property
    def jwk(self) -> dict[str, Any]:
        described = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.key.public_key(), as_dict=True)
        return {**described, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        return jwt.encode(claims, self.key, self.algorithm, headers={"kid": self.kid, **headers})


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer() -> Signer:
    return Signer("key-1")


@pytest.fixture
def settings(jwks: Jwks) -> Settings:
    return settings_with(supabase_url=jwks.url, supabase_jwt_secret=JWT_SECRET)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@pytest.fixture
def authenticator(
    settings: Settings, http: httpx.AsyncClient, jwks: Jwks, signer: Signer, clock: Clock
) -> Authenticator:
    jwks.keys = [signer.jwk]
    return Authenticator(settings, http, clock=clock)


@pytest.fixture
def claims(settings: Settings, clock: Clock) -> dict[str, Any]:
    return {
        "sub": str(USER),
        "aud": "authenticated",
        "role": "authenticated",
        "iss": settings.issuer,
        "iat": int(clock.now) - 5,
        "exp": int(clock.now) + 3600,
        "session_id": "5e55",
    }


async def outcome(authenticator: Authenticator, token: str) -> Principal:
    return await authenticator.principal(f"Bearer {token}", "192.0.2.9")


async def refusal(authenticator: Authenticator, authorization: str) -> ProblemError:
    with pytest.raises(ProblemError) as refused:
        await authenticator.principal(authorization, "192.0.2.9")
    assert refused.value.problem().status == 401
    return refused.value


async def test_without_a_header_the_caller_is_anonymous(authenticator: Authenticator) -> None:
    principal = await authenticator.principal(None, "192.0.2.9")
    assert principal == Principal(None, "192.0.2.9")


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_a_token_signed_by_a_key_of_the_project(
    authenticator: Authenticator, claims: dict[str, Any], jwks: Jwks, algorithm: str
) -> None:
    other = Signer("key-2", algorithm)
    jwks.keys.append(other.jwk)
    principal = await outcome(authenticator, other.sign(claims))
    assert principal.user_id == USER


async def test_the_legacy_secret(authenticator: Authenticator, claims: dict[str, Any], jwks: Jwks) -> None:
    principal = await outcome(
        authenticator, jwt.encode({**claims, "is_anonymous": True}, JWT_SECRET, "HS256")
    )
    assert principal.user_id == USER
    assert jwks.asked == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"aud": "anon"}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": "https://evil.supabase.co/auth/v1"}, "another project"),
        ({"role": "service_role"}, "role of a user"),
        ({"role": "anon"}, "role of a user"),
        ({"role": None}, "role of a user"),
        ({"sub": "root"}, "not a user id"),
        ({"sub": None}, "sub"),
        ({"exp": None}, "exp"),
        ({"nbf": 4_000_000_000}, "not valid"),
    ],
)
async def test_claims_that_do_not_make_a_user(
    authenticator: Authenticator, claims: dict[str, Any], signer: Signer, change: dict[str, Any], said: str
) -> None:
    changed = {name: value for name, value in {**claims, **change}.items() if value is not None}
    for token in (signer.sign(changed), jwt.encode(changed, JWT_SECRET, "HS256")):
        refused = await refusal(authenticator, f"Bearer {token}")
        assert refused.code is invalid_token
        assert said in refused.detail


async def test_a_missing_issuer_is_accepted_from_the_secret_in_development_only(
    claims: dict[str, Any], signer: Signer, jwks: Jwks, http: httpx.AsyncClient
) -> None:
    del claims["iss"]
    jwks.keys = [signer.jwk]
    symmetric = jwt.encode(claims, JWT_SECRET, "HS256")
    development = Authenticator(settings_with(supabase_url=jwks.url, supabase_jwt_secret=JWT_SECRET), http)
    assert (await outcome(development, symmetric)).user_id == USER
    assert "'iss'" in (await refusal(development, f"Bearer {signer.sign(claims)}")).detail
    strict = settings_with(
        environment="production", supabase_url="https://abcdefgh.supabase.co", supabase_jwt_secret=JWT_SECRET
    )
    assert "'iss'" in (await refusal(Authenticator(strict, http), f"Bearer {symmetric}")).detail


@pytest.mark.parametrize("claim", ["iat", "nbf"])
async def test_the_clock_of_auth_may_be_ahead(
    authenticator: Authenticator, signer: Signer, claims: dict[str, Any], clock: Clock, claim: str
) -> None:
    assert (await outcome(authenticator, signer.sign({**claims, claim: clock.now + 25}))).user_id == USER
    early = signer.sign({**claims, claim: clock.now + 60})
    assert (await refusal(authenticator, f"Bearer {early}")).code is invalid_token


async def test_an_expired_token_says_so(
    authenticator: Authenticator, claims: dict[str, Any], signer: Signer, clock: Clock
) -> None:
    token = signer.sign(claims)
    assert (await outcome(authenticator, token)).user_id == USER
    clock.now = claims["exp"] + 1
    for _ in range(2):  # once from the cache of verified tokens, once from the token itself
        refused = await refusal(authenticator, f"Bearer {token}")
        assert refused.code is expired_token
        assert "WWW-Authenticate" in refused.headers


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    return b".".join([*parts, b""]).decode()


def confused(claims: dict[str, Any], signer: Signer) -> str:
    """A token signed by HMAC with the public key as its secret: the classic algorithm confusion."""
    public = signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    message = unsigned(claims, {"alg": "HS256", "typ": "JWT", "kid": signer.kid}).rstrip(".")
    mac = hmac.new(public, message.encode(), hashlib.sha256).digest()
    return f"{message}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


async def test_forgeries(
    authenticator: Authenticator, claims: dict[str, Any], signer: Signer, jwks: Jwks
) -> None:
    stranger, rsa_key = Signer("key-1"), Signer("key-1", "RS256")
    jwks.keys.append(
        {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(b"0" * 32).decode(), "alg": "HS256"}
    )
    good = signer.sign(claims)
    forged = {
        "none": unsigned(claims, {"alg": "none", "typ": "JWT"}),
        "none with kid": unsigned(claims, {"alg": "none", "kid": "key-1"}),
        "confusion": confused(claims, signer),
        "another key under our kid": stranger.sign(claims),
        "another algorithm under our kid": rsa_key.sign(claims),
        "wrong secret": jwt.encode(claims, "x" * 48, "HS256"),
        "symmetric key of the public set": jwt.encode(claims, b"0" * 32, "HS256", headers={"kid": "oct"}),
        "HS512": jwt.encode(claims, JWT_SECRET * 2, "HS512"),
        "unknown kid": Signer("key-9").sign(claims),
        "changed payload": ".".join(
            [
                good.split(".")[0],
                confused({**claims, "sub": str(uuid.uuid4())}, signer).split(".")[1],
                good.split(".")[2],
            ]
        ),
        "cut": good[:-3],
    }
    for name, token in forged.items():
        refused = await refusal(authenticator, f"Bearer {token}")
        assert refused.code is invalid_token, name


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer  ",
        "Basic dXNlcjpwYXNz",
        "Bearer a b",
        "Bearer not-a-jwt",
        "Bearer a.b.c",
        "Bearer é.é.é",
        "Bearer " + "a" * 20_000,
        f"Bearer {SECRET}",
        f"Bearer {PUBLISHABLE}",
    ],
)
async def test_malformed_headers(authenticator: Authenticator, authorization: str) -> None:
    refused = await refusal(authenticator, authorization)
    assert refused.code is invalid_token
    assert SECRET not in refused.detail


async def test_hs256_needs_the_configured_secret(
    jwks: Jwks, http: httpx.AsyncClient, claims: dict[str, Any]
) -> None:
    authenticator = Authenticator(settings_with(supabase_url=jwks.url), http)
    refused = await refusal(authenticator, f"Bearer {jwt.encode(claims, JWT_SECRET, 'HS256')}")
    assert "HS256" in refused.detail


async def test_a_verified_token_is_not_verified_again(
    authenticator: Authenticator, claims: dict[str, Any], signer: Signer, jwks: Jwks
) -> None:
    token = signer.sign(claims)
    first = await outcome(authenticator, token)
    jwks.keys, jwks.status = [], 500
    assert await outcome(authenticator, token) == first
    assert jwks.asked == 1


class TestKeys:
    @pytest.mark.parametrize("answer", NOT_HTTP.values(), ids=NOT_HTTP.keys())
    async def test_an_auth_that_speaks_no_http_is_away(
        self, claims: dict[str, Any], signer: Signer, answer: bytes
    ) -> None:
        async with saying(answer) as url, HttpxAiohttpClient(timeout=5) as http:
            authenticator = Authenticator(settings_with(supabase_url=url), http)
            with pytest.raises(DependencyError):
                await outcome(authenticator, signer.sign(claims))

    @pytest.mark.parametrize("document", ["[]", '{"message": "moved"}', '{"keys": null}', '{"keys": 5}'])
    async def test_a_document_without_keys_does_not_replace_them(
        self,
        *,
        authenticator: Authenticator,
        claims: dict[str, Any],
        signer: Signer,
        jwks: Jwks,
        clock: Clock,
        document: str,
    ) -> None:
        """Else everybody is signed out for as long as keys are remembered."""
        await outcome(authenticator, signer.sign(claims))
        clock.now += JWKS_SECONDS + 1
        jwks.document = document
        with capture_logs() as logs:
            await outcome(authenticator, signer.sign(claims | {"session_id": "another"}))
        assert jwks.asked == 2
        assert [line["event"] for line in logs] == ["jwks_malformed"]

    async def test_an_unknown_kid_refetches_at_most_every_ten_seconds(
        self, authenticator: Authenticator, claims: dict[str, Any], signer: Signer, jwks: Jwks, clock: Clock
    ) -> None:
        await outcome(authenticator, signer.sign(claims))
        rotated = Signer("key-2")
        jwks.keys = [rotated.jwk]
        for _ in range(5):
            await refusal(authenticator, f"Bearer {rotated.sign(claims)}")
        assert jwks.asked == 1
        clock.now += 11
        assert (await outcome(authenticator, rotated.sign(claims))).user_id == USER
        assert jwks.asked == 2

    async def test_many_requests_at_once_fetch_once(
        self, authenticator: Authenticator, claims: dict[str, Any], signer: Signer, jwks: Jwks
    ) -> None:
        tokens = [signer.sign({**claims, "session_id": str(number)}) for number in range(20)]
        principals = await asyncio.gather(*(outcome(authenticator, token) for token in tokens))
        assert {principal.user_id for principal in principals} == {USER}
        assert jwks.asked == 1

    async def test_known_keys_outlive_an_outage_and_unknown_ones_say_that_auth_is_away(
        self, authenticator: Authenticator, claims: dict[str, Any], signer: Signer, jwks: Jwks, clock: Clock
    ) -> None:
        jwks.status = 503
        with capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(DependencyError):
                    await outcome(authenticator, signer.sign(claims))
        assert jwks.asked == 1
        assert [(line["event"], line["operation"]) for line in logs] == [("dependency_unavailable", "jwks")]
        clock.now += 11
        jwks.status = 200
        assert (await outcome(authenticator, signer.sign(claims))).user_id == USER
        jwks.status = 503
        clock.now += 1000
        fresh = signer.sign({**claims, "session_id": "later"})
        assert (await outcome(authenticator, fresh)).user_id == USER

    async def test_a_document_that_is_no_key_set(
        self, authenticator: Authenticator, claims: dict[str, Any], signer: Signer, jwks: Jwks
    ) -> None:
        jwks.keys = ["nonsense", {"kty": "EC", "kid": "key-1"}, {"kty": "EC", "kid": 7}]  # type: ignore[list-item]
        assert (await refusal(authenticator, f"Bearer {signer.sign(claims)}")).code is invalid_token


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, ["203.0.113.7"], "192.0.2.9"),
        (1, [], "192.0.2.9"),
        (1, ["203.0.113.7"], "203.0.113.7"),
        (1, ["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
        (1, ["6.6.6.6", "203.0.113.7"], "203.0.113.7"),
        (2, ["6.6.6.6, 203.0.113.7, 10.0.0.1"], "203.0.113.7"),
        # Fewer entries than the proxies append: it has not come through all of them, anybody may have written it.
        (2, ["203.0.113.7"], "192.0.2.9"),
        (3, ["6.6.6.6", "203.0.113.7"], "192.0.2.9"),
        (1, ["6.6.6.6, not-an-address"], "192.0.2.9"),
        (1, ["2001:DB8::1"], "2001:db8::1"),
    ],
)
def test_only_trusted_proxies_name_the_client(hops: int, forwarded: list[str], expected: str) -> None:
    assert client_ip("192.0.2.9", forwarded, hops) == expected


def test_behind_flys_proxy_the_caller_is_the_client() -> None:
    """Fly appends two entries: whom its edge heard from, and the address of the app that was called."""
    hops = int(tomllib.loads((REPOSITORY / "fly.toml").read_text())["env"]["DARKROOM_TRUSTED_HOPS"])
    forwarded = ["6.6.6.6, 203.0.113.7, 66.241.124.230"]
    assert client_ip("172.16.0.9", forwarded, hops) == "203.0.113.7"


async def test_a_session_of_the_stack(local: Local, user: User, http: httpx.AsyncClient) -> None:
    authenticator = Authenticator(settings_for(local), http)
    principal = await outcome(authenticator, user.token)
    assert principal.user_id == user.id
