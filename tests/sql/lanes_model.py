"""Self-clocked fair queueing as the rule describes it, in a few lines: what claim_next is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

RESIZE, CUTOUT, UPSCALE = "resize-v1:width-20", "bgremove-v1", "upscale-v1:factor-2"
COST = {RESIZE: 1, CUTOUT: 4, UPSCALE: 8}
"""What the migrations put into op_costs."""
UNIT = 1_000_000
"""Of virtual time, for one job of cost 1 and weight 1."""


@dataclass
class Lane:
    """Who waits, for what, in which order; `jobs` are op_keys. A lane is ready or not since it was last touched."""

    weight: int
    jobs: list[str] = field(default_factory=list)
    max_running: int = 1000
    running: int = 0
    paused: bool = False
    vtime: int = 0
    ready: bool = False

    @property
    def turn(self) -> int:
        return self.vtime + COST[self.jobs[0]] * UNIT // self.weight


@dataclass
class Model:
    """Lanes in the order in which they came. `clock`: the turn of the last claim."""

    lanes: list[Lane] = field(default_factory=list)
    clock: int = 0

    def touch(self, lane: Lane) -> None:
        """Something of a lane has changed: a lane that becomes ready saves nothing up."""
        ready = bool(lane.jobs) and lane.running < lane.max_running and not lane.paused
        if ready and not lane.ready:
            lane.vtime = max(lane.vtime, self.clock)
        lane.ready = ready

    def add(self, lane: Lane) -> None:
        self.lanes.append(lane)
        self.touch(lane)

    def claim(self) -> Lane | None:
        """The lane whose first job is next, which is taken."""
        ready = [lane for lane in self.lanes if lane.ready]
        if not ready:
            return None
        lane = min(ready, key=lambda lane: lane.turn)
        lane.vtime = lane.turn
        self.clock = max(self.clock, lane.vtime)
        lane.jobs.pop(0)
        lane.running += 1
        self.touch(lane)
        return lane


def longest_waits(order: Sequence[int], lanes: int) -> list[int]:
    """Of each lane, the most claims of others between two of its own, or before its first."""
    longest, since = [0] * lanes, [0] * lanes
    for taken in order:
        for lane in range(lanes):
            since[lane] = 0 if lane == taken else since[lane] + 1
            longest[lane] = max(longest[lane], since[lane])
    return longest


def bound(weights: Sequence[int], lane: int, *, dearest: int = 1) -> int:
    """The longest that a lane waits, in claims, while all are busy: each other lane gets what its weight is worth in
    the time of one job of this lane, and one more."""
    return sum(
        -(-dearest * weight // weights[lane]) + 1 for other, weight in enumerate(weights) if other != lane
    )
