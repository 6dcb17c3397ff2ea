"""What a pixel child leaves in its workdir for the worker to read when the child is lost."""

from typing import Final

RASTERISING: Final = "rasterising"
"""File that is not empty while resvg draws: Rust says "out of memory" by aborting, and aborts for little else."""
