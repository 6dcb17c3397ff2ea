"""Forks the programs of this folder that kill themselves from a process that has imported the product, since importing
takes longer than all they do: `python -m tests.chaos.nursery`.

One after another: a line of JSON on stdin (Birth) starts one, its exit status on stdout tells that it has ended.
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


class Birth(TypedDict):
    """`env`: settings beside the environment of this process."""

    program: str
    arguments: list[str]
    env: dict[str, str]
    log: str


def main() -> None:
    """Serve until stdin ends."""
    kernel.die_with_parent(os.getppid(), signal.SIGKILL)
    for line in sys.stdin:
        birth: Birth = json.loads(line)
        nursery = os.getpid()
        pid = os.fork()
        if pid == 0:
            kernel.die_with_parent(nursery, signal.SIGKILL)
            _live(birth)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _live(birth: Birth) -> NoReturn:
    """Be the program; a worker as if it had just started itself again, with its settings in a file
    (workers/environment.py)."""
    try:
        log = os.open(birth["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        if birth["program"] == "dying_api":
            os.environ.update(birth["env"])
        else:
            os.environ[HANDOVER] = str(hand_over(birth["env"]))
        _PROGRAMS[birth["program"]](*birth["arguments"])
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
