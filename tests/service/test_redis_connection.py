"""The quick connection answers as redis-py's own does, also when the server has hung up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError

from scripts.local.home import Local
from service.platform.redis import QuickConnection, QuickPool
from tests.support import PATIENCE, new_sha256


@pytest.fixture(params=[ConnectionPool, QuickPool])
async def quick(local: Local, request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """One connection of the quick kind, and no other, in redis-py's pool and in ours."""
    pool = request.param.from_url(
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


async def test_a_command_that_was_given_up_spoils_no_other(quick: Redis) -> None:
    key = f"test:{new_sha256()}"
    waiting: asyncio.Future[Any] = asyncio.ensure_future(cast("Any", quick).blpop([key], timeout=0))
    async with asyncio.timeout(PATIENCE):
        while not quick.connection_pool._in_use_connections:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await quick.echo("mine") == b"mine"


async def test_there_are_no_more_connections_than_allowed(quick: Redis) -> None:
    pool = quick.connection_pool
    connection = await pool.get_connection()
    with pytest.raises(RedisConnectionError):
        await pool.get_connection()
    await pool.release(connection)
    assert await pool.get_connection() is connection
    await pool.release(connection)


async def test_callers_at_once_have_connections_of_their_own(local: Local) -> None:
    pool = QuickPool.from_url(local.redis_url, connection_class=QuickConnection, socket_timeout=5)
    redis = Redis(connection_pool=pool)
    for _ in range(3):
        said = [new_sha256().encode() for _ in range(20)]
        assert await asyncio.gather(*(redis.echo(word) for word in said)) == said
    assert not pool._in_use_connections
    assert len(pool._available_connections) == len(set(pool._available_connections)) <= 20
    await pool.aclose()
