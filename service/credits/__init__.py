"""Credits: balances, grants and their history."""
