"""Callers' addresses: behind proxies, by the networks they are counted by, and as keyed hashes."""

import hashlib
import hmac
import ipaddress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from pydantic import SecretStr
from starlette.requests import Request

from service.platform.secrets import derive


class Networks(NamedTuple):
    """The two sizes by which a caller's address is counted.

    `subscriber`: an IPv4 address, or the /64 that an IPv6 subscriber is given whole. `site`: the /24 or /48 around it,
    which one attacker may own; it is also where many strangers live, so it is allowed SITE_FACTOR times as much.
    """

    subscriber: str
    site: str


@lru_cache(maxsize=10_000)
def networks(ip: str) -> Networks:
    """What an address is counted by; ("unknown", "unknown") for what is no address."""
    try:
        address: IPv4Address | IPv6Address = ip_address(ip)
    except ValueError:
        return Networks("unknown", "unknown")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv6Address):
        return Networks(_prefix(address, 64), _prefix(address, 48))
    return Networks(str(address), _prefix(address, 24))


def _prefix(address: IPv4Address | IPv6Address, bits: int) -> str:
    return str(ip_network((address.packed, bits), strict=False))


def address_of(request: Request, hops: int) -> str:
    """The address that a request came from, behind `hops` trusted proxies."""
    peer = request.client.host if request.client else ""
    return client_ip(peer, request.headers.getlist("x-forwarded-for"), hops) if hops else peer


def client_ip(peer: str, forwarded_for: list[str], hops: int) -> str:
    """The caller's address: the peer's, or the first of the `hops` entries that trusted proxies append.

    Entries to the left of it were written by the caller and prove nothing. A request with fewer entries has not come
    through all the proxies, so that whoever sent it may have written them: then, and where the entry is no address,
    only the peer's is certain.
    """
    chain = [entry.strip() for value in forwarded_for for entry in value.split(",")]
    if not hops or len(chain) < hops:
        return peer
    try:
        return str(ipaddress.ip_address(chain[-hops]))
    except ValueError:
        return peer


def pseudonym(secret: SecretStr, ip: str) -> str:
    """32 hex digits for an address: 16 for the /24 or /48 that it lies in, then 16 for the subscriber.

    All subscribers of one network share the first half, so that the database can count by both.
    """
    key = derive(secret, "address")
    return "".join(
        hmac.digest(key, part.encode(), hashlib.sha256).hex()[:16] for part in reversed(networks(ip))
    )
