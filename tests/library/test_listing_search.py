"""Search of images: words of filename and prompt, what stands inside them, and whatever else people type."""

from __future__ import annotations

import unicodedata

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.local.home import Local
from tests.library.shelf import NOON, Shelf
from tests.library.test_listing import names
from tests.sql.world import open_connection

MUG, CAT, HILL = "White_Mug-2.final.JPG", "IMG_0815.jpg", "Zürich Höhe (3).png"
SHELF = {
    MUG: "a white mug on an oak table",
    CAT: "Grumpy cat's portrait, 100% fluffy",
    HILL: "日本 panorama <b>at</b> 50,5% & more",
}


async def fill(shelf: Shelf) -> None:
    for filename, prompt in SHELF.items():
        await shelf.image(filename, prompt=prompt, created_at=NOON)


FOUND = {
    "mug": [MUG],
    "MUG": [MUG],
    "mu": [MUG],
    "white mug": [MUG],
    "mug white": [MUG],
    "white_mug-2": [MUG],
    "White_Mug-2.final.JPG": [MUG],
    "jpg mug": [MUG],
    "0815": [CAT],
    "img_08": [CAT],
    "zürich": [HILL],
    "ZÜRICH": [HILL],
    "höhe (3)": [HILL],
    "日本": [HILL],
    "cat's": [CAT],
    "100%": [CAT],
    '"oak table"': [MUG],
    '"table oak"': [],
    '"oak tab"': [],
    "table -mug": [],
    "jpg -cat": [MUG],
    "mug or cat": [MUG, CAT],
    "mug or zür": [MUG, HILL],
    "mug cat": [],
    "ug": [MUG],
    "umpy": [CAT],
    "inal jp": [MUG],
    "15": [CAT],
    "本": [HILL],
    "oak ": [MUG],
    "oa ": [MUG],
    "ak": [MUG],
    '"ak table"': [],
    "table -mu": [MUG],
    "panoram -cat": [HILL],
    "fluffyfluffyfluffyfluffy": [],
    "": [MUG, CAT, HILL],
    "   ": [MUG, CAT, HILL],
}


async def test_names_in_pieces_are_found_by_what_people_type(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    """macOS writes a name decomposed (NFD); what is typed may be either."""
    composed, decomposed = (unicodedata.normalize(form, "Müller Schuh.jpg") for form in ("NFC", "NFD"))
    assert composed != decomposed
    await shelf.image(decomposed, created_at=NOON)
    await shelf.image("赤い靴.jpg", prompt="ein schöner Stiefel", created_at=NOON)
    for question, found in {
        "müller": decomposed,
        "ÜLLER": decomposed,
        "靴": "赤い靴.jpg",
        "chön": "赤い靴.jpg",
    }.items():
        for form in ("NFC", "NFD"):
            assert await names(mine, q=unicodedata.normalize(form, question)) == [found], (question, form)


async def test_long_words_are_found_by_any_part(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    name = "abcdefghijklmnopqrstuvwxyz0123456789"
    await shelf.image(name, created_at=NOON)
    for question in (name, name[:20], name[5:30], name[-3:], name[20:]):
        assert await names(mine, q=question) == [name], question
    assert await names(mine, q="bcdefghijklmnopx") == []


async def test_words_find_what_they_should(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    await fill(shelf)
    answers = {question: await names(mine, q=question) for question in FOUND}
    assert {question: sorted(found) for question, found in answers.items()} == {
        question: sorted(found) for question, found in FOUND.items()
    }


NO_WORDS = [
    *(
        "'",
        "''",
        '"',
        '"""',
        "\\",
        "\\\\'",
        "%",
        "%%%",
        "_",
        "*",
        ":*",
        "!",
        "&",
        "|",
        "<->",
        "()",
        "-",
        "- -",
        "-(",
    ),
    *("$$", "{}", "[]", "\u202e", "\u200b", "\ufeff", "🦄", "-" * 200, '"' * 199),
]
ODD = [
    *(
        "mug:*",
        "!!mug",
        "mug & | !",
        "mug <-> ",
        "-mug",
        "or",
        "or or",
        "or mug",
        "mug or",
        ")-",
        "a:b:c",
        "mug'",
    ),
    *(
        "'; drop table images; --",
        "' or '1'='1",
        "$1",
        "<script>",
        "&lt;",
        "http://x/y?z",
        "e\u0301",
        "🦄 mug",
    ),
    *("ß", "İ", "\uffff", "mug" * 66, "or -or or", 'mug "', '"mug', '-"mug', "mug\\", "a" * 200),
]


async def test_whatever_is_typed_is_a_question(mine: httpx.AsyncClient, shelf: Shelf) -> None:
    await fill(shelf)
    assert [question for question in NO_WORDS if await names(mine, q=question) != []] == []
    for question in ODD:
        assert set(await names(mine, q=question)) <= set(SHELF), question
    assert await names(mine, q="mug'") == await names(mine, q="mug\\") == await names(mine, q='"mug') == [MUG]
    assert len(await names(mine)) == len(SHELF)


async def test_nobody_else_is_found(mine: httpx.AsyncClient, theirs: httpx.AsyncClient, shelf: Shelf) -> None:
    await fill(shelf)
    assert [await names(theirs, q=question) for question in ("mug", "mug or cat", "-nothing")] == [[], [], []]
    assert len(await names(mine, q="-nothing")) == len(SHELF)


async def test_no_text_is_refused(local: Local) -> None:
    """Straight in Postgres, by the thousand: no text raises."""
    connection = await open_connection(local.database_url)
    texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)
    examples: list[str] = []

    @settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(texts | st.text("aB1 '\"\\-_.:&|!<>()*%", max_size=30))
    def collect(text: str) -> None:
        examples.append(text)

    collect()
    try:
        rows = await connection.fetch(
            "select private.search_query(t)::text as q from unnest($1::text[]) t", examples
        )
    finally:
        await connection.close()
    assert len(rows) == len(examples) > 1000
