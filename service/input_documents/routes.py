"""POST /inputs keeps what an op takes that is too long for its key; GET /inputs/{digest} gives it back."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from service.access.limits import Admitted
from service.input_documents.errors import input_not_found
from service.input_documents.schemas import KeptInput, SentInput
from service.input_documents.store import Inputs
from service.platform.errors import ProblemError, body_too_large, data_deletion_running, malformed_json
from service.platform.problems import responses
from service.platform.resources import platform_of

router = APIRouter(prefix="/inputs", tags=["intake"])


@router.post("", responses=responses(malformed_json, body_too_large, data_deletion_running))
async def keep_input(sent: SentInput, request: Request, caller: Admitted) -> KeptInput:
    """Keep a document, to be named by its digest in an op_key. The same document twice is kept once, and longer."""
    row = await Inputs(platform_of(request).database).keep_input(caller.user_id, sent)
    return KeptInput(**row.model_dump())


@router.get("/{digest}", responses=responses(input_not_found))
async def get_input(
    digest: Annotated[str, Path(pattern="^[0-9a-f]{64}$")], request: Request, caller: Admitted
) -> KeptInput:
    """A document of yours, as to draw its strokes again."""
    row = await Inputs(platform_of(request).database).get_input(caller.user_id, digest)
    if row is None:
        raise ProblemError(input_not_found, f"There is no input document {digest}.")
    return KeptInput(**row.model_dump())
