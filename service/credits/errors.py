"""Error codes of credits."""

from service.platform.errors import Code

insufficient_credits = Code(
    "insufficient_credits",
    402,
    "Not enough credits",
    "This needs 4 credits and the balance is 1.",
    facts={"price": 4, "balance": 1},
)
no_credit_account = Code(
    "no_credit_account", 404, "There is no such account", "This user has no credit account."
)
invalid_grant = Code(
    "invalid_grant", 422, "These credits cannot be given or taken", "A grant of an admin has a reason."
)
not_charged = Code("not_charged", 409, "This job has cost nothing", "There is nothing to give back.")
