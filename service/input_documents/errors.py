"""Error codes of input documents."""

from service.platform.errors import Code

input_not_found = Code(
    "input_not_found",
    404,
    "The input document is not here",
    "It was not used for long: send it again by POST /inputs.",
)
