"""JavaScript and TypeScript blocks: type-checked as a strict frontend, and run under Node with the real clients."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.local.home import REPOSITORY
from scripts.local.lite import NODE
from tests.docs.blocks import BLOCKS, Block
from tests.docs.scene import Scene, small_mug

KINDS = {"js", "ts", "tsx"}
_HERE = Path(__file__).parent / "node"
_FILE = re.compile(r"^// (lib/[\w.]+)\n")
_REFUSED = {"Errors": "nonsense-v1"}
"""Headings whose example is about a refusal, and the op key that brings it about."""
_ON_A_CANVAS = "darkroom.local("
"""What only a browser has: this block runs in Chromium."""


@dataclass(frozen=True)
class Project:
    """A frontend made of the blocks: `complaints` of TypeScript by block file, top-level constants by block file."""

    root: Path
    complaints: dict[str, list[dict[str, Any]]]
    declared: dict[str, list[str]]


def _name(block: Block) -> str:
    """The file of a block, without its extension: the one that its first line names, else one for its place."""
    named = _FILE.match(block.text)
    return Path(named[1]).name.rpartition(".")[0] if named else block.name


def _file(block: Block) -> str:
    """JavaScript is looked at as TypeScript: in a .js file TypeScript takes assignments for declarations."""
    return f"{_name(block)}.{'tsx' if block.kind == 'tsx' else 'ts'}"


async def prepare(root: Path, values: dict[str, str], blocks: Sequence[Block] = BLOCKS) -> Project:
    """Copy darkroom.js as docs/frontend.md says, write the blocks beside it, check and transpile them."""
    client = REPOSITORY / "clients" / "js"
    library = root / "lib"
    shutil.copytree(client / "darkroom", library / "darkroom")
    shutil.copy(client / "darkroom.js", library)
    shutil.copy(REPOSITORY / "supabase" / "types.ts", library / "database.ts")
    shutil.copy(_HERE / "scene.ts", library)
    for name in ("tsconfig.json", "react.mjs", "react.d.mts", "hooks.mjs", "run.mjs"):
        shutil.copy(_HERE / name, root)
    (root / "package.json").write_text('{"type": "module"}')
    (root / "process.d.ts").write_text(
        "declare const process: { env: Record<string, string | undefined> };\n"
    )
    (root / "node_modules").symlink_to(REPOSITORY / "node_modules")
    scripts = [block for block in blocks if block.kind in KINDS]
    for block in scripts:
        text = block.text
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        (library / _file(block)).write_text("\n" * block.line + text, "utf-8")
    out = await _node(_HERE / "prepare.mjs", str(root), sent=json.dumps([_file(block) for block in scripts]))
    answer = json.loads(out)
    complaints: dict[str, list[dict[str, Any]]] = {}
    for complaint in answer["complaints"]:
        complaints.setdefault(complaint["file"], []).append(complaint)
    return Project(root, complaints, answer["declared"])


async def _node(*arguments: object, sent: str = "", cwd: Path = REPOSITORY, **env: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), "--enable-source-maps", *map(str, arguments)),
        cwd=cwd,
        env={**os.environ, **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate(sent.encode())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise RuntimeError((err + out).decode())
    return out.decode()


def check_types(block: Block, project: Project) -> None:
    for complaint in project.complaints.get("scene.ts", []) + project.complaints.get("tsconfig.json", []):
        block.fail(f"tests/docs/node/{complaint['file']}:{complaint['line']}: {complaint['words']}")
    found = project.complaints.get(_file(block), [])
    if block.kind == "js":  # has no types to be wrong about
        found = [complaint for complaint in found if not complaint["line"]]
    if found:
        words = "\n".join(complaint["words"] for complaint in found)
        block.fail(words, found[0]["line"] or None)


async def run(block: Block, project: Project, scene: Scene) -> None:
    """Run the block with the clients of `scene`; it fails when a call is refused or a list comes back empty."""
    picture = small_mug()
    (project.root / "mug.jpg").write_bytes(scene.mug.data)
    told = {
        "supabase_url": scene.local.supabase_url,
        "publishable_key": scene.local.publishable_key,
        "api_url": scene.api_url,
        "token": scene.user.token,
        "user_id": str(scene.user.id),
        "email": scene.user.email,
        "password": scene.user.password,
        "picture": base64.b64encode(picture.data).decode(),
        "mug": str(project.root / "mug.jpg"),
        "mug_sha256": scene.mug.sha256,
        **scene.ids,
    }
    refused = _REFUSED.get(block.heading)
    wanted = {
        "name": _name(block),
        "names": project.declared[_file(block)],
        "refusals": int(refused is not None),
        **({"opKey": refused} if refused else {}),
    }
    try:
        await _node(
            *("--import", "./hooks.mjs", "run.mjs"),
            cwd=project.root,
            SCENE=json.dumps(told),
            BLOCK=json.dumps(wanted),
        )
    except RuntimeError as error:
        block.fail(str(error))


def needs_browser(block: Block) -> bool:
    return block.kind == "html" or _ON_A_CANVAS in block.text


async def run_in_browser(block: Block, project: Project, scene: Scene, chromium: str, text: str) -> None:
    """The block in Chromium: HTML as a page of another origin, a script on a page of the API's own."""
    if block.kind != "html":
        text = (project.root / "lib" / f"{_name(block)}.mjs").read_text("utf-8")
        text = re.sub(
            r"^(import .*? from \"\./scene\";|export \{.*\};?|//# source.*)", "", text, flags=re.MULTILINE
        )
    told = {
        "chromium": chromium,
        "kind": block.kind,
        "text": text,
        "api_url": scene.api_url,
        "supabase_url": scene.local.supabase_url,
        "picture": base64.b64encode(small_mug().data).decode(),
    }
    try:
        await _node(_HERE / "browser.mjs", SCENE=json.dumps(told))
    except RuntimeError as error:
        block.fail(str(error))
