"""Settings: the only reader of the environment.

`get_settings()` gives one frozen object per process. Values come, first match wins, from arguments (tests),
the environment, a `.env` file in the working directory, and — in development only, when nobody names a
Supabase project — the `local.json` that the embedded stack writes to `$DARKROOM_HOME`. In production the
settings refuse placeholders, well-known development keys and plain HTTP, so that a half-configured deployment
does not start.
"""

import base64
import binascii
import json
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from service.ops.weights import WEIGHTS
from service.platform.protections import Protections

PLACEHOLDER = re.compile(
    r"^$|^<.*>$|your[-_ ]|change[-_ ]?me|replace[-_ ]?me|placeholder|example|\bx{3,}\b|\btodo\b|\.\.\.",
    re.IGNORECASE,
)
# Keys printed in public documentation or by `supabase start`: fine on a laptop, an open door anywhere else.
WELL_KNOWN_SECRETS = frozenset(
    {
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
    }
)
WELL_KNOWN_ISSUER = "supabase-demo"
MIN_SECRET_CHARACTERS = 32
SANDBOX_EVERYWHERE = ("secrets", "network", "processes", "privileges")
"""Protections that every Linux since 3.17 can give; reads and writes need Landlock."""
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class OwnWeights:
    """An operator's own ONNX file in place of a model's weights. sha256: hex."""

    path: Path
    sha256: str


def _own_weights(text: str) -> re.Match[str]:
    match = re.fullmatch(r"(?P<name>[^=]+)=(?P<path>/.+)@(?P<sha256>[0-9a-f]{64})", text)
    if match is None:
        raise ValueError("write name=/path/to/model.onnx@ and the sha256 of the file in hex")
    return match


class SettingsError(RuntimeError):
    """The configuration is missing something or is unsafe; the message names each variable and what to do."""


