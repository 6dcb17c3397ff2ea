"""Quotes: what an op would cost now, signed, and held to for ten minutes.

A quote is a JWT of ours, bound to its caller and op_key. It names both prices, of the work and of a hit: which of them
is due is only known when the intake is decided, and neither may change meanwhile.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import jwt
from pydantic import SecretStr

from service.plans.errors import invalid_quote, quote_expired
from service.plans.tariff import Price
from service.platform.errors import ProblemError
from service.platform.secrets import derive

QUOTE_SECONDS = 600
ALGORITHM = "HS256"
AUDIENCE = "darkroom:quote"


@dataclass(frozen=True, slots=True)
class Quote:
    """A signed quote and when it ends."""

    quote_id: str
    expires_at: datetime


def sign(secret: SecretStr, user_id: UUID | None, op_key: str, price: Price) -> Quote:
    """`op_key` in canonical form."""
    expires = int(time.time()) + QUOTE_SECONDS
    claims = {
        "aud": AUDIENCE,
        "exp": expires,
        "sub": _subject(user_id),
        "op_key": op_key,
        "price": price.job,
        "hit_price": price.hit,
    }
    token = jwt.encode(claims, derive(secret, "quote"), algorithm=ALGORITHM)
    return Quote(token, datetime.fromtimestamp(expires, UTC))


def quoted_price(secret: SecretStr, quote_id: str, user_id: UUID | None, op_key: str) -> Price:
    """The prices of a quote. Raises ProblemError: quote_expired, or invalid_quote for one that is not of ours, of this
    caller, or for this op."""
    try:
        claims = jwt.decode(
            quote_id,
            derive(secret, "quote"),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            options={"require": ["exp", "sub", "op_key", "price", "hit_price"]},
        )
    except jwt.ExpiredSignatureError:
        raise ProblemError(quote_expired, "This quote has ended: ask for a new one.") from None
    except jwt.PyJWTError:
        raise ProblemError(invalid_quote, "quote_id is not a quote of this service.") from None
    if claims["sub"] != _subject(user_id):
        raise ProblemError(invalid_quote, "This quote was given to another caller.")
    if claims["op_key"] != op_key:
        raise ProblemError(invalid_quote, f"This quote is for {claims['op_key']}.")
    return Price(int(claims["price"]), int(claims["hit_price"]))


def _subject(user_id: UUID | None) -> str:
    return "visitor" if user_id is None else str(user_id)
