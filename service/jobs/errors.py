"""Error codes of jobs: what callers ask of them, and how they fail."""

from uuid import UUID

from service.platform.errors import Code, ProblemError

BYTES = "The file is not what was announced; hash and describe the exact bytes that are uploaded."

job_not_found = Code(
    "job_not_found", 404, "There is no such job", "No job of yours has this id; it may have expired."
)
job_finished = Code("job_finished", 409, "The job has ended", "The job is done and cannot be canceled.")
upload_missing = Code(
    "upload_missing",
    409,
    "The upload has not arrived",
    "Nothing was uploaded to upload_path yet: PUT the file first.",
    retryable=True,
)
too_many_streams = Code(
    "too_many_streams",
    429,
    "Too many event streams",
    "20 event streams are open for this address: close one, or poll the job.",
    retryable=True,
)
sha256_mismatch = Code("sha256_mismatch", 422, "The content differs from its sha256", BYTES)
size_mismatch = Code("size_mismatch", 422, "The content differs from its size", BYTES)
dimensions_mismatch = Code("dimensions_mismatch", 422, "The picture differs from its dimensions", BYTES)
corrupt_image = Code(
    "corrupt_image", 422, "The picture cannot be decoded", "The JPEG data ends in the middle of the picture."
)
op_failed = Code(
    "op_failed", 422, "The op could not be done on this picture", "The crop lies outside the picture."
)
pixel_timeout = Code("pixel_timeout", 422, "The op took too long", "Stopped after 60 seconds.")
pixel_memory = Code(
    "pixel_memory", 422, "The op needed too much memory", "Stopped at 2048 MiB; use a smaller picture."
)
pixel_crash = Code(
    "pixel_crash", 422, "The op crashed on this picture", "The decoder ended abruptly; only this job failed."
)
worker_lost = Code(
    "worker_lost",
    500,
    "The job could not be finished",
    "Every worker that took this job died. It costs nothing; try again later.",
    retryable=True,
)
"""Of jobs and requests whose lease ended too often: SQL says it (sweep, claim_request)."""


def no_such_job(job_id: UUID) -> ProblemError:
    """For one that does not exist and for one of somebody else: the two cannot be told apart."""
    return ProblemError(job_not_found, f"No job of yours has the id {job_id}.")
