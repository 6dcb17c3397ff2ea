"""Every code that SQL raises or stores is one that the service knows, and so shows as itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scripts.local.home import REPOSITORY
from service.error_codes import CODES
from service.jobs.errors import worker_lost

TRANSLATED = {"lease_lost", "output_not_found"}
"""Refusals that platform/database.py turns into exceptions of their own."""
COMPUTED = {"v_status": r"function \w+\.share_status\(.*?\$\$(.*?)\$\$", "v_code": r"\bv_code := (case .*?;)"}
"""Messages that are variables, and the text whose case gives them their values."""

TEXT = r"'(?:[^']|'')*'"
RAISE = re.compile(rf"\braise\s+exception\b(?:{TEXT}|[^;'])*;")
MESSAGE = re.compile(rf"\bmessage\s*=\s*((?:{TEXT}|[^;'])*?)(?:,\s*(?:detail|hint|errcode)\s*=|;)")
STORED = re.compile(r"'code',\s*'(\w+)'")

SOURCE = "\n".join(
    file.read_text("utf-8") for file in sorted((REPOSITORY / "supabase" / "functions").glob("*.sql"))
)


def body(function: str) -> str:
    found = re.search(rf"function \w+\.{function}\(.*?\$\$(.*?)\$\$", SOURCE, re.S)
    assert found is not None, function
    return found[1]


def values(expression: str) -> Iterator[str]:
    """What a message can be: of a case its results, of other expressions every literal, and what variables hold."""
    results = re.findall(r"\b(?:then|else)\s+'(\w+)'", expression)
    yield from results or re.findall(r"'(\w+)'", expression)
    for variable, pattern in COMPUTED.items():
        if not results and re.search(rf"\b{variable}\b", expression):
            (text,) = re.findall(pattern, SOURCE, re.S)
            yield from set(re.findall(r"\b(?:then|else)\s+'(\w+)'", text)) - {"active"}


def raised() -> set[str]:
    codes = set()
    for statement in RAISE.findall(SOURCE):
        message = MESSAGE.search(statement)
        if message is None:
            assert "'PT" not in statement, f"a refusal without a code: {statement}"
            continue
        found = set(values(message[1]))
        assert found, f"nobody knows the code of this: {statement}"
        codes |= found
    return codes


def test_every_code_that_sql_raises_is_known() -> None:
    codes = raised()
    assert len(codes) > 50
    assert codes >= TRANSLATED
    assert {"share_used_up", "share_not_found", "invitation_declined"} <= codes  # computed ones
    assert codes - TRANSLATED <= set(CODES)


def test_no_other_way_of_raising_is_used() -> None:
    """`raise sqlstate`, or a message made by an expression that the patterns above do not read."""
    assert SOURCE.count("errcode = ") == sum(
        statement.count("errcode = ") for statement in RAISE.findall(SOURCE)
    )
    assert not re.search(r"\braise\s+(?:sqlstate|\w+_\w+)\b", SOURCE)


def test_sql_repeats_no_sentence_of_a_code() -> None:
    """A refusal without a detail is told in the code's own words."""
    sentences = {code.detail.replace("'", "''") for code in CODES.values()}
    repeated = {
        text for statement in RAISE.findall(SOURCE) for text in sentences if f"detail = '{text}'" in statement
    }
    assert repeated == set()


def test_every_code_that_sql_stores_is_known() -> None:
    """In the error of a job or of a request."""
    stored = set(STORED.findall(SOURCE))
    assert worker_lost in stored
    assert stored <= set(CODES)


def test_every_code_that_sql_lays_on_callers_is_known() -> None:
    codes = set(re.findall(r"'(\w+)'", body("is_callers_fault")))
    assert len(codes) > 5
    assert codes <= set(CODES)
