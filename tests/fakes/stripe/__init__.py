"""Stripe, played: a local server with the state of an account, which speaks the wire protocol of Stripe's API.

account        the objects, the clock, the events that every change leaves; made objects have the library's fields
payments       cards that pay or do not, charges, refunds, disputes
subscriptions  invoices, renewals, prorations, dunning
checkout       sessions and the portal
api            which request does what, with Stripe's parameters, errors, lists, expansion and idempotency
server         HTTP
delivery       webhooks: signed by the library itself; repeated, reordered, held back or lost as a test wants
"""

from tests.fakes.stripe.account import Account
from tests.fakes.stripe.delivery import Post
from tests.fakes.stripe.server import StripeServer

__all__ = ["Account", "Post", "StripeServer"]
