"""Error codes of deletions and exports of all data of a user."""

from service.platform.errors import Code

request_not_found = Code(
    "request_not_found",
    404,
    "There is no such request",
    "No request of yours has this id; it may have expired.",
)
