"""Two transactions at a time, in a fixed order: each test says who holds what while the other waits."""

from tests.sql.fixtures import open_world, scratch, world

__all__ = ["open_world", "scratch", "world"]
