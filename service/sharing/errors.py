"""Error codes of share links."""

from uuid import UUID

from service.platform.errors import Code, ProblemError

share_not_found = Code(
    "share_not_found", 404, "There is no such link", "No picture is shared under this link."
)
share_expired = Code("share_expired", 410, "The link has expired", "Ask whoever shared it for a new one.")
share_revoked = Code("share_revoked", 410, "The link was revoked", "Its owner has taken it back.")
share_used_up = Code(
    "share_used_up", 410, "The link is used up", "It was opened as often as its owner allowed."
)
range_not_satisfiable = Code(
    "range_not_satisfiable", 416, "The range is not in the picture", "The picture has 51234 bytes."
)
too_many_shares = Code(
    "too_many_shares", 409, "Too many links", "This picture has 100 links already; revoke one first."
)
password_required = Code(
    "password_required", 401, "This link needs a password", "Post the form field `password` to this address."
)
wrong_password = Code("wrong_password", 403, "The password is wrong", "Check it and try again.")
share_locked = Code(
    "share_locked",
    429,
    "Too many wrong passwords",
    "This link takes passwords again in 36 min; whoever sent it can send a new one.",
    retryable=True,
)


def no_such_share(share_id: UUID) -> ProblemError:
    """For one that does not exist and for one of somebody else: the two cannot be told apart."""
    return ProblemError(share_not_found, f"No link of yours has the id {share_id}.")