class Settings(BaseSettings):
    """Everything that differs between one deployment and another. Units are in the names."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="DARKROOM_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    environment: Literal["development", "production"] = Field(
        "development", description="production turns on the refusals, JSON logs and closed CORS"
    )

    # The Supabase project and Redis: the names that Supabase's own tools print, without prefix.
    supabase_url: str = Field(
        validation_alias="SUPABASE_URL", description="https://<ref>.supabase.co, or the local gateway"
    )
    supabase_publishable_key: str = Field(
        validation_alias="SUPABASE_PUBLISHABLE_KEY",
        description="sb_publishable_… or the legacy anon key; public",
    )
    supabase_secret_key: SecretStr = Field(
        validation_alias="SUPABASE_SECRET_KEY", description="sb_secret_… or the legacy service_role key"
    )
    supabase_jwt_secret: SecretStr | None = Field(
        None,
        validation_alias="SUPABASE_JWT_SECRET",
        description="legacy HS256 secret; unset where the project signs by JWKS",
    )
    redis_url: str = Field(validation_alias="REDIS_URL", repr=False, description="redis:// or rediss://")
    secret: SecretStr = Field(
        validation_alias="DARKROOM_SECRET",
        min_length=MIN_SECRET_CHARACTERS,
        description="ours alone: quotes are signed and API keys hashed under keys derived from it; the same for "
        "all processes, and changing it ends every API key",
    )

    jwt_issuer: str | None = Field(
        None, description="`iss` of user tokens, when it is not SUPABASE_URL/auth/v1 (custom domains)"
    )
    home: Path = Field(CHECKOUT / ".darkroom", description="state of the embedded stack (development)")

    # What is accepted, and for how long it is kept.
    max_bytes: int = Field(50 * 1024 * 1024, ge=1, description="largest upload, bytes")
    max_side: int = Field(8192, ge=1, description="longest side of an input, pixels")
    max_pixels: int = Field(50_000_000, ge=1, description="width x height of an input, pixels")
    accept_svg: bool = Field(True, description="take SVG drawings, sanitised before anything else is done")
    upload_ttl_hours: int = Field(24, ge=24, le=72, description="life of an upload")
    await_upload_seconds: int = Field(
        7200, ge=60, le=86_400, description="how long a new job waits for its upload, seconds"
    )
    output_ttl_hours: int = Field(24, ge=24, le=72, description="life of an output nobody asked to keep")
    kept_ttl_days: int = Field(7, ge=1, le=30, description="life of an output the user asked to keep")
    export_max_bytes: int = Field(
        2 * 1024**3,
        ge=1024,
        le=5 * 1024**3,
        description="pictures in one export of a user's data, bytes; its file may have 64 MiB more",
    )
    export_ttl_days: int = Field(7, ge=1, le=30, description="life of an export's file")
    over_quota_days: int = Field(
        90,
        ge=1,
        le=3650,
        description="how long a library that is larger than its plan is promised to be kept",
    )
    jobs_days: int = Field(
        90,
        ge=30,
        le=3650,
        description="how long an ended job is kept; after that its id is unknown, and its output needs it no more",
    )
    job_events_days: int = Field(
        30,
        ge=7,
        le=3650,
        description="how long the transitions of an ended job are kept, at most as long as it",
    )
    receipt_ttl_days: int = Field(365, ge=30, le=3650, description="life of the receipt of a data deletion")
    signed_url_seconds: int = Field(900, ge=10, le=900, description="life of a signed download URL")

    # Workers.
    queue: str = Field(
        "default",
        pattern=r"^[a-z0-9_-]{1,40}$",
        description="queue that this worker serves and the API rings",
    )
    lease_seconds: int = Field(30, ge=1, le=600, description="a worker silent for this long loses its job")
    worker_slots: int = Field(2, ge=1, le=64, description="jobs at once in one worker process")
    pixel_memory_mb: int = Field(2048, ge=128, description="address space of one pixel process, MiB")
    pixel_seconds: float = Field(
        60, gt=0, description="wall time of one picture before its process is killed"
    )
    model_slots: int = Field(
        1, ge=1, le=64, description="pictures that go through a model at once in one worker process"
    )
    model_memory_mb: int = Field(
        2048, ge=512, description="address space of one pixel process that runs a model, MiB"
    )
    model_seconds: float = Field(
        600,
        gt=0,
        description="wall time of one picture that goes through a model before its process is killed",
    )
    models_dir: Path = Field(
        Path(sys.prefix) / "share" / "darkroom" / "models",
        description="where `scripts/models` has put the weights of the models (docs/models.md)",
    )
    own_weights: Annotated[dict[str, OwnWeights], NoDecode] = Field(
        {},
        description="your own weights instead of a model's: comma-separated `name=path@sha256` (docs/models.md)",
    )
    pixel_sandbox: Annotated[tuple[str, ...], NoDecode] | None = Field(
        None,
        description="comma-separated protections (docs/safety.md) without which a worker does not start, or none; "
        "default in production secrets,network,processes,privileges",
    )
    temp_dir: Path | None = Field(
        None,
        description="parent of all temporary files, this user's alone; default darkroom-<uid> in the system's "
        "temporary directory",
    )
    sweep_seconds: int = Field(1, ge=1, le=60, description="interval of the delivery sweep")
    drain_seconds: int = Field(25, ge=1, le=600, description="what a stopping worker gives its jobs")
    cleanup_seconds: int = Field(180, ge=1, le=3600, description="interval of the TTL cleanup")
    byte_checks: int = Field(
        500,
        ge=0,
        le=100_000,
        description="outputs, and originals, whose bytes the reconciler looks for each hour",
    )

    # Moderation.
    moderation: Literal["auto", "required", "off"] = Field(
        "auto",
        description="whether every result and kept original is looked at by the model open-nsfw (docs/safety.md): auto "
        "where it is installed; required: without it jobs wait and then fail; off",
    )
    moderation_review: float = Field(
        0.4, ge=0, le=1, description="score from which on a picture waits for an operator's decision, 0 to 1"
    )
    moderation_refuse: float = Field(
        0.85, ge=0, le=1, description="score from which on a picture is refused, 0 to 1"
    )

    # Virus scan.
    clamd_url: str | None = Field(
        None, validation_alias="CLAMD_URL", description="tcp://host:port or unix:///path; off when unset"
    )
    scan: Literal["persisted", "all"] = Field("persisted", description="what is scanned before it is stored")
    scan_when_away: Literal["closed", "open"] = Field(
        "closed", description="without a verdict: try again later, or go on and flag the output as unscanned"
    )
    scan_seconds: float = Field(60, gt=0, description="wall time of one scan")
    scan_max_bytes: int = Field(
        100 * 1024 * 1024,
        ge=1,
        description="largest file sent to clamd, bytes; no more than its StreamMaxLength, and with `closed` no less "
        "than DARKROOM_MAX_BYTES",
    )

    # Billing.
    stripe_secret_key: SecretStr | None = Field(
        None,
        validation_alias="STRIPE_SECRET_KEY",
        description="sk_… or rk_…; billing is off when unset",
    )
    stripe_webhook_secret: SecretStr | None = Field(
        None,
        validation_alias="STRIPE_WEBHOOK_SECRET",
        description="whsec_…; the webhook is closed when unset",
    )
    stripe_api_base: str | None = Field(
        None,
        validation_alias="STRIPE_API_BASE",
        pattern=r"^https?://[^?#\s]+$",
        description="where Stripe's API is, when not at api.stripe.com (proxies, tests)",
    )
    billing_return_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s]+$",
        description="page that Checkout and the portal lead back to; default DARKROOM_PUBLIC_URL",
    )
    billing_return_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="comma-separated origins that a request may be led back to, beside that page's"
    )
    billing_grace_days: int = Field(
        7, ge=0, le=60, description="days that a plan goes on after a payment has failed"
    )
    billing_second_subscription: Literal["flag", "refund"] = Field(
        "flag",
        description="what the nightly reconciliation does about a customer's second subscription: log it, or refund "
        "its latest payment and cancel it",
    )

    # The HTTP face.
    cors_origins: Annotated[tuple[str, ...], NoDecode] | None = Field(
        None, description="comma-separated origins, or *; default * in development, none in production"
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#\s]+/?$",
        description="origin of this API in share links; without it they are paths",
    )
    trusted_hops: int = Field(
        0, ge=0, le=10, description="entries that the proxies in front append to X-Forwarded-For"
    )
    head_bytes: int = Field(
        32_768, ge=8192, le=1_048_576, description="request line and headers, and what frames a body, bytes"
    )
    head_seconds: float = Field(10, gt=0, description="time for a request's line and headers to be complete")
    body_seconds: float = Field(30, gt=0, description="time for a whole request to be complete")
    write_seconds: float = Field(
        30, gt=0, description="time that a client may leave unread what the API has sent"
    )
    max_connections: int = Field(
        2000, ge=1, description="open connections of one API process; fewer where it may open fewer files"
    )
    connections_per_ip: int = Field(
        200, ge=1, description="open connections of one address, where no proxy stands in front"
    )
    idempotency_lease_seconds: float = Field(
        10,
        gt=0,
        le=600,
        description="a call with an Idempotency-Key that is silent for this long may be taken over",
    )
    rate_per_ip_minute: int = Field(100, ge=1, description="requests a minute from one address")
    rate_per_user_hour: int = Field(1000, ge=1, description="requests an hour from one user")
    key_guesses_per_minute: int = Field(
        20, ge=1, description="API keys that one address may get wrong in a minute"
    )
    streams_per_visitor: int = Field(
        20, ge=1, description="event streams that one address may hold in one process without signing in"
    )
    streams_per_user: int = Field(
        100, ge=1, description="event streams that one user may hold in one process, API keys included"
    )
    streams_per_key: int = Field(
        50, ge=1, description="event streams that one API key may hold in one process"
    )
    streams_per_process: int = Field(1000, ge=1, description="event streams in one API process")
    shed_anonymous_depth: int = Field(
        200, ge=0, description="jobs waiting, from which on visitors get no new ones"
    )
    shed_free_depth: int = Field(
        500, ge=0, description="jobs waiting, from which on users of free plans get no new ones"
    )
    shed_hard_depth: int = Field(5000, ge=1, description="jobs waiting, from which on nobody gets new ones")
    paid_priority: int = Field(5, ge=0, description="plans from this priority on count as paid")

    # Telemetry.
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lines below this are not logged"
    )
    sentry_dsn: SecretStr | None = Field(
        None, validation_alias="SENTRY_DSN", description="where errors are reported; nowhere when unset"
    )
    prometheus_multiproc_dir: Path | None = Field(
        None,
        validation_alias="PROMETHEUS_MULTIPROC_DIR",
        description="shared by several API processes on one machine",
    )
    sample_account: SecretStr | None = Field(
        None,
        description="address:password of the local stack's sample account, which the playground then offers to "
        "everybody; refused in production",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="where `darkroom api` and `darkroom worker` serve /metrics, on all addresses, for a private "
        "network; none by default",
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="bearer token for the API's own GET /metrics, which is closed without",
    )
    release: str = Field("dev", description="what Sentry and the admin page call this build")

    @property
    def production(self) -> bool:
        return self.environment == "production"

    @property
    def issuer(self) -> str:
        """`iss` that a user's token must carry."""
        return self.jwt_issuer or f"{self.supabase_url}/auth/v1"

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        if self.cors_origins is not None:
            return self.cors_origins
        return () if self.production else ("*",)

    @property
    def demanded_protections(self) -> tuple[str, ...]:
        """What must hold of pixel children for a worker to start."""
        if self.pixel_sandbox is not None:
            return self.pixel_sandbox
        return SANDBOX_EVERYWHERE if self.production else ()

    @property
    def service_headers(self) -> dict[str, str]:
        """Headers of the service's own calls: new keys go in `apikey` alone, legacy JWTs in both places."""
        key = self.supabase_secret_key.get_secret_value()
        headers = {"apikey": key}
        if not key.startswith("sb_"):
            headers["Authorization"] = f"Bearer {key}"
        return headers

    @property
    def billing(self) -> bool:
        """Whether plans and credits can be bought here."""
        return self.stripe_secret_key is not None

    @property
    def return_url(self) -> str | None:
        """Where Checkout and the portal lead back to; never None while billing is on."""
        return self.billing_return_url or self.public_url

    @field_validator("cors_origins", "billing_return_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("own_weights", mode="before")
    @classmethod
    def _parse_own_weights(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return {
            match["name"]: OwnWeights(Path(match["path"]), match["sha256"])
            for match in map(_own_weights, filter(None, map(str.strip, value.split(","))))
        }

    @field_validator("own_weights", mode="after")
    @classmethod
    def _known_models(cls, value: dict[str, OwnWeights]) -> dict[str, OwnWeights]:
        replaceable = [weights.name for weights in WEIGHTS if len(weights.files) == 1]
        if unknown := sorted(set(value) - set(replaceable)):
            raise ValueError(f"{unknown[0]} is not one of {', '.join(replaceable)}")
        return value

    @field_validator("pixel_sandbox", mode="before")
    @classmethod
    def _split_protections(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        return () if names == ("none",) else names

    @field_validator("pixel_sandbox", mode="after")
    @classmethod
    def _known_protections(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        known = Protections.model_fields
        if unknown := sorted(set(value or ()) - set(known)):
            raise ValueError(f"{unknown[0]} is not one of {', '.join(known)}")
        return value

    @field_validator("supabase_url", mode="after")
    @classmethod
    def _origin_only(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http(s) origin such as https://<ref>.supabase.co")
        return value.rstrip("/")

    @field_validator("clamd_url", mode="after")
    @classmethod
    def _clamd_scheme(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "unix:///")
        try:
            complete = parts.port is not None and bool(parts.hostname)
        except ValueError:
            complete = False
        if not (parts.scheme == "unix" and parts.path) and not (parts.scheme == "tcp" and complete):
            raise ValueError("must be tcp://host:port or unix:///path")
        return value

    @field_validator("redis_url", mode="after")
    @classmethod
    def _redis_scheme(cls, value: str) -> str:
        if urlsplit(value).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value

    @model_validator(mode="after")
    def _ordered_scores(self) -> Self:
        if self.moderation_review > self.moderation_refuse:
            raise ValueError("DARKROOM_MODERATION_REVIEW must not be above DARKROOM_MODERATION_REFUSE")
        return self

    @model_validator(mode="after")
    def _scannable_uploads(self) -> Self:
        """Refuse to accept an upload that would then fail, since the scanner is not given it."""
        closed = self.clamd_url is not None and self.scan_when_away == "closed"
        if closed and self.scan_max_bytes < self.max_bytes:
            raise ValueError("DARKROOM_SCAN_MAX_BYTES must not be below DARKROOM_MAX_BYTES")
        return self

    @model_validator(mode="after")
    def _refuse_swapped_keys(self) -> Self:
        """Refuse a secret where a public key belongs: /config.json would publish it."""
        secret, public = self.supabase_secret_key.get_secret_value(), self.supabase_publishable_key
        if secret.startswith("sb_publishable_") or _jwt_claims(secret).get("role") == "anon":
            raise ValueError(
                "SUPABASE_SECRET_KEY holds the publishable key; the service needs the secret one"
            )
        if (
            public.startswith("sb_secret_")
            or _jwt_claims(public).get("role") == "service_role"
            or public == secret
        ):
            raise ValueError(
                "SUPABASE_PUBLISHABLE_KEY holds a secret key, which would be published to browsers"
            )
        return self

    @model_validator(mode="after")
    def _billing_leads_back(self) -> Self:
        if self.billing and self.return_url is None:
            raise ValueError("DARKROOM_BILLING_RETURN_URL is needed with STRIPE_SECRET_KEY")
        return self

    @model_validator(mode="after")
    def _refuse_unsafe_production(self) -> Self:
        if self.production and (found := list(_unsafe(self))):
            raise ValueError("; ".join(found))
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, dotenv_settings, _LocalStack(settings_cls))


class _LocalStack(PydanticBaseSettingsSource):
    """`local.json` of the embedded stack: used whole or not at all, and never beside a named project."""

    NAMES: ClassVar = {
        "supabase_url": "SUPABASE_URL",
        "publishable_key": "SUPABASE_PUBLISHABLE_KEY",
        "secret_key": "SUPABASE_SECRET_KEY",
        "jwt_secret": "SUPABASE_JWT_SECRET",
        "redis_url": "REDIS_URL",
        "darkroom_secret": "DARKROOM_SECRET",
    }

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # this source answers as a whole, in __call__

    def __call__(self) -> dict[str, Any]:
        state = self.current_state
        named = any(name in state for name in ("SUPABASE_URL", "supabase_url"))
        if named or state.get("environment", "development") != "development":
            return {}
        home = Path(state.get("home") or CHECKOUT / ".darkroom")
        try:
            found = json.loads((home / "local.json").read_text())
        except (OSError, ValueError):
            return {}
        return {name: found[key] for key, name in self.NAMES.items() if found.get(key) and name not in state}


def _jwt_claims(key: str) -> dict[str, Any]:
    """Unverified claims of a legacy JWT key; empty for any other kind of key."""
    parts = key.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _unsafe(settings: Settings) -> list[str]:
    """Why these settings must not serve the public; one phrase each, naming the variable, never its value."""
    found = []
    secret = settings.supabase_secret_key.get_secret_value()
    for name, value in (
        ("SUPABASE_URL", settings.supabase_url),
        ("SUPABASE_PUBLISHABLE_KEY", settings.supabase_publishable_key),
        ("SUPABASE_SECRET_KEY", secret),
        ("REDIS_URL", settings.redis_url),
        ("DARKROOM_SECRET", settings.secret.get_secret_value()),
    ):
        if PLACEHOLDER.search(value):
            found.append(f"{name} still holds a placeholder")
    if not settings.supabase_url.startswith("https://"):
        found.append("SUPABASE_URL must use https in production")
    if settings.sample_account is not None:
        found.append("DARKROOM_SAMPLE_ACCOUNT is for the local stack alone: it is told to everybody")
    claims = _jwt_claims(secret)
    if secret.startswith("sb_secret_"):
        if len(secret) < MIN_SECRET_CHARACTERS:
            found.append(f"SUPABASE_SECRET_KEY is shorter than {MIN_SECRET_CHARACTERS} characters")
    elif claims.get("role") != "service_role":
        found.append("SUPABASE_SECRET_KEY is neither an sb_secret_ key nor a service_role key")
    elif claims.get("iss") == WELL_KNOWN_ISSUER:
        found.append("SUPABASE_SECRET_KEY is the public demo key of local Supabase")
    if settings.supabase_jwt_secret is not None:
        jwt_secret = settings.supabase_jwt_secret.get_secret_value()
        if jwt_secret in WELL_KNOWN_SECRETS or PLACEHOLDER.search(jwt_secret):
            found.append("SUPABASE_JWT_SECRET is a well-known development secret")
        elif len(jwt_secret) < MIN_SECRET_CHARACTERS:
            found.append(f"SUPABASE_JWT_SECRET is shorter than {MIN_SECRET_CHARACTERS} characters")
    return found + _unsafe_billing(settings)


def _unsafe_billing(settings: Settings) -> list[str]:
    found = []
    for name, value, prefixes in (
        ("STRIPE_SECRET_KEY", settings.stripe_secret_key, ("sk_", "rk_")),
        ("STRIPE_WEBHOOK_SECRET", settings.stripe_webhook_secret, ("whsec_",)),
    ):
        if value is None:
            continue
        if PLACEHOLDER.search(value.get_secret_value()):
            found.append(f"{name} still holds a placeholder")
        elif not value.get_secret_value().startswith(prefixes):
            found.append(f"{name} does not begin with {' or '.join(prefixes)}")
    if settings.stripe_api_base and not settings.stripe_api_base.startswith("https://"):
        found.append("STRIPE_API_BASE must use https in production")
    if settings.billing and not str(settings.return_url).startswith("https://"):
        found.append("DARKROOM_BILLING_RETURN_URL must use https in production")
    return found


def load_settings(**values: Any) -> Settings:
    """Build settings; a refusal is one message that names variables and never shows a value.

    Raises SettingsError.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = []
        for item in error.errors(include_input=False, include_url=False, include_context=False):
            name = str(item["loc"][0]) if item["loc"] else ""
            field = Settings.model_fields.get(name)
            if field is not None and field.validation_alias is None:
                name = f"DARKROOM_{name.upper()}"
            elif field is not None:
                name = str(field.validation_alias)
            reason = "is missing" if item["type"] == "missing" else item["msg"].removeprefix("Value error, ")
            lines.append(f"  {name} {reason}".rstrip() if name else f"  {reason}")
        hint = "Set them in the environment or .env, or start the embedded stack with ./scripts/run."
        raise SettingsError("\n".join(["Darkroom cannot start with these settings:", *lines, hint])) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Settings of this process, read once. Raises SettingsError."""
    return load_settings()
