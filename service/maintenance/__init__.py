"""What keeps the tables tidy: expiry, tombstones, queue counts."""
