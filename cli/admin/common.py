"""What the commands of `darkroom admin` share. Imports are lazy, as in cli/main.py."""

import os
import pwd
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer
from pydantic import BaseModel, ValidationError

from cli.admin import console
from cli.common import complaints, run_task

if TYPE_CHECKING:
    from service.admin.store import Actor
    from service.platform.resources import Platform

ModelT = TypeVar("ModelT", bound=BaseModel)
T = TypeVar("T")

Who = Annotated[str, typer.Argument(help="Id or address of an account.")]
JobId = Annotated[UUID, typer.Argument(help="Id of a job.")]
Sha256 = Annotated[str, typer.Argument(help="Hex digest of the bytes.")]
Because = Annotated[
    str, typer.Option("--reason", prompt="Reason (or --reason)", help="Why; it goes into the audit log.")
]
AsJson = Annotated[bool, typer.Option("--json", help="What the API would answer.")]
Limit = Annotated[int, typer.Option(help="Rows at most, up to 200.")]
Cursor = Annotated[str | None, typer.Option(help="Go on where a list ended.")]


def machine_user() -> str:
    """`cli:` and who runs this, as the system knows them: variables of the environment are for anybody to set."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # in a container without a user database
        return f"cli:{os.getuid()}"


def actor() -> "Actor":
    from service.admin.store import Actor

    return Actor(None, machine_user())


def run(task: "Callable[[Platform], Awaitable[T]]") -> T:
    return run_task("admin", task)


def checked(model: type[ModelT], **values: Any) -> ModelT:
    """The request of the API with these values; exit 2 for those it would refuse."""
    try:
        return model(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"])
            complaints.print(f"{name}: {fault['msg']}", style="red", markup=False)
        raise typer.Exit(2) from None


def because(reason: str) -> str:
    from service.admin.schemas import Act

    return checked(Act, reason=reason).reason


def show_page(as_json: bool, page: BaseModel, title: str, columns: console.Columns) -> None:
    """A page of the API: its rows are its first field."""
    if as_json:
        console.show_json(page)
        return
    console.show_rows(title, getattr(page, next(iter(type(page).model_fields))), columns)
    if cursor := getattr(page, "next_cursor", None):
        console.say(f"More with --cursor {cursor}")


JOBS = {
    "id": "job_id",
    "status": "status",
    "error": "error.code",
    "op": "op_key",
    "user": "email",
    "price": "price",
    "charged": "charged",
    "created": "created_at",
}
