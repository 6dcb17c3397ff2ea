"""A pixel child that a picture has taken over gets nowhere: tried from inside, as root and as another user."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from PIL import Image
from pydantic import BaseModel, TypeAdapter

from scripts.local.home import REPOSITORY, Local
from scripts.local.stack import Stack
from service.protections import Protections
from service.scratch import Scratch
from tests.workers.sandbox.misdeeds import MISDEEDS, Misdeed, Targets
from workers.imaging.children import Lease
from workers.imaging.errors import PixelError
from workers.imaging.pool import PixelPool
from workers.imaging.types import Claim, PixelTask
from workers.protections import UnprotectedError, demand, measure
from workers.sandbox import landlock, seccomp
from workers.sandbox.probe import Attempt, attempt

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's protections are Linux's")
COMMIT = "tests.workers.sandbox.misdeeds:commit"
_MISDEED = TypeAdapter(Misdeed)


class _Answer(BaseModel):
    value: bool


@pytest.fixture(scope="module")
async def lease() -> AsyncIterator[Lease]:
    async with Lease() as opened:
        yield opened


@pytest.fixture
async def targets(stack: Stack, local: Local, tmp_path: Path) -> AsyncIterator[Targets]:
    """Redis, Postgres and Unix sockets that really listen; files and processes that really are there."""
    secret = secrets.token_hex(16)
    workdir, other = tmp_path / "job", tmp_path / "other"
    for folder in (workdir, other):
        folder.mkdir()
    picture, settings = other / "picture.png", tmp_path / ".env"
    Image.new("RGB", (4, 4)).save(picture)
    settings.write_text(f"SUPABASE_SECRET_KEY={secret}")
    abstract, path = f"\0darkroom-{secret}", str(tmp_path / "listening")
    listeners = []
    for address in (abstract, path):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()
        listeners.append(listener)
    bystander = await asyncio.create_subprocess_exec(
        "sleep", "600", env={"PATH": os.environ["PATH"], "SUPABASE_SECRET_KEY": secret}
    )
    ports = tuple(urlsplit(url).port or 0 for url in (local.redis_url, local.database_url))
    yield Targets(
        workdir,
        (os.getpid(), os.getppid(), bystander.pid, 1),
        secret,
        tuple(port for port in ports if port),
        (abstract, path),
        (
            picture,
            settings,
            stack.home.local_json,
            REPOSITORY / "pyproject.toml",
        ),
    )
    bystander.kill()
    await bystander.wait()
    for listener in listeners:
        listener.close()


async def commit(lease: Lease, name: str, targets: Targets) -> bool:
    child = await lease.fork(COMMIT, memory_mb=512)
    try:
        async with asyncio.timeout(30):
            answer = await child.ask(_MISDEED.dump_json(Misdeed(name, targets)))
    finally:
        await child.end()
    return _Answer.model_validate_json(answer).value


@pytest.mark.parametrize("name", MISDEEDS)
async def test_a_child_that_was_taken_over_gets_nowhere(lease: Lease, targets: Targets, name: str) -> None:
    assert targets.ports
    assert not await commit(lease, name, targets)
    assert psutil.pid_exists(targets.pids[2])


async def test_a_child_can_do_its_work(lease: Lease, targets: Targets) -> None:
    assert await commit(lease, "is_not_vacuous", targets)


async def test_the_misdeeds_work_where_nothing_forbids_them(targets: Targets) -> None:
    """Each of them does get through outside of a child, so that the test above can fail."""
    safe = set(MISDEEDS) - {
        "becoming_a_program",
        "privileges",
        "own_environment",
        "thread_bomb",
        "namespaces",
    }
    safe -= {"a_process_left_behind"}  # would leave a process of this test's
    safe -= {"io_uring"}  # switched off on many machines
    held = [name for name in sorted(safe) if not await asyncio.to_thread(MISDEEDS[name], targets)]
    assert held == []


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lets_no_dangerous_call_through(machine: str) -> None:
    """The filter is run as the kernel runs it: every number up to 1024, with arguments of a child that misbehaves."""
    names = {
        "x86_64": {
            "socket": 41,
            "connect": 42,
            "execve": 59,
            "ptrace": 101,
            "fork": 57,
            "bpf": 321,
            "clone3": 435,
        },
        "aarch64": {"socket": 198, "connect": 203, "execve": 221, "ptrace": 117, "bpf": 280, "clone3": 435},
    }[machine]
    program = seccomp.program(machine, pid=77)
    audit = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
    allow = 0x7FFF0000
    for number in names.values():
        assert run_filter(program, audit[machine], number, (77, 77, 77)) & 0x7FFF0000 == 0x00050000
    other = audit["aarch64" if machine == "x86_64" else "x86_64"]
    assert run_filter(program, other, 0, (0, 0, 0)) == 0x80000000
    kill, clone = {"x86_64": (62, 56), "aarch64": (129, 220)}[machine]
    assert run_filter(program, audit[machine], kill, (77, 9, 0)) == allow
    assert run_filter(program, audit[machine], kill, (78, 9, 0)) != allow
    assert run_filter(program, audit[machine], kill, (0xFFFFFFFF, 9, 0)) != allow
    assert run_filter(program, audit[machine], clone, (0x00010000, 0, 0)) == allow
    assert run_filter(program, audit[machine], clone, (0x11, 0, 0)) != allow
    assert run_filter(program, audit[machine], clone, (0x10010000, 0, 0)) != allow
    allowed = [
        number for number in range(1024) if run_filter(program, audit[machine], number, (0, 0, 0)) == allow
    ]
    assert 60 < len(allowed) < 120
    assert max(allowed) < 500  # what kernels will add is not on the list


def run_filter(
    program: list[seccomp.Instruction], arch: int, number: int, arguments: tuple[int, int, int]
) -> int:
    """Classic BPF over struct seccomp_data: the action."""
    words = {0: number, 4: arch, **{16 + 8 * index: value for index, value in enumerate(arguments)}}
    position = accumulator = 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        match code:
            case 0x20:
                accumulator = words[operand]
            case 0x15:
                position += if_true if accumulator == operand else if_false
            case 0x45:
                position += if_true if accumulator & operand else if_false
            case 0x54:
                accumulator &= operand
            case 0x06:
                return operand
            case _:
                raise AssertionError(code)


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[[str], PixelTask]:
    source = tmp_path / "source.jpg"
    Image.new("RGB", (40, 30)).save(source)
    (tmp_path / "secret").write_bytes(b"made")
    counter = iter(range(100))

    def make(op_key: str) -> PixelTask:
        workdir = tmp_path / f"work{next(counter)}"
        workdir.mkdir()
        return PixelTask(source, workdir, op_key, Claim(40, 30))

    return make


@pytest.mark.parametrize("which", ["elsewhere", "proc", "above", "digest"])
async def test_a_child_cannot_have_other_files_stored(
    make_task: Callable[[str], PixelTask], which: str
) -> None:
    async with PixelPool(workers=1, entry="tests.workers.sandbox.misdeeds:lie") as pool:
        with pytest.raises(PixelError, match="no usable answer") as failure:
            await pool.run(make_task(which))
    assert failure.value.code == "pixel_crash"


@pytest.mark.parametrize("which", ["pickle", "json", "code", "nothing", "long"])
async def test_an_answer_is_read_as_data(make_task: Callable[[str], PixelTask], which: str) -> None:
    async with PixelPool(workers=1, entry="tests.workers.sandbox.misdeeds:shout") as pool:
        with pytest.raises(PixelError, match="no usable answer"):
            await pool.run(make_task(which))


@pytest.mark.parametrize("which", ["bytes", "names"])
async def test_a_child_cannot_fill_the_disk(
    make_task: Callable[[str], PixelTask], monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr("workers.imaging.pool.MAX_DISK_BYTES", 64 * 1024 * 1024)
    async with PixelPool(workers=1, entry="tests.workers.sandbox.misdeeds:fill_the_disk") as pool:
        with pytest.raises(PixelError, match="disk space"):
            await pool.run(make_task(which))


async def test_what_holds_is_measured(tmp_path: Path) -> None:
    async with Scratch(tmp_path / "scratch") as scratch:
        found = await measure(scratch)
    files = landlock.version() > 0
    assert found == Protections(
        secrets=True, network=True, reads=files, writes=files, processes=True, privileges=True
    )


async def test_what_does_not_hold_is_measured(targets: Targets) -> None:
    """The same attempts by a process that nothing confines: every one of them gets through."""
    bystander, port, abstract = targets.pids[2], targets.ports[0], targets.sockets[0][1:]
    outside = targets.files[0].parent
    tried = Attempt(targets.workdir, (bystander,), outside, targets.files[0], port, abstract)
    assert await asyncio.to_thread(attempt, tried) == Protections()


def test_a_deployment_can_demand_protections() -> None:
    found = Protections(secrets=True, network=True)
    demand(found, ("secrets", "network"))
    with pytest.raises(UnprotectedError, match="missing: reads, privileges"):
        demand(found, ("secrets", "reads", "privileges"))


ANOTHER_USER = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
)
TRIAL = """
import os, numpy, pydantic
assert os.access(os.path.realpath("/proc/self/exe"), os.X_OK)  # what this user may start again
"""
MEASURE = """
import asyncio, ctypes, os, sys
from service.scratch import Scratch
from workers.protections import measure
from workers.sandbox import kernel

