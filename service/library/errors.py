"""Error codes of images and their outputs."""

from uuid import UUID

from service.platform.errors import Code, ProblemError

image_not_found = Code("image_not_found", 404, "There is no such image", "No image of yours has this id.")
output_not_found = Code("output_not_found", 404, "There is no such output", "No output of yours has this id.")
output_expired = Code(
    "output_expired", 410, "The picture is no longer kept", "It was removed; make it again."
)
original_missing = Code(
    "original_missing",
    410,
    "The original is no longer here",
    "It was not kept: send it again with POST /intake.",
)
not_in_library = Code(
    "not_in_library", 409, "The output is not in the library", "Promote it first with POST /outputs/promote."
)


def no_such_image(image_id: UUID) -> ProblemError:
    """For one that does not exist and for one of somebody else: the two cannot be told apart."""
    return ProblemError(image_not_found, f"No image of yours has the id {image_id}.")


def no_such_output(output_id: UUID) -> ProblemError:
    """For one that does not exist and for one of somebody else: the two cannot be told apart."""
    return ProblemError(output_not_found, f"No output of yours has the id {output_id}.")


def output_removed() -> ProblemError:
    return ProblemError(output_expired, "The picture has been removed; make it again.")


collection_not_found = Code(
    "collection_not_found", 404, "There is no such collection", "No collection of yours has this id."
)
