"""The database by itself: schema, rights, money, plans of queries."""

from tests.sql.fixtures import open_world, scratch, world

__all__ = ["open_world", "scratch", "world"]
