"""How `darkroom admin` shows things: tables for people, JSON for programs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

UNBOUNDED = 10_000
"""Characters; wider than any table."""
Columns = Mapping[str, str]
"""Heading of a column -> field of a row; `a.b` is field b of field a."""


def show_json(value: BaseModel) -> None:
    """The document that the API answers with."""
    Console(soft_wrap=True).print(
        to_json(value, indent=2).decode(), markup=False, highlight=False, emoji=False
    )


def show_rows(title: str, rows: Sequence[BaseModel], columns: Columns) -> None:
    """A table where the terminal is wide enough for it, else each row by its fields: what is cut helps nobody."""
    console = Console()
    table = Table(*columns, title=title, title_justify="left")
    cells = [[cell(_field(row, path)) for path in columns.values()] for row in rows]
    for values in cells:
        table.add_row(*values)
    if not rows:
        console.print(Text(f"{title}: none"))
    elif Measurement.get(console, console.options.update(width=UNBOUNDED), table).maximum <= console.width:
        console.print(table)
    else:
        for number, values in enumerate(cells, 1):
            given = {name: value for name, value in zip(columns, values, strict=True) if value.plain}
            show_facts(f"{title}, {number} of {len(rows)}", given)


def show_facts(title: str, facts: Mapping[str, Any]) -> None:
    """One thing by its fields; those without a value are left out."""
    table = Table(
        Column(style="bold", no_wrap=True),
        Column(overflow="fold"),
        show_header=False,
        title=title,
        title_justify="left",
    )
    for name, value in facts.items():
        if value not in (None, [], {}):
            table.add_row(name.replace("_", " "), cell(value))
    Console().print(table)


def say(text: str) -> None:
    Console().print(cell(text))


def cell(value: Any) -> Text:
    """A value as text that a terminal cannot take for anything else: users choose file names."""
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}"
        case datetime():
            text = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        case BaseModel() | dict() | list():
            text = to_json(value).decode()
        case _:
            text = str(value)
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))


def _field(row: BaseModel, path: str) -> Any:
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value
