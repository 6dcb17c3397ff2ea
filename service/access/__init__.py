"""Who calls, and how often: tokens, API keys, scopes, limits, accounts."""
