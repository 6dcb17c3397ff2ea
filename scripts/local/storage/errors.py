"""The error catalogue of the storage protocol.

Every error is answered as `{"statusCode", "error", "code", "message"}`. As in supabase/storage the HTTP status
is 400 for whatever the caller did wrong (500 otherwise) and the meaningful status is the body's `statusCode`.
TUS, whose clients read the HTTP status, gets the meaningful one.
"""

from __future__ import annotations

from collections.abc import Callable

import asyncpg


class StorageError(Exception):
    """A refusal that is told to the caller.

    `status` is the meaningful status (body `statusCode`); `http_status` is what HTTP says.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        error: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.error = error or code
        self.http_status = http_status or (status if status >= 500 else 400)

    def body(self) -> dict[str, str]:
        return {
            "statusCode": str(self.status),
            "error": self.error,
            "code": self.code,
            "message": self.message,
        }


class ValidationError(StorageError):
    """A request that the schema of its route refuses. It is told without a code."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "", message, error="Error")

    def body(self) -> dict[str, str]:
        return {"statusCode": "400", "error": self.error, "message": self.message}


def no_such_bucket() -> StorageError:
    return StorageError(404, "NoSuchBucket", "Bucket not found", error="Bucket not found")


def no_such_key() -> StorageError:
    return StorageError(404, "NoSuchKey", "Object not found", error="not_found")


def no_such_upload() -> StorageError:
    return StorageError(404, "NoSuchUpload", "Upload not found")


def invalid(message: str) -> StorageError:
    """What the schema of a route does not allow."""
    return ValidationError(message)


def invalid_request(message: str) -> StorageError:
    return StorageError(400, "InvalidRequest", message)


def invalid_jwt(message: str) -> StorageError:
    return StorageError(400, "InvalidJWT", message)


def invalid_signature(message: str = "Invalid signature") -> StorageError:
    return StorageError(400, "InvalidSignature", message)


def access_denied(message: str) -> StorageError:
    return StorageError(403, "AccessDenied", message, error="Unauthorized")


def already_exists(code: str = "KeyAlreadyExists") -> StorageError:
    return StorageError(409, code, "The resource already exists", error="Duplicate")


def bucket_not_empty() -> StorageError:
    return StorageError(409, "ResourceNotEmpty", "The bucket you tried to delete is not empty")


def invalid_bucket_name() -> StorageError:
    return StorageError(400, "InvalidBucketName", "Bucket name invalid", error="Invalid Input")


def invalid_key(key: str) -> StorageError:
    return StorageError(400, "InvalidKey", f"Invalid key: {key}")


def invalid_mime_type(mime_type: str) -> StorageError:
    return StorageError(
        415, "InvalidMimeType", f"mime type {mime_type} is not supported", error="invalid_mime_type"
    )


def invalid_range() -> StorageError:
    return StorageError(416, "InvalidRange", "The requested range is not satisfiable", http_status=416)


def too_large(message: str = "The object exceeded the maximum allowed size") -> StorageError:
    return StorageError(413, "EntityTooLarge", message, error="Payload too large")


def feature_not_enabled(feature: str) -> StorageError:
    message = f"The feature {feature} is not enabled for this resource"
    return StorageError(409, "FeatureNotEnabled", message)


def unavailable() -> StorageError:
    return StorageError(503, "DatabaseUnavailable", "The database is not available. Please try again later.")


_BY_SQLSTATE: dict[str, Callable[[], StorageError]] = {
    "23503": lambda: StorageError(404, "InvalidRequest", "The related resource does not exist"),
    "23505": already_exists,
    "25006": lambda: StorageError(503, "DatabaseReadOnly", "The database is currently in read-only mode."),
    "55P03": lambda: StorageError(423, "ResourceLocked", "The resource is locked"),
    "57014": lambda: StorageError(544, "DatabaseTimeout", "The connection to the database timed out"),
    "42P01": lambda: StorageError(503, "DatabaseSchemaMismatch", "The database schema is out of sync."),
    "42703": lambda: StorageError(503, "DatabaseSchemaMismatch", "The database schema is out of sync."),
}
"""SQLSTATE -> what the caller is told. 42501 is handled apart, since its message matters."""


def from_postgres(error: asyncpg.PostgresError) -> StorageError:
    """Translate a refusal of the database into the storage server's own words."""
    state = error.sqlstate or ""
    text = str(error)
    if state == "42501":
        row_level = "row-level security" in text
        return access_denied("new row violates row-level security policy" if row_level else text)
    if make := _BY_SQLSTATE.get(state):
        return make()
    if state.startswith("22"):
        return StorageError(400, "InvalidParameter", text)
    if state.startswith(("57P", "08", "53")):
        return unavailable()
    return StorageError(500, "DatabaseError", f"database error, code: {state}")
