"""Addresses as they are counted by: a keyed hash, from which without DARKROOM_SECRET no address can be found again."""

import hashlib
import hmac

from pydantic import SecretStr

from service.gcra import network
from service.secrets import derive


def pseudonym(secret: SecretStr, ip: str) -> str:
    """32 hex digits for an address, or for the network that its subscriber has whole."""
    return hmac.digest(derive(secret, "address"), network(ip).encode(), hashlib.sha256).hex()[:32]
