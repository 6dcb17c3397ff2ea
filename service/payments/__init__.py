"""Stripe: checkout, subscriptions, webhooks, reconciliation."""
