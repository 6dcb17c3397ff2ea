"""Error codes of collections."""

from uuid import UUID

from service.library.errors import collection_not_found
from service.platform.errors import Code, ProblemError

collection_exists = Code(
    "collection_exists",
    409,
    "There is a collection of this name",
    "Another one in the same place is called so.",
)
collection_too_deep = Code(
    "collection_too_deep",
    409,
    "Collections nest one level",
    "A collection that lies in another holds none itself.",
)
too_many_collections = Code(
    "too_many_collections", 409, "Too many collections", "At most 500 collections are kept: delete one first."
)


def no_such_collection(collection_id: UUID) -> ProblemError:
    """For one that does not exist and for one of somebody else: the two cannot be told apart."""
    return ProblemError(collection_not_found, f"No collection of yours has the id {collection_id}.")
