"""What is known of programs that need an account or an engine: whether they can do what a shell block asks of them."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import tomllib
from typing import Any

from typer import Exit
from typer._click.exceptions import UsageError
from typer.core import TyperGroup
from typer.main import get_command

from cli.main import app
from scripts.docs.settings import variable
from scripts.local.home import REPOSITORY
from scripts.local.lite import NODE
from scripts.local.migrate import CLI
from service.platform.settings import Settings

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


def check_call(name: str, arguments: list[str]) -> str | None:
    """Why the call would fail, or None."""
    try:
        CHECKS[name](arguments)
    except Refused as refusal:
        return f"{name} {' '.join(arguments)}: {refusal}"
    return None


def setting_names() -> set[str]:
    """Environment variables of the service."""
    return {variable(name, field) for name, field in Settings.model_fields.items()}


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


def darkroom(arguments: list[str]) -> None:
    if complaint := parse_darkroom(arguments):
        raise Refused(complaint)


def fly(arguments: list[str]) -> None:
    config = tomllib.loads((REPOSITORY / "fly.toml").read_text("utf-8"))
    name = next((name for name in FLAGS if arguments[: len(name.split())] == name.split()), None)
    if name is None:
        raise Refused(f"fly {' '.join(arguments)}: not known to tests/docs/programs.py")
    rest = arguments[len(name.split()) :]
    if unknown := [word for word in rest if word.startswith("-") and word not in FLAGS[name]]:
        raise Refused(f"fly {name} has no {' '.join(unknown)}")
    if name == "secrets set":
        given = {word.partition("=")[0] for word in rest}
        if unknown := sorted(given - setting_names()):
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


def _check_fly_toml(config: dict[str, object]) -> None:
    """What a launch or a deployment goes by: the Dockerfile, the settings, the commands."""
    build, variables, processes = (config[key] for key in ("build", "env", "processes"))
    assert isinstance(build, dict)
    assert isinstance(variables, dict)
    assert isinstance(processes, dict)
    if not (REPOSITORY / build["dockerfile"]).is_file():
        raise Refused(f"there is no {build['dockerfile']}")
    if unknown := sorted(set(variables) - setting_names()):
        raise Refused(f"fly.toml sets {', '.join(unknown)}, which is no setting")
    for command in processes.values():
        if complaint := parse_darkroom(command.split()[1:]):
            raise Refused(complaint)


def npx(arguments: list[str]) -> None:
    """`npx supabase …`: the real CLI says whether it has this command and these options."""
    if arguments[:1] != ["supabase"]:
        raise Refused(f"npx {arguments[0]}: not a package of this repository")
    flags = [word.partition("=")[0] for word in arguments if word.startswith("-")]
    words = [word for word in arguments[1:] if re.fullmatch(r"[a-z][a-z-]*", word)][
        : 2 if "db" in arguments else 1
    ]
    status, help_text = _supabase_help(*words)
    if status != 0 or f"supabase {' '.join(words)}" not in help_text:
        raise Refused(f"the Supabase CLI has no `{' '.join(words)}`: {help_text[:300]}")
    if unknown := [flag for flag in flags if flag not in help_text]:
        raise Refused(f"supabase {' '.join(words)} has no {', '.join(unknown)}")


@functools.cache
def _supabase_help(*words: str) -> tuple[int, str]:
    """Exit status of the real CLI, and what it says of a command."""
    done = subprocess.run([NODE, CLI, *words, "--help"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def npm(arguments: list[str]) -> None:
    known = json.loads((REPOSITORY / "package.json").read_text("utf-8"))["dependencies"]
    if arguments[0] != "install" or (unknown := [name for name in arguments[1:] if name not in known]):
        raise Refused(f"npm {' '.join(arguments)}: package.json does not know {unknown}")


def git(arguments: list[str]) -> None:
    """tests/docs/bin/played makes a link of it."""
    match arguments:
        case ["clone", url, _directory] if url.startswith("https://"):
            return
    raise Refused("only the clone of an https address into a directory is known")


CHECKS = {"darkroom": darkroom, "fly": fly, "npx": npx, "npm": npm, "git": git}
