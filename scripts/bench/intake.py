"""Intake: without I/O against the plain FastAPI way, a whole hit against that, and a hit against the way by RPC.

The processor time of the server counts: it is what a request costs, and unlike requests per second it does not depend
on what else the machine does. Requests per second over uvicorn stand beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import urlsplit

import orjson

from scripts.bench.endpoints import EMPTY, PLAIN, RAW, SERVICE, claim_body
from scripts.bench.hotpath import Probe, cost
from scripts.bench.load import Load, fire, post
from scripts.bench.measure import Row, Sample, at_least, at_most, ratio, sample_row
from scripts.bench.site import RESIZE, UNLIMITED, Camera, clients, finished, sign_up, site, submit
from scripts.local import apps
from scripts.local.home import REPOSITORY, any_free_port
from scripts.local.process import Child, Command
from scripts.local.stack import Stack

TITLE = "Intake"
CONNECTIONS = 16
SLOW_SHARE = 50
"""The way by RPC gets this many times fewer requests."""
ALONE_SHARE = 5
"""So does a single connection."""


async def run(*, requests: int = 3000, rounds: int = 9) -> list[Row]:
    """`requests` of each kind per round."""
    async with site() as stack:
        hit, slow, probe = await _prepare(stack, rounds, max(50, requests // 10))
        hot = await _in_process(stack, probe)
        async with _server(stack) as server:
            loads = await _over_http(server, _requests(probe, hit, slow, requests), rounds)
    return [*_report(loads, hot), *_spent(loads, hot)]


async def _prepare(stack: Stack, rounds: int, batch: int) -> tuple[bytes, bytes, Probe]:
    """A finished output of a user; the bodies of a hit that Redis answers and of one that takes the long way."""
    user_id, token = await sign_up(stack.local)
    picture = Camera(stack.home.root).picture()
    worker = await stack.start_worker()
    async with clients(stack) as platform:
        job_id = await submit(platform, picture, user_id=user_id)
        await platform.doorbell.ring(platform.settings.queue)
        await finished(platform, job_id, user_id)
    await worker.stop()
    claim = claim_body(picture.sha256, len(picture.data), RESIZE)
    # A caller who asks to keep the output is never answered from Redis: the product's own long way.
    bodies = [orjson.dumps(claim), orjson.dumps(claim | {"wants_persist": True})]
    return bodies[0], bodies[1], Probe(body=bodies[0].decode(), token=token, rounds=rounds, batch=batch)


async def _in_process(stack: Stack, probe: Probe) -> dict[str, Sample]:
    path = stack.home.root / "probe.json"
    path.write_text(probe.model_dump_json())
    with (stack.home.logs / "hotpath.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "scripts.bench.hotpath", str(path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            cwd=REPOSITORY,
            env=stack.environment(UNLIMITED),
        )
        out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError((stack.home.logs / "hotpath.log").read_text()[-3000:])
    return cost(orjson.loads(out))


@contextlib.asynccontextmanager
async def _server(stack: Stack) -> AsyncIterator[Child]:
    """uvicorn as `darkroom api` runs it, with the two endpoints beside the service."""
    port = any_free_port()
    argv = [sys.executable, "-m", "uvicorn", "scripts.bench.endpoints:create_app", "--factory"]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--no-server-header"]
    argv += ["--http", "service.platform.http_protocol:HttpProtocol", "--ws", "none"]
    command = Command("bench-api", argv, env=stack.environment(UNLIMITED), cwd=REPOSITORY)
    child = await Child.start(command, stack.home.logs / "bench-api.log")
    try:
        child.url = f"http://127.0.0.1:{port}"
        await apps.answers(child, f"{child.url}/health")
        yield child
    finally:
        await child.stop()


class Burst(NamedTuple):
    """What is sent, how often in a round, and over how many connections."""

    request: bytes
    times: int
    connections: int = CONNECTIONS


def _requests(probe: Probe, hit: bytes, slow: bytes, count: int) -> dict[str, Burst]:
    """What is sent, by name."""
    headers = {"Authorization": f"Bearer {probe.token}", "Origin": "http://127.0.0.1:3000"}
    paths = {"plain": PLAIN, "raw": RAW, "empty": EMPTY, "hit": SERVICE}
    sent = {name: Burst(post(path, hit, headers), count) for name, path in paths.items()}
    return sent | {
        "alone": Burst(post(SERVICE, hit, headers), max(20, count // ALONE_SHARE), connections=1),
        "rpc": Burst(post(SERVICE, slow, headers), max(CONNECTIONS, count // SLOW_SHARE)),
    }


async def _over_http(server: Child, sent: dict[str, Burst], rounds: int) -> dict[str, list[Load]]:
    port = urlsplit(server.url).port or 0
    loads: dict[str, list[Load]] = {name: [] for name in sent}
    for number in range(rounds + 1):
        for name in list(sent)[:: -1 if number % 2 else 1]:
            burst = sent[name]
            load = await fire(port, burst.request, burst.times, connections=burst.connections, pid=server.pid)
            if number:  # the first round warms up
                loads[name].append(load)
    return loads


def _paired(loads: dict[str, list[Load]], name: str, other: str, what: str) -> float:
    """Median over the rounds of what one case reaches in multiples of the other's."""
    pairs = zip(loads[name], loads[other], strict=True)
    return statistics.median(float(getattr(a, what) / getattr(b, what)) for a, b in pairs)