async def main():
    if sys.argv[1] == "denied":
        # As containers do: unshare() answers EPERM, here and in whatever is started.
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        deny_unshare()
    async with Scratch() as scratch:
        return await measure(scratch)

def deny_unshare():
    import errno, platform, struct
    number = {"x86_64": 272, "aarch64": 97}[platform.machine()]
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50000 | errno.EPERM), (6, 0, 0, 0x7FFF0000)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
    assert kernel.prctl(22, 2, ctypes.addressof(program := Program(len(steps), code))) == 0
    assert not kernel.isolate()

sys.executable = os.path.realpath("/proc/self/exe")  # another than was named, where that is not for this user
print(asyncio.run(main()).model_dump_json())
"""


@pytest.mark.parametrize("namespaces", ["allowed", "denied"])
@pytest.mark.parametrize("user", ["this", "another"])
async def test_protections_hold_for_root_and_others_and_where_containers_deny_namespaces(
    user: str, namespaces: str
) -> None:
    become = ANOTHER_USER if user == "another" else ()
    if become:
        if os.getuid() != 0:
            pytest.skip("only root becomes another user")
        trial = await asyncio.create_subprocess_exec(
            *become, sys.executable, "-c", TRIAL, stderr=asyncio.subprocess.DEVNULL
        )
        if await trial.wait() != 0:
            pytest.skip("other users cannot run this Python")
    measuring = await asyncio.create_subprocess_exec(
        *(*become, sys.executable, "-c", MEASURE, namespaces),
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await measuring.communicate()
    assert all(Protections.model_validate_json(out).model_dump().values()), out
