"""Who is in a team: invitations, roles, seats, leaving, handing over."""

from __future__ import annotations

import json
import uuid

import httpx
import pytest

from scripts.local.home import Local
from tests.support import sign_up
from tests.teams.crew import Crew, Hand


async def _invite(team: Crew, email: str, role: str = "editor") -> str:
    body = {"email": email, "role": role}
    answer = await team["owner"].say("POST", f"{team.path}/invitations", body, status=201)
    return str(answer["invitation_id"])


async def _members(team: Crew) -> dict[str, str]:
    document = await team["owner"].say("GET", team.path)
    return {member["user_id"]: member["role"] for member in document["members"]}


async def test_members_see_the_team_and_nobody_else_does(team: Crew) -> None:
    for role in ("owner", "editor", "viewer"):
        document = await team[role].say("GET", team.path)
        assert (document["name"], document["role"]) == ("Shop", role)
        assert [member["role"] for member in document["members"]] == ["owner", "editor", "viewer"]
        shown = {member["user_id"] for member in document["members"] if member["email"]}
        everybody = {str(team[name].id) for name in ("owner", "editor", "viewer")}
        assert shown == (everybody if role == "owner" else {str(team[role].id)})
        assert [row["team_id"] for row in (await team[role].say("GET", "/teams"))["teams"]] == [team.team_id]
    for role in ("former", "stranger"):
        assert await team[role].refused("GET", team.path, status=404) == "team_not_found"
        assert (await team[role].say("GET", "/teams"))["teams"] == []


async def test_a_free_account_has_no_teams(team: Crew) -> None:
    assert await team["stranger"].refused("POST", "/teams", {"name": "Mine"}, status=402) == "plan_required"


async def test_an_account_owns_twenty_teams_at_most(team: Crew) -> None:
    for number in range(19):
        await team["owner"].say("POST", "/teams", {"name": f"Shop {number}"}, status=201)
    assert await team["owner"].refused("POST", "/teams", {"name": "More"}, status=409) == "too_many_teams"


async def test_inviting_tells_nothing_of_accounts(team: Crew) -> None:
    """The answers for an address with an account and for one without have the same shape."""
    known = team["stranger"].user.email
    await team.plan("owner", "pro")
    bodies = []
    for email in (known, f"{uuid.uuid4().hex}@example.com"):
        body = {"email": email.upper(), "role": "viewer"}
        answer = await team["owner"].say("POST", f"{team.path}/invitations", body, status=201)
        assert answer["email"] == email
        bodies.append({key: answer[key] for key in ("team_id", "team_name", "role", "status")})
    assert bodies[0] == bodies[1]


async def test_an_invitation_is_for_the_address_alone(team: Crew) -> None:
    invitation = await _invite(team, team["stranger"].user.email)
    for role in ("viewer", "former"):
        for answer in ("accept", "decline"):
            path = f"/invitations/{invitation}/{answer}"
            assert await team[role].refused("POST", path, status=404) == "invitation_not_found"
    mine = (await team["stranger"].say("GET", "/me/invitations"))["invitations"]
    assert [(row["invitation_id"], row["team_name"]) for row in mine] == [(invitation, "Shop")]
    assert (await team["former"].say("GET", "/me/invitations"))["invitations"] == []
    joined = await team["stranger"].say("POST", f"/invitations/{invitation}/accept")
    assert (joined["team_id"], joined["role"]) == (team.team_id, "editor")
    again = await team["stranger"].say("POST", f"/invitations/{invitation}/accept")
    assert again["role"] == "editor"
    assert (await _members(team))[str(team["stranger"].id)] == "editor"


async def test_an_address_must_be_confirmed(team: Crew) -> None:
    """What a token or user_metadata says counts for nothing."""
    hand = team["stranger"]
    invitation = await _invite(team, hand.user.email)
    await team.db.execute("update auth.users set email_confirmed_at = null where id = $1", hand.id)
    assert (await hand.say("GET", "/me/invitations"))["invitations"] == []
    path = f"/invitations/{invitation}/accept"
    assert await hand.refused("POST", path, status=404) == "invitation_not_found"
    await team.db.execute("update auth.users set email_confirmed_at = now() where id = $1", hand.id)
    await hand.say("POST", path)


