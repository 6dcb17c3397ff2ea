"""The quick connection answers as redis-py's own does, also when the server has hung up."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import DataError

from scripts.local.home import Local
from service.platform.redis import QuickConnection
from tests.support import new_sha256


@pytest.fixture
async def quick(local: Local) -> AsyncIterator[Redis]:
    """One connection of the quick kind, and no other."""
    pool = ConnectionPool.from_url(
        local.redis_url, connection_class=QuickConnection, socket_timeout=5, max_connections=1
    )
    yield Redis(connection_pool=pool)
    await pool.aclose()


async def test_values_of_all_kinds_and_sizes_survive(quick: Redis) -> None:
    key = f"test:{new_sha256()}"
    for value in (b"", b"\x00\r\n$3\r\n", "é", 7, 1.5, b"x" * 3_000_000):
        await quick.set(key, value, px=60_000)
        expected = value if isinstance(value, bytes) else str(value).encode()
        assert await quick.get(key) == expected
    with pytest.raises(DataError):
        await quick.set(key, {"a": 1})  # type: ignore[arg-type]


async def test_commands_of_two_words_and_pipelines(quick: Redis) -> None:
    key = f"test:{new_sha256()}"
    assert (await quick.config_get("maxmemory")).keys() == {"maxmemory"}
    double = quick.register_script("return ARGV[1] * 2")
    assert await double(args=[21]) == 42
    async with quick.pipeline(transaction=True) as pipe:
        pipe.set(key, 1, px=60_000)
        pipe.incr(key)
        assert await pipe.execute() == [True, 2]


async def test_a_connection_that_the_server_closed_is_replaced(quick: Redis, redis_client: Redis) -> None:
    name = new_sha256()
    await quick.client_setname(name)
    [client] = [entry for entry in await redis_client.client_list() if entry["name"] == name]
    connection = await quick.connection_pool.get_connection()
    await redis_client.client_kill_filter(_id=client["id"])
    assert await connection._reader.read() == b""  # its end has come
    await quick.connection_pool.release(connection)
    pong = f"test:{new_sha256()}"
    assert await quick.echo(pong) == pong.encode()


async def test_an_answer_that_nobody_read_spoils_no_other(quick: Redis) -> None:
    connection = await quick.connection_pool.get_connection()
    await connection.send_command("ECHO", "left behind")
    assert await connection._reader.read(4) == b"$11\r"  # the rest has come as well, and stays
    await quick.connection_pool.release(connection)
    assert await quick.echo("mine") == b"mine"
