"""The compute cache: which outputs answer whom, who prolongs what, and the job that every hit has."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from service.cache.store import cache_key
from tests.races.order import behind, refused, together
from tests.sql.fixtures import Opener
from tests.sql.world import HOUR, Document, World, lease, output_of, paths_of
from tests.support import new_sha256

OP = "resize-v1:width-20"
KINDS = ("own", "stranger", "visitors", "own team", "other team")


async def _team(world: World) -> tuple[uuid.UUID, uuid.UUID]:
    """A team and its owner."""
    owner = await world.user(plan="pro")
    made = await world.call("create_team", p_user_id=owner, p_name="Shop")
    return uuid.UUID(made["team_id"]), owner


async def _join(world: World, team: uuid.UUID, role: str = "editor") -> uuid.UUID:
    member = await world.user(plan="pro")
    await world.connection.execute(
        "insert into public.team_members (team_id, user_id, role) values ($1, $2, $3)", team, member, role
    )
    return member


async def _made(world: World, sha256: str, user: uuid.UUID | None, team: uuid.UUID | None = None) -> Document:
    """A live output; that of a team is in its library."""
    if team is None:
        return dict((await world.done(user, sha256=sha256))["output"])
    job = await world.running(user, sha256=sha256, team_id=team)
    folder = f"{job['owner_id']}/{job['image_id']}/output/"
    path, thumb = (folder + name for name in paths_of(job["object_key"]))
    made = output_of(job) | {"bucket": "user-library", "path": path, "thumb_path": thumb}
    for name in (path, thumb):
        await world.put(name, "user-library")
    return dict(
        (await world.call("complete_job", **lease(job), p_output=json.dumps(made), p_output_seconds=HOUR))[
            "output"
        ]
    )


async def _cached(world: World, job: Document, *, verified: bool) -> Any:
    return await world.call("cached_output", **lease(job), p_output_seconds=HOUR, p_verified=verified)


async def _quote(world: World, user: uuid.UUID | None, sha256: str, **claim: int | None) -> bool:
    facts = {"size": 1000, "width": 40, "height": 30} | claim
    told = await world.call(
        "get_quote_facts",
        p_user_id=user,
        p_cache_key=cache_key(sha256, OP),
        p_op_key=OP,
        p_queue="default",
        **{f"p_{name}": value for name, value in facts.items()},
    )
    return bool(told["cached"])


@pytest.mark.parametrize("whose", KINDS)
async def test_whose_outputs_answer(world: World, whose: str) -> None:
    """Before the bytes are hashed, the caller's own and visitors'; afterwards every user's, but no team's."""
    caller, sha256 = await world.user(), new_sha256()
    team, team_owner = await _team(world)
    owners = {
        "own": (caller, None),
        "stranger": (await world.user(), None),
        "visitors": (None, None),
        "own team": (team_owner, team),
        "other team": (team_owner, team),
    }
    # A member of a team asks for themself: what the team has is the team's.
    who = team_owner if whose == "own team" else caller
    output = await _made(world, sha256, *owners[whose])
    answer = await world.intake(who, sha256=sha256)
    expected = {"own": "hit", "visitors": "copy"}.get(whose, "job")
    assert answer["outcome"] == expected
    assert await _quote(world, who, sha256) == (expected != "job")
    if expected == "job":
        await world.cancel(answer["job"]["job_id"], who)
    job = await world.running(who, sha256=sha256, use_cache=False)
    for verified in (False, True):
        found = await _cached(world, job, verified=verified)
        may = whose in ({"own", "visitors", "stranger"} if verified else {"own", "visitors"})
        assert (found is not None) == may
        assert not may or found["output"]["output_id"] == output["output_id"]
    assert (job["cached"] and job["cached"]["output"]["output_id"]) == (found and output["output_id"])
    await world.cancel(job["id"], who)


async def test_a_visitor_gets_nothing_of_a_user(world: World) -> None:
    sha256 = new_sha256()
    await _made(world, sha256, await world.user())
    assert (await world.intake(sha256=sha256))["outcome"] == "job"
    assert not await _quote(world, None, sha256)


async def test_for_a_team_its_own_output_then_the_callers_then_visitors(world: World) -> None:
    team, owner = await _team(world)
    sha256 = new_sha256()
    await _made(world, sha256, await world.user())
    assert (await world.intake(owner, sha256=sha256, team_id=team))["outcome"] == "job"
    for expected, who, whose in (("copy", None, None), ("copy", owner, None), ("hit", owner, team)):
        await world.connection.execute("delete from public.jobs where status = 'awaiting_upload'")
        made = await _made_anew(world, sha256, who, whose)
        answer = await world.intake(owner, sha256=sha256, team_id=team)
        assert (answer["outcome"], answer["output"]["output_id"]) == (expected, made["output_id"])


async def _made_anew(world: World, sha256: str, user: uuid.UUID | None, team: uuid.UUID | None) -> Document:
    """An output although the cache has one."""
    if team is not None:
        adopted = await world.call(
            "adopt_output",
            p_job_id=uuid.uuid4(),
            p_user_id=user,
            p_source_id=(await world.intake(user, sha256=sha256))["output"]["output_id"],
            p_filename="lamp.jpg",
            p_path=f"{uuid.uuid4()}.webp",
            p_thumb_path=f"{uuid.uuid4()}.thumb.webp",
            p_output_seconds=HOUR,
            p_request_id=None,
            p_team_id=team,
        )
        return dict(adopted["output"])
    return dict((await world.done(user, sha256=sha256, use_cache=False))["output"])


CLAIMS: list[tuple[dict[str, int], bool]] = [
    ({}, True),
    ({"width": 30, "height": 40}, True),
    ({"size": 1}, False),
    ({"size": 999}, False),
    ({"size": 1, "width": 1, "height": 1}, False),
    ({"width": 1}, False),
    ({"height": 31}, False),
    ({"width": 80, "height": 60}, False),
]


@pytest.mark.parametrize(("claim", "agrees"), CLAIMS, ids=str)
async def test_a_claim_must_agree_with_the_verified_picture(
    world: World, claim: dict[str, int], agrees: bool
) -> None:
    user, sha256 = await world.user(), new_sha256()
    for who in (None, user):
        await world.done(who, sha256=sha256, use_cache=False)
        answer = await world.intake(who, sha256=sha256, **claim)
        assert (answer["outcome"] == "hit") == agrees
        assert await _quote(world, who, sha256, **claim) == agrees
        if not agrees:  # nor does the worker take the claim's word for it
            await world.cancel(answer["job"]["job_id"], who)
            job = await world.running(who, sha256=sha256, use_cache=False, **claim)
            assert await _cached(world, job, verified=True) is None
            await world.fail(job)


@pytest.mark.parametrize("missing", ["size", "width", "height"])
async def test_a_quote_without_a_whole_claim_tells_of_no_hit(world: World, missing: str) -> None:
    user, sha256 = await world.user(), new_sha256()
    await world.done(user, sha256=sha256)
    assert await _quote(world, user, sha256)
    assert not await _quote(world, user, sha256, **{missing: None})


@pytest.mark.parametrize(
    ("width", "height", "agrees"), [(40, 30, True), (400, 300, True), (30, 40, False), (40, 40, False)]
)
async def test_of_a_drawing_the_shape_must_agree(world: World, width: int, height: int, agrees: bool) -> None:
    sha256 = new_sha256()
    job = await world.running(sha256=sha256)
    await world.complete(job, input_content_type="image/svg+xml")
    answer = await world.intake(sha256=sha256, width=width, height=height)
    assert (answer["outcome"] == "hit") == agrees


async def _ends(world: World, output: Document) -> Any:
    return await world.value("select expires_at from public.image_outputs where id = $1", output["output_id"])


@pytest.mark.parametrize("whose", ["own", "stranger", "visitors"])
async def test_nobody_prolongs_what_is_anothers(world: World, whose: str) -> None:
    caller, sha256 = await world.user(), new_sha256()
    who = {"own": caller, "stranger": await world.user(), "visitors": None}[whose]
    output = await _made(world, sha256, who)
    job = await world.running(caller, sha256=sha256, use_cache=False)
    await world.connection.execute(
        "update public.image_outputs set expires_at = now() + interval '1 minute' where id = $1",
        output["output_id"],
    )
    before = await _ends(world, output)
    await world.intake(caller, sha256=sha256)
    await world.intake(sha256=sha256)
    await _cached(world, job, verified=True)
    assert (await _ends(world, output) > before) == (whose == "own")


async def test_a_visitor_who_has_sent_the_bytes_prolongs_what_visitors_share(world: World) -> None:
    sha256 = new_sha256()
    output = await _made(world, sha256, None)
    job = await world.running(sha256=sha256, use_cache=False)
    await world.connection.execute(
        "update public.image_outputs set expires_at = now() + interval '1 minute' where id = $1",
        output["output_id"],
    )
    before = await _ends(world, output)
    await _cached(world, job, verified=False)
    assert await _ends(world, output) == before
    await _cached(world, job, verified=True)
    assert await _ends(world, output) > before + timedelta(minutes=30)


async def test_a_claim_prolongs_nothing_and_the_reuse_of_verified_bytes_does(world: World) -> None:
    """A claim knows what was announced. That the bytes are those is found out by the worker, who then completes."""
    caller, sha256 = await world.user(), new_sha256()
    output = await _made(world, sha256, caller)
    await world.connection.execute(
        "update public.image_outputs set expires_at = now() + interval '1 minute' where id = $1",
        output["output_id"],
    )
    before = await _ends(world, output)
    job = await world.running(caller, sha256=sha256, use_cache=False)
    assert job["cached"]["own"]
    assert await _ends(world, output) == before
    await world.call(
        "complete_from_cache", **lease(job), p_output_id=uuid.UUID(output["output_id"]), p_output_seconds=HOUR
    )
    assert await _ends(world, output) > before + timedelta(minutes=30)


async def test_nobody_adopts_what_is_anothers(world: World) -> None:
    """Also not who has asked an intake of the release before."""
    output = await _made(world, new_sha256(), await world.user())
    with refused("output_not_found"):
        await world.adopt(await world.user(), output["output_id"])


async def test_a_copy_answers_its_owner_alone(world: World) -> None:
    first, second, sha256 = await world.user(), await world.user(), new_sha256()
    source = await _made(world, sha256, None)
    await world.adopt(first, source["output_id"])
    await world.call("bury_output", p_output_id=source["output_id"], p_reason="test")
    assert (await world.intake(first, sha256=sha256))["outcome"] == "hit"
    assert (await world.intake(second, sha256=sha256))["outcome"] == "job"
    assert (await world.intake(sha256=sha256))["outcome"] == "job"


# The job of a hit


async def _get(world: World, job_id: object, user: uuid.UUID | None) -> Any:
    return await world.call("get_job", p_job_id=job_id, p_user_id=user)


async def test_a_hit_of_ones_own_names_the_job_that_made_it(world: World) -> None:
    user, sha256 = await world.user(), new_sha256()
    made = await world.done(user, sha256=sha256)
    hit = await world.intake(user, sha256=sha256)
    assert hit["job_id"] == made["job_id"]
    image = await world.value("select id from public.images where user_id = $1", user)
    assert (hit["output"]["image_id"], hit["output"]["version"]) == (str(image), None)


async def test_a_hit_whose_job_is_gone_gets_one(world: World) -> None:
    user, sha256 = await world.user(), new_sha256()
    made = await world.done(user, sha256=sha256)
    await world.connection.execute("delete from public.job_events where user_id = $1", user)
    await world.connection.execute("delete from public.jobs where user_id = $1", user)
    answers = [(await world.intake(user, sha256=sha256, filename="mug.jpg"))["job_id"] for _ in range(2)]
    assert answers[0] == answers[1] != made["job_id"]
    job = await _get(world, answers[0], user)
    assert (job["status"], job["filename"], job["charged"]) == ("done", "mug.jpg", 0)
    assert job["output"]["output_id"] == made["output"]["output_id"]
    assert await _get(world, answers[0], await world.user()) is None


async def test_visitors_share_a_job_that_is_not_the_makers(world: World) -> None:
    sha256 = new_sha256()
    made = await world.done(sha256=sha256, filename="secret.jpg", request_id="r-1")
    hits = [
        await world.intake(sha256=sha256, filename=f"{number}.jpg", request_id="r-2") for number in range(3)
    ]
    [shared] = {hit["job_id"] for hit in hits}
    assert shared != made["job_id"]
    job = await _get(world, shared, None)
    assert (job["status"], job["filename"], job["user_id"]) == ("done", "picture", None)
    assert job["output"]["output_id"] == made["output"]["output_id"]
    text = json.dumps([*hits, job])
    assert made["job_id"] not in text
    assert "secret" not in text
    row = await world.job(shared)
    assert (row["request_id"], row["address"], row["attempt"]) == (None, None, 0)


async def test_hits_at_once_share_one_job(world: World, open_world: Opener) -> None:
    sha256 = new_sha256()
    await world.done(sha256=sha256)
    worlds = [await open_world() for _ in range(8)]
    hits = await together([each.intake(sha256=sha256) for each in worlds])
    assert len({hit["job_id"] for hit in hits}) == 1
    user, own = await world.user(), new_sha256()
    await world.done(user, sha256=own)
    await world.connection.execute("delete from public.jobs where user_id = $1", user)
    hits = await together([each.intake(user, sha256=own) for each in worlds])
    assert len({hit["job_id"] for hit in hits}) == 1


async def test_every_member_of_a_team_has_a_job_of_their_own_for_its_hit(world: World) -> None:
    team, owner = await _team(world)
    editor, sha256 = await _join(world, team), new_sha256()
    made = await _made(world, sha256, owner, team)
    hits = {who: await world.intake(who, sha256=sha256, team_id=team) for who in (owner, editor)}
    assert hits[owner]["job_id"] != hits[editor]["job_id"]
    for who, other in ((owner, editor), (editor, owner)):
        assert (await _get(world, hits[who]["job_id"], who))["output"]["output_id"] == made["output_id"]
        assert await _get(world, hits[who]["job_id"], other) is None
        assert hits[who]["output"]["version"] == 1
    again = await world.intake(editor, sha256=sha256, team_id=team)
    assert again["job_id"] == hits[editor]["job_id"]
    # Who has left the team has lost the job with it.
    await world.call("remove_member", p_team_id=team, p_user_id=owner, p_member_id=editor)
    assert await _get(world, hits[editor]["job_id"], editor) is None


# Claims


async def _claim(world: World, user: uuid.UUID, *job_ids: object) -> Document:
    """As the service does it: copies for what has an output."""
    found = await world.call(
        "find_claimable", p_job_ids=[uuid.UUID(str(one)) for one in job_ids], p_user_id=user
    )
    claims = []
    for job in found:
        path, thumb = paths_of(uuid.uuid4()) if job["output"] else (None, None)
        claims.append({"job_id": job["job_id"], "path": path, "thumb_path": thumb})
    return dict(
        await world.call("claim_jobs", p_user_id=user, p_claims=json.dumps(claims), p_output_seconds=HOUR)
    )


async def test_a_shared_job_is_not_taken_away(world: World) -> None:
    sha256, first, second = new_sha256(), await world.user(), await world.user()
    made = await world.done(sha256=sha256)
    shared = (await world.intake(sha256=sha256))["job_id"]
    mine = {}
    for user in (first, second):
        answer = await _claim(world, user, shared)
        assert (answer["claimed"], answer["again"]) == ([shared], [])
        mine[user] = answer["jobs"][shared]
        job = await _get(world, mine[user], user)
        assert (job["status"], job["user_id"]) == ("done", str(user))
        assert job["output"]["output_id"] != made["output"]["output_id"]
        assert job["output"]["image_id"] is not None
        assert await _get(world, mine[user], None) is None
        assert job["output"]["path"] == (await world.paths(mine[user]))[0]
        # Once: another claim gives the same job and copies nothing.
        assert (await _claim(world, user, shared))["jobs"] == {shared: mine[user]}
        outputs = "select count(*) from public.image_outputs where user_id = $1 and deleted_at is null"
        assert await world.value(outputs, user) == 1
    assert len({shared, made["job_id"], *mine.values()}) == 4
    assert (await world.intake(sha256=sha256))["job_id"] == shared
    assert (await _get(world, made["job_id"], None))["user_id"] is None


async def test_copies_of_a_claim_that_came_late_are_removed(world: World, open_world: Opener) -> None:
    """Two claims of one user at once have each copied the shared output."""
    sha256, user, other = new_sha256(), await world.user(), await open_world()
    await world.done(sha256=sha256)
    shared = (await world.intake(sha256=sha256))["job_id"]
    copies = [paths_of(uuid.uuid4()) for _ in range(2)]

    def claim(path: str, thumb: str) -> dict[str, Any]:
        claims = [{"job_id": shared, "path": path, "thumb_path": thumb}]
        return {"p_user_id": user, "p_claims": json.dumps(claims), "p_output_seconds": HOUR}

    first, second = await behind(
        world,
        world.call("claim_jobs", **claim(*copies[0])),
        other,
        other.call("claim_jobs", **claim(*copies[1])),
    )
    assert first["jobs"] == second["jobs"]
    assert await world.tombstones(*copies[0], *copies[1]) == set(copies[1])


async def test_a_result_claimed_in_both_ways_is_the_makers_job(world: World) -> None:
    sha256, user = new_sha256(), await world.user()
    made = await world.done(sha256=sha256, filename="mug.jpg")
    shared = (await world.intake(sha256=sha256))["job_id"]
    answer = await _claim(world, user, shared, made["job_id"])
    assert answer["jobs"] == {made["job_id"]: made["job_id"], shared: made["job_id"]}
    assert await world.value("select filename from public.images where user_id = $1", user) == "mug.jpg"


async def test_a_shared_job_whose_output_has_gone_cannot_be_claimed(world: World) -> None:
    sha256, user = new_sha256(), await world.user()
    made = await world.done(sha256=sha256)
    shared = (await world.intake(sha256=sha256))["job_id"]
    await world.call("bury_output", p_output_id=made["output"]["output_id"], p_reason="test")
    assert await _claim(world, user, shared) == {"claimed": [], "again": [], "jobs": {}}


async def test_a_claimed_job_gets_another_object_key(world: World) -> None:
    """The one that it had names the output that others share."""
    user = await world.user()
    made = await world.done()
    before = await world.paths(made["job_id"])
    await _claim(world, user, made["job_id"])
    after = await world.paths(made["job_id"])
    assert before != after
    assert (await _get(world, made["job_id"], user))["output"]["path"] == after[0]


# Names


async def test_names_of_objects_hold_no_id(world: World) -> None:
    user = await world.user()
    for who in (None, user):
        job = await world.running(who)
        done = await world.complete(job)
        ids = {str(job["id"]), str(job["image_id"]), str(who), done["output"]["output_id"]}
        assert not any(one in done["output"]["path"] for one in ids)


async def test_leftovers_are_found_by_object_key_and_by_the_name_of_the_release_before(world: World) -> None:
    job = await world.running()
    await world.connection.execute(
        "update public.jobs set run_at = now() where id = $1", uuid.UUID(job["id"])
    )
    await world.fail(job, retry=0.0)
    again = await world.claim(job["queue"])
    assert again is not None
    left = [f"{again['object_key']}.0a0b0c0d.webp", f"{again['id']}.0a0b0c0d.thumb.webp"]
    kept = output_of(again)
    for path in (*left, kept["path"], kept["thumb_path"], f"{uuid.uuid4()}.0a0b0c0d.webp"):
        await world.put(path, "outputs-ephemeral")
    await world.complete(again)
    marked = await world.connection.fetch("select path from public.tombstones where reason = 'leftover'")
    assert {row["path"] for row in marked} >= set(left)
    assert await world.tombstones(*left, kept["path"], kept["thumb_path"]) == set(left)


@pytest.mark.parametrize("name", ["object_key", "id"])
async def test_what_an_unfinished_job_has_written_is_no_orphan(world: World, name: str) -> None:
    job = await world.running()
    path = f"{job[name]}.0a0b0c0d.webp"
    await world.put(path, "outputs-ephemeral")
    await world.connection.execute("update storage.objects set created_at = now() - interval '2 hours'")
    while await world.call("entomb_orphans", p_older_than=timedelta(hours=1), p_limit=100):
        pass
    assert not await world.tombstones(path)
    await world.fail(job)
    while await world.call("entomb_orphans", p_older_than=timedelta(hours=1), p_limit=100):
        pass
    assert await world.tombstones(path) == {path}


# One output


async def test_an_output_is_shown_to_whoever_may_read_it(world: World) -> None:
    team, owner = await _team(world)
    viewer, stranger = await _join(world, team, "viewer"), await world.user()
    made = await _made(world, new_sha256(), owner, team)
    for who, seen in ((owner, True), (viewer, True), (stranger, False)):
        found = await world.call("get_output", p_output_id=made["output_id"], p_user_id=who)
        assert (found is not None) == seen
        if seen:
            assert (found["job_id"] is not None) == (who == owner)
            assert (found["version"], found["image_id"]) == (1, made["image_id"])
    shared = await _made(world, new_sha256(), None)
    assert await world.call("get_output", p_output_id=shared["output_id"], p_user_id=owner) is None
    mine = await _made(world, new_sha256(), stranger)
    await world.late("expires_at", mine["output_id"], "image_outputs")
    assert await world.call("get_output", p_output_id=mine["output_id"], p_user_id=stranger) is None


SAID = [{"op": "bgremove-v2", "method": "model", "confidence": 0.4, "warnings": ["The hair may be cut."]}]
MEASURED = {"thumbhash": "AAiCBQ==", "sharpness": 0.5}


async def test_what_is_known_of_a_result_goes_with_every_copy(world: World) -> None:
    """Through completing, a hit of visitors' that is copied, the copy that a worker makes, a claim, and a promotion."""
    sha256, facts = new_sha256(), {"report": SAID, "features": MEASURED}
    job = await world.running(sha256=sha256)
    documents = [(await world.complete(job, **facts))["output"]]
    first, second = await world.user(plan="pro"), await world.user()
    adopted = (await world.adopt(first, documents[0]["output_id"]))["output"]
    late = await world.running(second, sha256=sha256, use_cache=False)
    found = (await _cached(world, late, verified=True))["output"]
    copied = {**output_of(late), **{name: found[name] for name in facts}}
    documents += [adopted, found, (await world.complete(late, **copied))["output"]]
    documents.append((await world.call("get_job", p_job_id=job["id"], p_user_id=None))["output"])
    key = uuid.uuid4()
    path, thumb = (f"{first}/{key}/output/{name}" for name in paths_of(key))
    promoted = {
        "p_output_id": adopted["output_id"],
        "p_user_id": first,
        "p_path": path,
        "p_thumb_path": thumb,
    }
    documents.append(await world.call("promote_output", **promoted, p_charge=False))
    documents.append(
        (await world.call("get_image", p_image_id=adopted["image_id"], p_user_id=first))["current"]
    )
    path, thumb = paths_of(uuid.uuid4())
    claim = json.dumps([{"job_id": str(job["id"]), "path": path, "thumb_path": thumb}])
    third = await world.user()
    claimed = await world.call("claim_jobs", p_user_id=third, p_claims=claim, p_output_seconds=HOUR)
    mine = claimed["jobs"][str(job["id"])]
    documents.append((await world.call("get_job", p_job_id=mine, p_user_id=third))["output"])
    assert len({document["output_id"] for document in documents}) == 4
    assert all({name: document[name] for name in facts} == facts for document in documents)


async def test_a_result_of_which_nothing_is_known(world: World) -> None:
    """As the release before stores it."""
    output = (await world.done())["output"]
    assert (output["report"], output["features"]) == ([], None)