@pytest.mark.parametrize("end", ["revoked", "declined", "expired", "accepted"])
async def test_an_invitation_that_has_ended_says_how(team: Crew, end: str) -> None:
    hand = team["stranger"]
    invitation = await _invite(team, hand.user.email)
    match end:
        case "revoked":
            path = f"{team.path}/invitations/{invitation}"
            assert (await team["owner"].say("DELETE", path))["status"] == "revoked"
            assert (await team["owner"].say("DELETE", path))["status"] == "revoked"
        case "declined":
            for _ in range(2):
                answer = await hand.say("POST", f"/invitations/{invitation}/decline")
                assert answer["status"] == "declined"
        case "expired":
            await team.db.execute(
                "update public.team_invitations set expires_at = now() where id = $1", uuid.UUID(invitation)
            )
        case _:
            await hand.say("POST", f"/invitations/{invitation}/accept")
            await team.leave("stranger")
    code = await hand.refused("POST", f"/invitations/{invitation}/accept", status=410)
    assert code == f"invitation_{end}"
    assert str(hand.id) not in await _members(team)
    assert (await hand.say("GET", "/me/invitations"))["invitations"] == []
    await hand.say("POST", f"/invitations/{await _invite(team, hand.user.email)}/accept")


async def test_inviting_again_prolongs_and_takes_no_second_seat(team: Crew) -> None:
    first = await _invite(team, "ada@example.com", "viewer")
    taken = (await team["owner"].say("GET", team.path))["seats_taken"]
    second = await team["owner"].say(
        "POST", f"{team.path}/invitations", {"email": " Ada@Example.com", "role": "editor"}, status=201
    )
    assert (second["invitation_id"], second["role"]) == (first, "editor")
    assert (await team["owner"].say("GET", team.path))["seats_taken"] == taken
    listed = (await team["owner"].say("GET", f"{team.path}/invitations"))["invitations"]
    assert [row["invitation_id"] for row in listed] == [first]


async def test_seats_are_for_members_and_open_invitations(team: Crew) -> None:
    seats = (await team["owner"].say("GET", team.path))["seats"]
    taken = [await _invite(team, f"{uuid.uuid4().hex}@example.com") for _ in range(seats - 3)]
    body = {"email": team["stranger"].user.email, "role": "viewer"}
    assert await team["owner"].refused("POST", f"{team.path}/invitations", body, status=409) == "no_seats"
    await team["owner"].say("DELETE", f"{team.path}/invitations/{taken[0]}")
    await team["owner"].say("POST", f"{team.path}/invitations", body, status=201)
    member = {"email": team["editor"].user.email, "role": "viewer"}
    assert (
        await team["owner"].refused("POST", f"{team.path}/invitations", member, status=409)
        == "already_member"
    )


async def test_a_smaller_plan_leaves_no_seat_for_an_open_invitation(team: Crew) -> None:
    invitation = await _invite(team, team["stranger"].user.email)
    plan = uuid.uuid4().hex
    await team.db.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, seats)"
        " values ($1, 'Small', 8, 100, true, 3)",
        plan,
    )
    await team.plan("owner", plan)
    path = f"/invitations/{invitation}/accept"
    assert await team["stranger"].refused("POST", path, status=409) == "no_seats"
    await team.leave("viewer")
    await team["stranger"].say("POST", path)


ADMINISTRATION = {
    "rename": ("PATCH", "", {"name": "Ours"}),
    "delete": ("DELETE", "", {"name": "Shop"}),
    "invite": ("POST", "/invitations", {"email": "ada@example.com", "role": "viewer"}),
    "invitations": ("GET", "/invitations", None),
    "revoke": ("DELETE", f"/invitations/{uuid.uuid4()}", None),
    "promote": ("PATCH", "/members/{viewer}", {"role": "editor"}),
    "remove": ("DELETE", "/members/{viewer}", None),
    "seize": ("PATCH", "/members/{self}", {"role": "owner"}),
    "take": ("POST", "/images/take", {"image_ids": [str(uuid.uuid4())]}),
}


@pytest.mark.parametrize("call", ADMINISTRATION)
async def test_only_the_owner_runs_the_team(team: Crew, call: str) -> None:
    method, path, body = ADMINISTRATION[call]
    for role in ("editor", "viewer", "former", "stranger"):
        if (role, call) == ("viewer", "remove"):
            continue  # that would be leaving
        hand = team[role]
        where = team.path + path.format(viewer=team["viewer"].id, self=hand.id)
        member = role in {"editor", "viewer"}
        code = await hand.refused(method, where, body, status=403 if member else 404)
        assert code == ("role_required" if member else "team_not_found"), role
    assert set((await _members(team)).values()) == {"owner", "editor", "viewer"}


async def test_roles_change_at_once(team: Crew) -> None:
    body = {"name": "Mugs", "team_id": team.team_id}
    assert await team["viewer"].refused("POST", "/collections", body, status=403) == "role_required"
    path = f"{team.path}/members/{team['viewer'].id}"
    await team["owner"].say("PATCH", path, {"role": "editor"})
    await team["viewer"].say("POST", "/collections", body, status=201)
    await team["owner"].say("PATCH", path, {"role": "viewer"})
    assert (
        await team["viewer"].refused("POST", "/collections", {**body, "name": "Cups"}, status=403)
        == "role_required"
    )
    roles = [(row["data"]["before"], row["data"]["role"]) for row in await _audited_roles(team)]
    assert roles == [("viewer", "editor"), ("editor", "viewer")]
    nobody = f"{team.path}/members/{uuid.uuid4()}"
    assert await team["owner"].refused("PATCH", nobody, {"role": "editor"}, status=404) == "member_not_found"
    assert await team["owner"].refused("DELETE", nobody, status=404) == "member_not_found"


