"""Money: credits, plans, quotas and what is paid for them."""
