"""The programs that shell blocks call and that cannot really be run: each checks what it is asked.

    python -m tests.docs.programs NAME [ARGUMENT …]

`darkroom` is the real command; of `darkroom api` and `darkroom worker` it waits until they work, and stops them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from arq.constants import health_check_key_suffix
from typer import Exit
from typer._click.exceptions import UsageError
from typer.core import TyperGroup
from typer.main import get_command

from scripts.local.apps import environment
from scripts.local.home import REPOSITORY, Local, any_free_port
from scripts.local.lite import NODE
from scripts.local.migrate import CLI
from service.cli import app
from service.queue import queue_key
from service.settings import Settings

FLAGS = {
    "launch": {"--no-deploy", "--copy-config"},
    "deploy": set[str](),
    "secrets set": set[str](),
    "scale count": set[str](),
}
"""What of fly is used in the documentation."""
REQUIRED = {"SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY", "REDIS_URL", "DARKROOM_SECRET"}


class Refused(Exception):
    """What would not work, in a sentence."""


def stack_settings(local: Local) -> dict[str, str]:
    return environment(local)


def setting_names() -> dict[str, str]:
    """Environment variables of the service, and the fields that they fill."""
    return {
        str(field.validation_alias or f"DARKROOM_{name.upper()}"): name
        for name, field in Settings.model_fields.items()
    }


def command_tree() -> TyperGroup:
    """`darkroom` with everything below it, the benchmarks included."""
    from scripts.bench.__main__ import app as benchmarks

    root = get_command(app)
    assert isinstance(root, TyperGroup)
    root.commands["bench"] = get_command(benchmarks)
    return root


def parse_darkroom(arguments: list[str]) -> str | None:
    """Why the command line cannot be parsed, or None. Nothing is run."""
    command: Any = command_tree()
    path, rest = ["darkroom"], list(arguments)
    while isinstance(command, TyperGroup) and rest:
        path.append(rest.pop(0))
        if path[-1] not in command.commands:
            return f"there is no command `{' '.join(path)}`"
        command = command.commands[path[-1]]
    if isinstance(command, TyperGroup):
        return None
    for option in command.params:  # what is asked for when it is missing counts as answered
        if getattr(option, "prompt", None) and not set(option.opts) & set(rest):
            rest += [option.opts[0], "because"]
    try:
        command.make_context(" ".join(path), rest)
    except Exit:
        return None
    except UsageError as error:
        return f"`darkroom {' '.join(arguments)}`: {error.format_message()}"
    return None


def darkroom(arguments: list[str]) -> int:
    if complaint := parse_darkroom(arguments):
        raise Refused(complaint)
    if arguments[0] == "api":
        return _serve(arguments)
    if arguments[0] == "worker":
        return _work(arguments)
    return subprocess.run([sys.executable, "-P", "-m", "service.cli", *arguments], check=False).returncode


def _serve(arguments: list[str]) -> int:
    port = any_free_port()
    process = subprocess.Popen([sys.executable, "-P", "-m", "service.cli", *arguments, "--port", str(port)])

    def ready() -> bool:
        try:
            return (
                json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5))["status"]
                == "ok"
            )
        except urllib.error.URLError:
            return False

    return _until(process, ready)


def _work(arguments: list[str]) -> int:
    """On a queue of its own, so that it takes nobody's jobs."""
    queue = f"docs-{uuid.uuid4().hex[:8]}"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "service.cli", *arguments], env={**os.environ, "DARKROOM_QUEUE": queue}
    )
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        return _until(process, lambda: bool(client.exists(queue_key(queue) + health_check_key_suffix)))


