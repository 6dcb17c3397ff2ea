"""Settings: where values come from, and what a deployment is refused for."""

import base64
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.platform.settings import SettingsError, load_settings
from tests.service.conftest import DARKROOM_SECRET, PUBLISHABLE, SECRET, settings_with


def legacy_key(**claims: str) -> str:
    parts = [{"alg": "HS256"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "signature"])


PAID = {
    "stripe_secret_key": "sk_live_0123456789",
    "stripe_webhook_secret": "whsec_0123456789",
    "billing_return_url": "https://app.darkroom.dev/billing",
}


def production(**values: object) -> None:
    settings_with(
        **{
            "environment": "production",
            "supabase_url": "https://abcdefgh.supabase.co",
            "redis_url": "rediss://cache.internal:6379",
            **values,
        }
    )


def test_a_complete_production_configuration_is_accepted() -> None:
    production()
    production(**PAID)
    production(
        supabase_secret_key=legacy_key(role="service_role", iss="supabase"), supabase_jwt_secret="k" * 40
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"supabase_url": "http://abcdefgh.supabase.co"}, "SUPABASE_URL must use https"),
        ({"supabase_url": "https://your-project.supabase.co"}, "SUPABASE_URL still holds a placeholder"),
        (
            {"supabase_publishable_key": "<publishable key>"},
            "SUPABASE_PUBLISHABLE_KEY still holds a placeholder",
        ),
        ({"redis_url": "redis://changeme:6379"}, "REDIS_URL still holds a placeholder"),
        ({"supabase_secret_key": "sb_secret_short"}, "SUPABASE_SECRET_KEY is shorter"),
        ({"supabase_secret_key": "a" * 40}, "SUPABASE_SECRET_KEY is neither"),
        ({"supabase_secret_key": legacy_key(role="authenticated")}, "SUPABASE_SECRET_KEY is neither"),
        ({"supabase_secret_key": legacy_key(role="service_role", iss="supabase-demo")}, "public demo key"),
        ({"supabase_jwt_secret": "super-secret-jwt-token-with-at-least-32-characters-long"}, "well-known"),
        ({"supabase_jwt_secret": "k" * 31}, "SUPABASE_JWT_SECRET is shorter"),
        ({"secret": "changeme-changeme-changeme-changeme"}, "DARKROOM_SECRET still holds a placeholder"),
        (PAID | {"stripe_secret_key": "pk_live_0123456789"}, "STRIPE_SECRET_KEY does not begin with sk_"),
        (PAID | {"stripe_secret_key": "sk_live_your-key"}, "STRIPE_SECRET_KEY still holds a placeholder"),
        (PAID | {"stripe_webhook_secret": "we_0123456789"}, "STRIPE_WEBHOOK_SECRET does not begin"),
        (PAID | {"stripe_api_base": "http://stripe.internal"}, "STRIPE_API_BASE must use https"),
        (
            {"sample_account": "sample@example.com:a-password"},
            "DARKROOM_SAMPLE_ACCOUNT is for the local stack",
        ),
        (PAID | {"billing_return_url": "http://app.darkroom.dev/"}, "RETURN_URL must use https"),
    ],
)
def test_production_refuses(values: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as refusal:
        production(**values)
    for value in values.values():
        assert value not in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"supabase_publishable_key": SECRET}, "published to browsers"),
        ({"supabase_publishable_key": legacy_key(role="service_role")}, "published to browsers"),
        ({"supabase_secret_key": PUBLISHABLE}, "holds the publishable key"),
        ({"supabase_secret_key": legacy_key(role="anon")}, "holds the publishable key"),
        ({"supabase_url": "ftp://somewhere"}, "must be an http"),
        ({"redis_url": "localhost:6379"}, "must start with redis"),
        ({"secret": "short"}, "DARKROOM_SECRET .*at least 32"),
    ],
)
def test_swapped_keys_and_bad_addresses_are_refused_everywhere(values: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        settings_with(**values)


def test_every_missing_variable_is_named_as_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_MAX_BYTES", "much")
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    lines = str(refusal.value).splitlines()
    for name in (
        "SUPABASE_URL",
        "SUPABASE_PUBLISHABLE_KEY",
        "SUPABASE_SECRET_KEY",
        "REDIS_URL",
        "DARKROOM_SECRET",
    ):
        assert f"  {name} is missing" in lines
    assert any(line.startswith("  DARKROOM_MAX_BYTES ") for line in lines)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "SUPABASE_URL": "https://abcdefgh.supabase.co/",
        "SUPABASE_PUBLISHABLE_KEY": PUBLISHABLE,
        "SUPABASE_SECRET_KEY": SECRET,
        "REDIS_URL": "redis://127.0.0.1:6379",
        "DARKROOM_SECRET": DARKROOM_SECRET,
        "DARKROOM_CORS_ORIGINS": "https://a.example, https://b.example/",
        "DARKROOM_LEASE_SECONDS": "7",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.supabase_url == "https://abcdefgh.supabase.co"
    assert settings.issuer == "https://abcdefgh.supabase.co/auth/v1"
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    assert settings.lease_seconds == 7


def test_settings_are_frozen_and_show_no_secret() -> None:
    settings = settings_with(redis_url="redis://:hunter2@cache:6379", supabase_jwt_secret="k" * 40)
    shown = f"{settings!r} {settings}"
    assert SECRET not in shown
    assert DARKROOM_SECRET not in shown
    assert "hunter2" not in shown
    assert "k" * 40 not in shown
    with pytest.raises(ValidationError):
        settings.max_bytes = 1  # type: ignore[misc]


def test_cors_is_open_in_development_and_closed_in_production() -> None:
    assert settings_with().allowed_origins == ("*",)
    closed = settings_with(environment="production", supabase_url="https://abcdefgh.supabase.co")
    assert closed.allowed_origins == ()


def test_new_keys_go_in_apikey_alone_and_legacy_keys_in_both_headers() -> None:
    assert settings_with().service_headers == {"apikey": SECRET}
    key = legacy_key(role="service_role")
    assert settings_with(supabase_secret_key=key).service_headers == {
        "apikey": key,
        "Authorization": f"Bearer {key}",
    }


class TestLocalStack:
    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        found = {
            "supabase_url": "http://127.0.0.1:54321",
            "publishable_key": PUBLISHABLE,
            "secret_key": SECRET,
            "jwt_secret": "k" * 40,
            "redis_url": "redis://127.0.0.1:6380",
            "darkroom_secret": DARKROOM_SECRET,
        }
        (tmp_path / "local.json").write_text(json.dumps(found))
        monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
        return tmp_path

    def test_is_used_when_no_project_is_named(self, home: Path) -> None:
        settings = load_settings()
        assert settings.supabase_url == "http://127.0.0.1:54321"
        assert settings.redis_url == "redis://127.0.0.1:6380"
        assert settings.supabase_jwt_secret is not None

    def test_is_never_mixed_with_a_named_project(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUPABASE_URL", "https://abcdefgh.supabase.co")
        with pytest.raises(SettingsError, match="SUPABASE_SECRET_KEY is missing"):
            load_settings()

    def test_is_ignored_in_production(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DARKROOM_ENVIRONMENT", "production")
        with pytest.raises(SettingsError, match="SUPABASE_URL is missing"):
            load_settings()

    def test_a_torn_file_counts_as_none(self, home: Path) -> None:
        (home / "local.json").write_text('{"supabase_url": ')
        with pytest.raises(SettingsError, match="SUPABASE_URL is missing"):
            load_settings()


@pytest.mark.parametrize("name", ["upload_ttl_hours", "output_ttl_hours"])
def test_what_is_ephemeral_lives_one_to_three_days(name: str) -> None:
    assert getattr(settings_with(), name) == 24
    assert getattr(settings_with(**{name: 72}), name) == 72
    for hours in (23, 73):
        with pytest.raises(SettingsError, match=name.upper()):
            settings_with(**{name: hours})


def test_the_scanner_must_take_the_largest_upload() -> None:
    """Where nothing is stored without a verdict: else an upload that was accepted fails as too large."""
    scanned = {"clamd_url": "tcp://127.0.0.1:3310", "max_bytes": 1000, "scan_max_bytes": 999}
    with pytest.raises(SettingsError, match=r"DARKROOM_SCAN_MAX_BYTES .* DARKROOM_MAX_BYTES"):
        settings_with(**scanned)
    for accepted in ({"scan_max_bytes": 1000}, {"scan_when_away": "open"}, {"clamd_url": None}):
        assert settings_with(**scanned | accepted).max_bytes == 1000
