"""Addresses as they are counted by: keyed hashes, from which without DARKROOM_SECRET no address can be found again."""

import hashlib
import hmac

from pydantic import SecretStr

from service.platform.gcra import networks
from service.platform.secrets import derive


def pseudonym(secret: SecretStr, ip: str) -> str:
    """32 hex digits for an address: 16 for the /24 or /48 that it lies in, then 16 for the subscriber.

    All subscribers of one network share the first half, so that the database can count by both.
    """
    key = derive(secret, "address")
    return "".join(
        hmac.digest(key, part.encode(), hashlib.sha256).hex()[:16] for part in reversed(networks(ip))
    )
