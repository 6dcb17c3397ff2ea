"""convert-v1: the file format of the output. The pixels stay as they are."""

from service.ops.models import Convert
from workers.imaging.types import Encoding


def encoding(params: Convert) -> Encoding:
    """How to write the output."""
    return Encoding(params.format, params.effective_quality, params.lossless)
