"""The protections that a pixel child can have: named in settings, measured by workers, shown by /ready."""

from pydantic import BaseModel, Field


class Protections(BaseModel):
    """What a process that decodes a picture cannot do, found by trying; false where an attempt got through."""

    secrets: bool = Field(default=False, description="read another process's environment or memory")
    network: bool = Field(default=False, description="reach anything by TCP, UDP or a Unix socket")
    reads: bool = Field(default=False, description="read files or directories that are not its picture's")
    writes: bool = Field(default=False, description="write files outside the directory of its picture")
    processes: bool = Field(default=False, description="start, signal or trace a process")
    privileges: bool = Field(default=False, description="have or gain privileges, or be traced")
