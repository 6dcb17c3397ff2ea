"""Keys for our own cryptography, derived from the one secret of the deployment."""

import hashlib
import hmac

from pydantic import SecretStr


def derive(secret: SecretStr, purpose: str) -> bytes:
    """32 bytes for one purpose ("api-key", "quote", …): HMAC-SHA256 of its label under `DARKROOM_SECRET`.

    Different labels give independent keys, so that what one of them signs or hashes says nothing of another.
    """
    return hmac.digest(secret.get_secret_value().encode(), b"darkroom:" + purpose.encode(), hashlib.sha256)
