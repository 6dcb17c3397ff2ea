"""Teams by unmodified supabase-js, as docs/teams.md shows it, and every write that it must be refused.

The cases are JavaScript (`node/teams.mjs`); each is one test here, by its name.
"""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from tests.node_cases import Results, cases_in, check, run_cases
from tests.teams.crew import crew, furnish

pytestmark = pytest.mark.node

SCRIPT = Path(__file__).parent / "node" / "teams.mjs"
CASES = cases_in(SCRIPT)


@pytest.fixture(scope="module")
async def results(local: Local, api: Child, worker: Child) -> Results:
    """Name of a case -> its error, None when it passed."""
    db = await asyncpg.connect(local.database_url)
    try:
        async with crew(local, api.url, db) as team:
            await furnish(team)
            await team.leave("former")
            output = (await team.rows("image_outputs"))[0]
            image = (await team.rows("images"))[0]
            scene = {
                "supabase_url": local.supabase_url,
                "publishable_key": local.publishable_key,
                "team": team.team_id,
                "image": team.image_id,
                "owner": str(team["owner"].id),
                "paths": [output["path"], output["thumb_path"], image["original_path"]],
                "tokens": {role: hand.user.token for role, hand in team.people.items()},
            }
            return await run_cases(SCRIPT, "TEAM", scene, seconds=120)
    finally:
        await db.close()


@pytest.mark.parametrize("name", CASES)
def test_case(results: Results, name: str) -> None:
    check(results, name)
