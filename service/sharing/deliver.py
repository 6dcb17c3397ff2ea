"""The bytes behind a link, through Darkroom: a stranger sees no address of Storage, and with it no id of the owner's.

Opening a link gives a ticket (tickets.py). Whoever shows it gets the picture without another view being counted; what
ends the link meanwhile ends the ticket, too.
"""

import re
from asyncio import timeout
from typing import Literal
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.database import OutputRow
from service.errors import Code, ProblemError
from service.missing import bury
from service.resources import Resources
from service.sharing.links import admit_address, find, refusal, shown_name
from service.sharing.store import FoundShare
from service.storage import ObjectNotFoundError, StorageBusyError

Part = Literal["picture", "download"]
STREAM_SECONDS = 300
"""A reader so slow that this is not enough is cut off: others wait for its place."""
BUSY_SECONDS = 5
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
HEADERS = {
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


async def deliver(resources: Resources, token: str, part: Part, headers: Headers, ip: str) -> Response:
    """The picture, or a part of it, for whoever holds a ticket. Raises ProblemError, each refusal with its own code."""
    await admit_address(resources, ip)
    found = await find(resources, token)
    # A view that was the last one is being looked at.
    if found.status not in {"active", Code.share_used_up}:
        raise refusal(Code(found.status))
    if found.output is None:
        raise refusal(Code.output_expired)
    plain = _headers(found, found.output, part)
    if _matches(headers.get("if-none-match"), plain["ETag"]):
        return Response(status_code=304, headers={name: plain[name] for name in ("ETag", "Cache-Control")})
    return Delivery(resources, found.output, plain, _span(headers, plain["ETag"], found.output.size))


def _headers(found: FoundShare, output: OutputRow, part: Part) -> dict[str, str]:
    name = shown_name(found, output)
    kind = "attachment" if part == "download" else "inline"
    return {
        **HEADERS,
        "Content-Type": output.content_type,
        "Content-Length": str(output.size),
        "Content-Disposition": f"{kind}; filename*=UTF-8''{quote(name, safe='')}",
        "ETag": f'"{output.sha256[:32]}"',
    }


def _matches(wanted: str | None, etag: str) -> bool:
    """If-None-Match: a list of entity tags, weak ones count."""
    return wanted is not None and any(
        one.strip().removeprefix("W/") in {etag, "*"} for one in wanted.split(",")
    )


def _span(headers: Headers, etag: str, size: int) -> tuple[int, int] | None:
    """First and last byte of the one range that is asked for; None: all of it. Raises ProblemError (416)."""
    found = _RANGE.fullmatch(headers.get("range", ""))
    if found is None or headers.get("if-range", etag) != etag or not (found[1] or found[2]):
        return None  # what is not understood, or is about another picture, is not there
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        if found[2] and int(found[2]) < first:
            return None
    else:
        first, last = max(size - int(found[2]), 0), size - 1
    if first > last:
        raise ProblemError(
            Code.range_not_satisfiable,
            f"The picture has {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return first, last


class Delivery(StreamingResponse):
    """A picture on its way from Storage to a stranger, piece by piece."""

    def __init__(
        self, resources: Resources, output: OutputRow, headers: dict[str, str], span: tuple[int, int] | None
    ) -> None:
        super().__init__(iter(()), headers=headers)
        self._resources = resources
        self._output = output
        self._span = span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        output, span = self._output, self._span
        try:
            async with (
                timeout(STREAM_SECONDS),
                self._resources.storage.stream(output.bucket, output.path, span) as found,
            ):
                if found.partial and span is not None:
                    self.status_code = 206
                    self.headers["Content-Range"] = f"bytes {span[0]}-{span[1]}/{output.size}"
                    self.headers["Content-Length"] = str(span[1] - span[0] + 1)
                self.body_iterator = found.chunks
                await super().__call__(scope, receive, send)
        except ObjectNotFoundError:
            # A row without its object: nobody may be sent there again.
            await bury(self._resources, output.output_id)
            raise refusal(Code.output_expired) from None
        except StorageBusyError:
            raise ProblemError(
                Code.overloaded,
                "Too many pictures are being sent at this moment.",
                headers={"Retry-After": str(BUSY_SECONDS)},
            ) from None
