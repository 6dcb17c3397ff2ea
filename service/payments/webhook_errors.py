"""Error codes of webhooks that come in."""

from service.platform.errors import Code

webhook_disabled = Code(
    "webhook_disabled",
    404,
    "The webhook is closed",
    "STRIPE_WEBHOOK_SECRET is unset: no event can be verified.",
)
bad_signature = Code(
    "bad_signature", 400, "The signature is not valid", "Stripe-Signature is missing, or is not of this body."
)
stale_signature = Code(
    "stale_signature", 400, "The signature is too old", "It was made more than 300 seconds ago."
)