def _report(loads: dict[str, list[Load]], hot: dict[str, Sample]) -> list[Row]:
    names = {
        "plain": "plain FastAPI, no I/O",
        "raw": "our way, no I/O",
        "hit": "whole hit",
        "rpc": "hit by RPC",
    }
    rows = []
    for name, label in names.items():
        latency = _latencies(loads[name])
        per_second = statistics.median(load.per_second for load in loads[name])
        used = statistics.median(load.cpu_microseconds for load in loads[name])
        note = f"{per_second:.0f} requests/s; {used:.0f} us of the server's processor each"
        rows.append(sample_row(f"{label}: latency, {CONNECTIONS} connections", latency, note))
    return [
        *rows,
        at_least(
            "no I/O, ours : plain, processor time",
            1 / _paired(loads, "raw", "plain", "cpu_microseconds"),
            1.6,
            note="of the server",
        ),
        _plain("… requests/s", _paired(loads, "raw", "plain", "per_second")),
        _plain("… without the server (ASGI)", ratio(hot["plain"], hot["raw"]), _against(hot, "raw", "plain")),
        at_least(
            "whole hit : no I/O, processor time",
            1 / _paired(loads, "hit", "raw", "cpu_microseconds"),
            0.60,
            note="of the server",
        ),
        _plain("… requests/s", _paired(loads, "hit", "raw", "per_second")),
        _plain("… without the server (ASGI)", ratio(hot["raw"], hot["hit"]), _against(hot, "hit", "raw")),
        at_most("whole hit: latency p95, one connection", _latencies(loads["alone"]).p95 * 1e3, 2, unit="ms"),
        at_least("whole hit : hit by RPC + sign, requests/s", _paired(loads, "hit", "rpc", "per_second"), 20),
        _plain(
            "… the API's processor time alone",
            _paired(loads, "rpc", "hit", "cpu_microseconds"),
            "what PostgREST, Postgres and Storage spend is not in it",
        ),
    ]


def _latencies(loads: list[Load]) -> Sample:
    return Sample(tuple(second for load in loads for second in load.latencies.seconds))


def _against(hot: dict[str, Sample], name: str, other: str) -> str:
    return f"{_us(hot[name]):.0f} us of processor time against {_us(hot[other]):.0f}"


def _plain(name: str, value: float, note: str = "") -> Row:
    return Row(name, f"{value:.2f} ×", note=note, figure=value)


def _us(sample: Sample) -> float:
    return sample.median * 1e6


def _spent(loads: dict[str, list[Load]], hot: dict[str, Sample]) -> list[Row]:
    """What a whole hit is spent on: processor time by stage."""
    server = statistics.median(load.cpu_microseconds for load in loads["empty"]) - _us(hot["empty"])
    bare = _us(hot["middleware nothing"])
    stages = {
        "server: HTTP, sockets": server,
        "who is it (cached principal)": _us(hot["principal"]),
        "parse and validate": _us(hot["validate"]),
        "checks, op_key, cache key": _us(hot["check"]),
        "rate limit + lookup: one script": _us(hot["admit"]) - _us(hot["principal"]) - _us(hot["check"]),
    }
    for name in ("cors", "telemetry"):  # a hit meets no other
        stages[f"middleware: {name}"] = _us(hot[f"middleware {name}"]) - bare
    whole = server + _us(hot["hit"])
    stages["the rest: framework, headers, answer"] = whole - sum(stages.values())
    return [
        Row(f"  spent on {name}", f"{used:.0f} us", note=f"{used / whole:.0%} of a hit", figure=used)
        for name, used in stages.items()
    ]
