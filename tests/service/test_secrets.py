"""Derived keys: one per purpose, the same in every process, none without the secret."""

from pydantic import SecretStr

from service.platform.secrets import derive

ONE, OTHER = SecretStr("1" * 32), SecretStr("2" * 32)


def test_a_key_is_the_same_everywhere_and_its_own_for_each_purpose_and_secret() -> None:
    # Known answer: a change of the derivation would end every API key in use.
    assert derive(ONE, "api-key").hex() == "8fac28b707e9ead00e589743bb46b2c80a0e241d69f23890cfca221f62f2ee8f"
    keys = {derive(secret, purpose) for secret in (ONE, OTHER) for purpose in ("api-key", "quote")}
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)
