"""Copies of outputs: every owner holds its own bytes."""

import asyncio

from service.cache.store import OutputRow
from service.platform.storage import Storage


async def copy_output(storage: Storage, source: OutputRow, bucket: str, path: str, thumb_path: str) -> None:
    """Copy an output and its thumbnail, inside Storage, to these names. Raises ObjectNotFoundError, StorageError,
    DependencyError."""
    await asyncio.gather(
        storage.copy(source.bucket, source.path, path, target_bucket=bucket),
        storage.copy(source.bucket, source.thumb_path, thumb_path, target_bucket=bucket),
    )
