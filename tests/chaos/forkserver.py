"""Forks the programs of this folder that kill themselves from a process that has imported the product, since importing
takes longer than all they do: `python -m tests.chaos.forkserver`.

One after another: a line of JSON on stdin (Program) starts one, its exit status on stdout tells that it has ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn, TypedDict

from tests.chaos import dying_api, dying_requester, dying_worker
from workers.environment import HANDOVER, hand_over
from workers.sandbox import kernel

_PROGRAMS: Final[dict[str, Callable[..., None]]] = {
    "dying_api": dying_api.run,
    "dying_requester": dying_requester.run,
    "dying_worker": dying_worker.run,
}


class Program(TypedDict):
    """`env`: settings beside the environment of this process."""

    program: str
    arguments: list[str]
    env: dict[str, str]
    log: str


def main() -> None:
    """Serve until stdin ends."""
    kernel.die_with_parent(os.getppid(), signal.SIGKILL)
    for line in sys.stdin:
        program: Program = json.loads(line)
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            kernel.die_with_parent(server, signal.SIGKILL)
            _become(program)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(program: Program) -> NoReturn:
    """Be the program; a worker as if it had just started itself again, with its settings in a file
    (workers/environment.py)."""
    try:
        log = os.open(program["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        if program["program"] == "dying_worker":
            os.environ[HANDOVER] = str(hand_over(program["env"]))
        else:
            os.environ.update(program["env"])
        _PROGRAMS[program["program"]](*program["arguments"])
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
