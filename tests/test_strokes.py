"""Brush strokes end to end: sent once, named in op_keys, part of what the cache is asked for."""

from __future__ import annotations

import io
from typing import Any

import asyncpg
import numpy as np
from PIL import Image

from tests.client import Client
from tests.test_batch import ask, product

ERASE: dict[str, Any] = {
    "kind": "strokes",
    "strokes": [{"mode": "erase", "width": 0.2, "points": [[0.4, 0.5]]}],
}


async def keep(client: Client, document: dict[str, Any] = ERASE) -> str:
    answer = await client.http.post("/inputs", json=document)
    assert answer.status_code == 200, answer.text
    digest = answer.json()["digest"]
    assert isinstance(digest, str)
    return digest


async def test_strokes_change_the_picture(user_client: Client) -> None:
    digest = await keep(user_client)
    picture = product()
    plain = await user_client.process(picture, "bgremove-v2")
    drawn = await user_client.process(picture, f"bgremove-v2:strokes-{digest}")
    before, after = [await _alpha(user_client, job) for job in (plain, drawn)]
    assert (before[240, 256], after[240, 256]) == (255, 0)
    again = await user_client.intake(picture, f"bgremove-v2:strokes-{digest}")
    assert again["cached"]


async def test_a_document_is_given_back_as_it_is_kept(user_client: Client, client: Client) -> None:
    rough = {**ERASE, "strokes": [{"mode": "erase", "width": 0.2, "points": [[0.400001, 0.5]]}]}
    digest = await keep(user_client)
    assert await keep(user_client, rough) == digest
    answer = await user_client.http.get(f"/inputs/{digest}")
    assert answer.json()["document"] == ERASE
    missing = await client.http.get(f"/inputs/{digest}")
    assert (missing.status_code, missing.json()["code"]) == (404, "input_not_found")


async def test_an_op_key_that_names_what_was_never_sent_is_refused_before_the_upload(
    user_client: Client,
) -> None:
    key = f"bgremove-v2:strokes-{'0' * 64}"
    answer = await user_client.http.post("/intake", json=product().claim(key))
    assert (answer.status_code, answer.json()["code"]) == (404, "input_not_found")
    assert "POST /inputs" in answer.json()["detail"]
    asked = await user_client.http.post(
        "/intake/batch",
        json={**{k: v for k, v in product().claim(key).items() if k != "op_key"}, "op_keys": [key]},
    )
    assert asked.json()["code"] == "input_not_found"


async def test_strokes_of_visitors_serve_visitors(client: Client) -> None:
    digest = await keep(client)
    document = await client.process(product(), f"bgremove-v2:strokes-{digest}+resize-v1:width-200")
    assert document["status"] == "done"


async def test_a_job_whose_document_has_gone_says_what_to_do(
    user_client: Client, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    document = {**ERASE, "strokes": [{"mode": "keep", "width": 0.31, "points": [[0.5, 0.5]]}]}
    digest, picture = await keep(user_client, document), product()
    answer = await user_client.intake(picture, f"bgremove-v2:strokes-{digest}")
    await db.execute("delete from public.input_documents where digest = $1", digest)
    await user_client.upload(answer, picture)
    ended = await user_client.wait(answer["job_id"])
    assert (ended["status"], ended["error"]["code"], ended["charged"]) == ("error", "input_not_found", 0)
    assert "POST /inputs" in ended["error"]["detail"]


async def test_one_upload_serves_a_cut_with_strokes_and_one_without(user_client: Client) -> None:
    digest, picture = await keep(user_client), product()
    asked = await ask(user_client, picture, "bgremove-v2", f"bgremove-v2:strokes-{digest}")
    answers = [item["answer"] for item in asked["items"]]
    await user_client.upload(answers[0], picture)
    assert [(await user_client.wait(answer["job_id"]))["status"] for answer in answers] == ["done"] * 2


async def _alpha(client: Client, document: dict[str, Any]) -> np.ndarray[Any, Any]:
    assert document["status"] == "done", document
    served = await client.download(document["output_urls"][0])
    return np.asarray(Image.open(io.BytesIO(served.content)).getchannel("A"))
