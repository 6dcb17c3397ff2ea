"""Error codes of payments and subscriptions."""

from service.platform.errors import Code

billing_disabled = Code(
    "billing_disabled",
    404,
    "Nothing is sold here",
    "This deployment has no payment provider: STRIPE_SECRET_KEY is unset.",
)
pack_not_found = Code("pack_not_found", 404, "There is no such pack", "GET /billing/packs lists them.")
not_for_sale = Code(
    "not_for_sale", 409, "This cannot be bought", "The plan enterprise has no price: ask for an offer."
)
already_subscribed = Code(
    "already_subscribed", 409, "There is a subscription already", "Change it with POST /billing/change."
)
no_subscription = Code(
    "no_subscription", 409, "There is no subscription", "Subscribe with POST /billing/checkout first."
)
payment_failed = Code(
    "payment_failed",
    402,
    "The payment failed",
    "The card was declined, and nothing has changed; POST /billing/portal leads to another card.",
    retryable=True,
)
return_url_refused = Code(
    "return_url_refused",
    422,
    "This address may not be returned to",
    "Its origin is not among DARKROOM_BILLING_RETURN_ORIGINS.",
)
