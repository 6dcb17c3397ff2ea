"""What Storage refuses, as exceptions."""


class StorageError(Exception):
    """Storage refused: `status` and `code` are its own words."""

    def __init__(self, operation: str, where: str, status: str = "", code: str = "") -> None:
        super().__init__(f"{operation} {where}: {status} {code}".rstrip())
        self.operation = operation
        self.where = where
        self.status = status
        self.code = code


class ObjectNotFoundError(StorageError):
    """No object has this name, or its bytes are gone. A bucket that is missing is a plain StorageError: nothing is
    known of its objects then."""


class ObjectExistsError(StorageError):
    """An object has this name already; nothing was overwritten."""


class StorageBusyError(StorageError):
    """So many objects are being passed on at this moment that this one was not begun."""


class ObjectTooLargeError(StorageError):
    """More bytes than the bucket, or the caller's own cap, allows."""
