"""Every error code, by name: the codes of all contexts, for OpenAPI, the documentation and what SQL functions raise.

Whoever reads codes from the database or from a request imports this, so that each of them is known.
"""

from importlib import import_module
from pathlib import Path

from service.platform.errors import CODES

__all__ = ["CODES"]

for file in sorted(Path(__file__).parent.glob("*/*errors.py")):
    import_module(f"service.{file.parent.name}.{file.stem}")
