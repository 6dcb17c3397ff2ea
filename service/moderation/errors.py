"""Error codes of blocked, infected and reviewed pictures."""

from service.platform.errors import Code

refused = Code("refused", 403, "This picture is not accepted", "This picture is not accepted here.")
infected = Code(
    "infected", 422, "The file carries malware", "The virus scanner found Win.Test.EICAR_HDB-1 in this file."
)
in_review = Code(
    "in_review",
    409,
    "The picture is in review",
    "An operator has yet to approve this picture: until then it cannot be shared or moved to a team.",
)
hash_not_blocked = Code(
    "hash_not_blocked", 404, "This hash is not blocked", "GET /admin/api/blocked lists them."
)
