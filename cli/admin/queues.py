"""Queues and lanes."""

from typing import Annotated

import typer

from cli.admin import console
from cli.admin.common import AsJson, Because, actor, because, run
from cli.common import complaints
from service.admin.store import Admin

app = typer.Typer()

LaneId = Annotated[int | None, typer.Option("--lane", min=1, help="Id of a lane, as `lanes` lists them.")]
Queue = Annotated[str | None, typer.Option("--queue", help="Name of a queue, for all its lanes.")]


@app.command()
def lanes(as_json: AsJson = False) -> None:
    """List who waits for how much, those with most waiting first, and the queues that are paused."""
    from service.admin.queue_routes import MAX_LANES

    found = run(lambda r: Admin(r.database).list_lanes(MAX_LANES))
    if as_json:
        console.show_json(found)
        return
    columns = {"lane": "lane_id", "queue": "queue", "user": "email", "team": "team_id", "plan": "plan_id"}
    columns |= {
        "weight": "weight",
        "state": "state",
        "waiting": "waiting",
        "running": "running",
        "due": "due_at",
    }
    console.show_rows("Lanes", found.lanes, columns)
    if found.paused_queues:
        console.show_rows("Paused queues", found.paused_queues, {"queue": "queue", "since": "paused_at"})


@app.command()
def pause(reason: Because, lane: LaneId = None, queue: Queue = None) -> None:
    """Hold back what waits in a lane or a whole queue. What is running goes on."""
    why = because(reason)
    if lane is not None and queue is None:
        held = run(lambda r: Admin(r.database).pause_lane(lane, actor(), why, paused=True))
        console.say(f"Lane {lane} is paused; {held.waiting} wait in it.")
    elif queue is not None and lane is None:
        run(lambda r: Admin(r.database).pause_queue(queue, actor(), why, paused=True))
        console.say(f"Queue {queue} is paused.")
    else:
        _refuse()


@app.command()
def resume(reason: Because, lane: LaneId = None, queue: Queue = None) -> None:
    """Let a lane or a queue be claimed from again."""
    from service.admin import actions

    why = because(reason)
    if lane is not None and queue is None:
        found = run(lambda r: actions.resume_lane(r, lane, actor(), why))
        console.say(f"Lane {lane} goes on: {found.state}, {found.waiting} wait in it.")
    elif queue is not None and lane is None:
        run(lambda r: actions.resume_queue(r, queue, actor(), why))
        console.say(f"Queue {queue} goes on.")
    else:
        _refuse()


def _refuse() -> None:
    complaints.print("Name one: --lane ID or --queue NAME.", style="red", markup=False)
    raise typer.Exit(2)
