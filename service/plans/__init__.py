"""Plans, prices, quotes and what each user's plan allows."""