def _until(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> int:
    """Wait until it works, then stop it as an operator does."""
    deadline = time.monotonic() + 60
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise Refused("it did not become ready")
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    status = process.wait(40)
    return 0 if status in {0, -signal.SIGTERM} else status


def fly(arguments: list[str]) -> int:
    config = tomllib.loads((REPOSITORY / "fly.toml").read_text("utf-8"))
    name = next((name for name in FLAGS if arguments[: len(name.split())] == name.split()), None)
    if name is None:
        raise Refused(f"fly {' '.join(arguments)}: not known to tests/docs/programs.py")
    rest = arguments[len(name.split()) :]
    if unknown := [word for word in rest if word.startswith("-") and word not in FLAGS[name]]:
        raise Refused(f"fly {name} has no {' '.join(unknown)}")
    if name == "secrets set":
        given = {word.partition("=")[0] for word in rest}
        if unknown := sorted(given - set(setting_names())):
            raise Refused(f"no setting is called {', '.join(unknown)}")
        if missing := sorted(REQUIRED - given):
            raise Refused(f"without {', '.join(missing)} the service does not start")
    elif name == "scale count":
        for word in rest:
            group, _, count = word.partition("=")
            if group not in config["processes"] or not count.isdigit():
                raise Refused(f"fly.toml has no process group {group!r}")
    else:
        _check_fly_toml(config)
    return 0


def _check_fly_toml(config: dict[str, object]) -> None:
    """What a launch or a deployment goes by: the Dockerfile, the settings, the commands."""
    build, variables, processes = (config[key] for key in ("build", "env", "processes"))
    assert isinstance(build, dict)
    assert isinstance(variables, dict)
    assert isinstance(processes, dict)
    if not (REPOSITORY / build["dockerfile"]).is_file():
        raise Refused(f"there is no {build['dockerfile']}")
    if unknown := sorted(set(variables) - set(setting_names())):
        raise Refused(f"fly.toml sets {', '.join(unknown)}, which is no setting")
    for command in processes.values():
        if complaint := parse_darkroom(command.split()[1:]):
            raise Refused(complaint)


def npx(arguments: list[str]) -> int:
    """`npx supabase …`: the real CLI says whether it has this command and these options."""
    if arguments[:1] != ["supabase"]:
        raise Refused(f"npx {arguments[0]}: not a package of this repository")
    flags = [word.partition("=")[0] for word in arguments if word.startswith("-")]
    words = [word for word in arguments[1:] if re.fullmatch(r"[a-z][a-z-]*", word)][
        : 2 if "db" in arguments else 1
    ]
    done = subprocess.run([NODE, CLI, *words, "--help"], capture_output=True, text=True, check=False)
    help_text = done.stdout + done.stderr
    if done.returncode != 0 or f"supabase {' '.join(words)}" not in help_text:
        raise Refused(f"the Supabase CLI has no `{' '.join(words)}`: {help_text[:300]}")
    if unknown := [flag for flag in flags if flag not in help_text]:
        raise Refused(f"supabase {' '.join(words)} has no {', '.join(unknown)}")
    return 0


def npm(arguments: list[str]) -> int:
    known = json.loads((REPOSITORY / "package.json").read_text("utf-8"))["dependencies"]
    if arguments[0] != "install" or (unknown := [name for name in arguments[1:] if name not in known]):
        raise Refused(f"npm {' '.join(arguments)}: package.json does not know {unknown}")
    return 0


def git(arguments: list[str]) -> int:
    """`git clone URL DIRECTORY` gives this checkout."""
    match arguments:
        case ["clone", url, directory] if url.startswith("https://"):
            Path(directory).symlink_to(REPOSITORY)
            return 0
    raise Refused(f"git {' '.join(arguments)}: only a clone is known")


def capture(arguments: list[str]) -> int:
    """Shell assignments for the text fields of a JSON answer; nothing for other outputs."""
    try:
        answer = json.loads(Path(arguments[0]).read_bytes())
    except ValueError:
        return 0
    if isinstance(answer, dict):
        fields = {name: value for name, value in answer.items() if isinstance(value, str)}
        if str(fields.get("key", "")).startswith("dk_"):
            fields["DARKROOM_KEY"] = fields["key"]
        for name, value in fields.items():
            print(f"{name}='{value.replace(chr(39), '')}'")
    return 0


PROGRAMS = {"darkroom": darkroom, "fly": fly, "npx": npx, "npm": npm, "git": git, "capture": capture}


def main() -> int:
    name, *arguments = sys.argv[1:]
    try:
        status = PROGRAMS[name](arguments)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        status = 1
    if name != "capture":
        with Path(os.environ["CALLS"]).open("a") as calls:
            calls.write(f"{status} {name} {' '.join(arguments)}\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
