"""The calls of teams and operators, for tests/chaos/calls.py."""

from __future__ import annotations

import secrets
from typing import Any

from tests.chaos.calls import WHY, Call, Stage, call
from tests.jobs import new_queue, queue_job
from tests.library.people import OP, Person
from tests.photos import photo

# Teams


async def _team(stage: Stage) -> tuple[Person, str]:
    owner = await stage.person()
    made = await owner.say("POST", "/teams", {"name": "Shop"}, status=201)
    return owner, f"/teams/{made['team_id']}"


async def _invited(stage: Stage) -> tuple[Person, Person, str, str]:
    """Owner, whoever is invited, and the paths of team and invitation."""
    owner, team = await _team(stage)
    guest, user = await stage.account()
    made = await owner.say("POST", f"{team}/invitations", {"email": user.email, "role": "editor"}, status=201)
    return owner, guest, team, f"/invitations/{made['invitation_id']}"


@call("POST /teams")
async def _new_team(stage: Stage) -> Call:
    return Call(await stage.person(), "/teams", {"name": "Shop"})


@call("PATCH /teams/{team_id}")
async def _change_team(stage: Stage) -> Call:
    return Call(*await _team(stage), {"versions_to_keep": 5})


@call("DELETE /teams/{team_id}")
async def _delete_team(stage: Stage) -> Call:
    return Call(*await _team(stage), {"name": "Shop"})


@call("POST /teams/{team_id}/invitations")
async def _invite(stage: Stage) -> Call:
    owner, team = await _team(stage)
    body = {"email": f"{secrets.token_hex(6)}@example.com", "role": "viewer"}
    return Call(owner, f"{team}/invitations", body)


@call("DELETE /teams/{team_id}/invitations/{invitation_id}")
async def _revoke(stage: Stage) -> Call:
    owner, _, team, invitation = await _invited(stage)
    return Call(owner, team + invitation)


@call("POST /invitations/{invitation_id}/accept")
async def _accept(stage: Stage) -> Call:
    _, guest, _, invitation = await _invited(stage)
    return Call(guest, f"{invitation}/accept")


@call("POST /invitations/{invitation_id}/decline")
async def _decline(stage: Stage) -> Call:
    _, guest, _, invitation = await _invited(stage)
    return Call(guest, f"{invitation}/decline")


async def _joined(stage: Stage) -> tuple[Person, str]:
    owner, guest, team, invitation = await _invited(stage)
    await guest.say("POST", f"{invitation}/accept")
    return owner, f"{team}/members/{guest.id}"


@call("PATCH /teams/{team_id}/members/{member_id}")
async def _set_role(stage: Stage) -> Call:
    return Call(*await _joined(stage), {"role": "viewer"})


@call("DELETE /teams/{team_id}/members/{member_id}")
async def _remove_member(stage: Stage) -> Call:
    return Call(*await _joined(stage))


@call("POST /teams/{team_id}/images")
async def _give(stage: Stage) -> Call:
    owner, team = await _team(stage)
    return Call(owner, f"{team}/images", {"image_ids": [(await stage.kept(owner))["image_id"]]})


@call("POST /teams/{team_id}/images/take")
async def _take(stage: Stage) -> Call:
    owner, team = await _team(stage)
    body = {"image_ids": [(await stage.kept(owner))["image_id"]]}
    await owner.say("POST", f"{team}/images", body)
    return Call(owner, f"{team}/images/take", body)


# Operators


def _account(route: str, suffix: str, before: str | None = None, **body: Any) -> None:
    async def make(stage: Stage) -> Call:
        admin, person = await stage.admin(), await stage.person()
        path = f"/admin/api/users/{person.id}"
        if before is not None:
            await admin.say("POST", path + before, WHY)
        return Call(admin, path + suffix, body | WHY)

    call(f"POST /admin/api/users/{{user_id}}{route}")(make)


_account("/plan", "/plan", plan_id="basic")
_account("/credits/give", "/credits/give", amount=50, reference="ticket-417")
_account("/credits/take", "/credits/take", amount=5, reference="ticket-418")
_account("/suspend", "/suspend")
_account("/restore", "/restore", "/suspend")
_account("/flag", "/flag")
_account("/unflag", "/unflag", "/flag")


@call("POST /admin/api/jobs/{job_id}/replay")
async def _replay(stage: Stage) -> Call:
    person = await stage.person()
    job_id = await stage.job(person.id, {"code": "op_failed"})
    return Call(await stage.admin(), f"/admin/api/jobs/{job_id}/replay", WHY)


@call("POST /admin/api/jobs/{job_id}/cancel")
async def _cancel(stage: Stage) -> Call:
    job = await (await stage.person()).intake(photo(48, 32), OP)
    return Call(await stage.admin(), f"/admin/api/jobs/{job['job_id']}/cancel", WHY)


@call("POST /admin/api/jobs/{job_id}/refund")
async def _refund(stage: Stage) -> Call:
    job_id = await stage.job((await stage.person()).id)
    return Call(await stage.admin(), f"/admin/api/jobs/{job_id}/refund", WHY)


@call("POST /admin/api/refused/{job_id}/review")
async def _review(stage: Stage) -> Call:
    person = await stage.person()
    job_id = await stage.job(person.id, {"code": "refused", "category": "nudity"})
    body = {"decision": "block", **WHY}
    return Call(await stage.admin(), f"/admin/api/refused/{job_id}/review", body)


@call("POST /admin/api/in-review/{kind}/{picture_id}")
async def _decide(stage: Stage) -> Call:
    output_id = await stage.output(await stage.person())
    await stage.db.execute(
        "update public.image_outputs set moderation = 'review', moderation_score = 0.5 where id = $1",
        output_id,
    )
    body = {"decision": "refuse", **WHY}
    return Call(await stage.admin(), f"/admin/api/in-review/output/{output_id}", body)


async def _blocked(stage: Stage) -> tuple[Person, dict[str, Any]]:
    picture = photo(48, 32)
    await stage.output(await stage.person(), picture)
    return await stage.admin(), {"sha256": picture.sha256, "category": "copyright", **WHY}


@call("POST /admin/api/blocked")
async def _block(stage: Stage) -> Call:
    admin, body = await _blocked(stage)
    return Call(admin, "/admin/api/blocked", body)


@call("POST /admin/api/blocked/{sha256}/unblock")
async def _unblock(stage: Stage) -> Call:
    admin, body = await _blocked(stage)
    await admin.say("POST", "/admin/api/blocked", body)
    return Call(admin, f"/admin/api/blocked/{body['sha256']}/unblock", WHY)


def _queue(route: str, *, lane: bool, act: str) -> None:
    async def make(stage: Stage) -> Call:
        admin, person, queue = await stage.admin(), await stage.person(), new_queue()
        await queue_job(stage.platform, photo(48, 32), OP, queue, user_id=person.id)
        found = await stage.db.fetchval(
            "select id from public.lanes where queue = $1 and user_id = $2", queue, person.id
        )
        path = f"/admin/api/lanes/{found}" if lane else f"/admin/api/queues/{queue}"
        if act == "resume":
            await admin.say("POST", f"{path}/pause", WHY)
        return Call(admin, f"{path}/{act}", WHY)

    call(route)(make)


_queue("POST /admin/api/lanes/{lane_id}/pause", lane=True, act="pause")
_queue("POST /admin/api/lanes/{lane_id}/resume", lane=True, act="resume")
_queue("POST /admin/api/queues/{queue}/pause", lane=False, act="pause")
_queue("POST /admin/api/queues/{queue}/resume", lane=False, act="resume")
