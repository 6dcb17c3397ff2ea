"""How long results are kept that are in no library."""

from service.platform.errors import ProblemError, invalid_request
from service.platform.settings import Settings


def check_days(days: int, settings: Settings) -> None:
    """Raises ProblemError (invalid_request) for more than this service keeps results."""
    if days > settings.kept_ttl_days:
        raise ProblemError(
            invalid_request,
            f"keep_for_days: {days}; at most {settings.kept_ttl_days} days are kept here.",
        )
