"""The compute cache: answers kept in Redis, and rows whose bytes are gone."""
