"""The virus scanner of a deployment."""

from service.safety.clamd import Clamd
from service.settings import Settings


def scanner_of(settings: Settings) -> Clamd | None:
    """None where no scanner is configured. Holds no connection."""
    if settings.clamd_url is None:
        return None
    return Clamd(settings.clamd_url, max_bytes=settings.scan_max_bytes, seconds=settings.scan_seconds)