async def _audited_roles(team: Crew) -> list[dict[str, dict[str, str]]]:
    return [{"data": json.loads(row["data"])} for row in await team.audited("team.role")]


async def test_leaving_and_removing(team: Crew) -> None:
    await team.leave("viewer")
    await team["owner"].say("DELETE", f"{team.path}/members/{team['editor'].id}", status=204)
    assert list((await _members(team)).values()) == ["owner"]
    for role in ("viewer", "editor"):
        assert await team[role].refused("GET", team.path, status=404) == "team_not_found"
    assert [row["actor"] for row in await team.audited("team.remove")] == [team["owner"].id]
    # The former member left when the team was made.
    assert len(await team.audited("team.leave")) == 2


async def test_the_owner_cannot_leave_and_can_hand_over(team: Crew) -> None:
    owner, editor = team["owner"], team["editor"]
    mine = f"{team.path}/members/{owner.id}"
    assert await owner.refused("DELETE", mine, status=409) == "team_owner"
    assert await owner.refused("PATCH", mine, {"role": "viewer"}, status=409) == "team_owner"
    theirs = f"{team.path}/members/{editor.id}"
    assert await owner.refused("PATCH", theirs, {"role": "owner"}, status=402) == "plan_required"
    await team.plan("editor", "pro")
    document = await owner.say("PATCH", theirs, {"role": "owner"})
    assert document["role"] == "editor"
    assert (await editor.say("GET", team.path))["role"] == "owner"
    assert await owner.refused("DELETE", team.path, {"name": "Shop"}, status=403) == "role_required"
    await owner.say("DELETE", mine, status=204)


async def test_a_team_is_renamed(team: Crew) -> None:
    changed = await team["owner"].say("PATCH", team.path, {"name": "  Store ", "versions_to_keep": 3})
    assert (changed["name"], changed["versions_to_keep"]) == ("Store", 3)
    plan = await team.db.fetchval("select versions from public.plans where id = 'pro'")
    more = {"versions_to_keep": plan + 1}
    assert await team["owner"].refused("PATCH", team.path, more, status=402) == "plan_required"
    assert (await team["viewer"].say("GET", team.path))["name"] == "Store"


async def test_a_lapsed_plan_makes_a_team_read_only(shop: Crew) -> None:
    await shop.plan("owner", "free")
    assert (await shop["viewer"].say("GET", shop.path))["read_only"] is True
    assert len((await shop["editor"].say("GET", f"/images?team_id={shop.team_id}"))["images"]) == 1
    for role in ("owner", "editor"):
        for method, path, body in (
            ("DELETE", f"/images/{shop.image_id}", None),
            ("POST", "/collections", {"name": "Mugs", "team_id": shop.team_id}),
            ("POST", "/intake", shop.picture.claim("resize-v1:width-32", team_id=shop.team_id)),
        ):
            assert await shop[role].refused(method, path, body, status=402) == "plan_required"
    body = {"email": "ada@example.com", "role": "viewer"}
    assert (
        await shop["owner"].refused("POST", f"{shop.path}/invitations", body, status=402) == "plan_required"
    )
    await shop.leave("editor")
    await shop["owner"].say("DELETE", shop.path, {"name": "Shop"})
    mine = (await shop["owner"].say("GET", "/images"))["images"]
    assert [image["image_id"] for image in mine] == [shop.image_id]


async def test_a_new_account_of_an_invited_address_may_accept(team: Crew, local: Local) -> None:
    """Invited first, signed up later."""
    user = await sign_up(local)
    await team.db.execute("delete from auth.users where id = $1", user.id)
    invitation = await _invite(team, user.email, "viewer")
    async with httpx.AsyncClient(headers={"apikey": local.publishable_key}, trust_env=False) as client:
        answer = await client.post(
            f"{local.supabase_url}/auth/v1/signup", json={"email": user.email, "password": user.password}
        )
    body = answer.json()
    newcomer = type(user)(uuid.UUID(body["user"]["id"]), user.email, user.password, body["access_token"])
    async with Hand(str(team["owner"].http.base_url), local, newcomer) as hand:
        assert isinstance(hand, Hand)
        await hand.say("POST", f"/invitations/{invitation}/accept")
        assert (await hand.say("GET", team.path))["role"] == "viewer"
