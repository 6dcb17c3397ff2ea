"""What is known of a finished picture beside its size: what the steps of its chain said, and what was measured. Pure:
made by pixel children, stored with every output, shown in every document of one."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step of the chain says of its result."""

    op: Annotated[str, Field(description="the step's key with its version", examples=["bgremove-v2"])]
    method: Annotated[str, Field(description="which way the step went", examples=["model"])]
    confidence: Annotated[
        float | None, Field(description="how sure the step is, 0 to 1; null: it does not tell")
    ] = None
    warnings: Annotated[
        tuple[str, ...], Field(description="sentences for whoever asked for the picture")
    ] = ()


@dataclass(frozen=True, slots=True)
class Colour:
    """A colour of a picture and how much of it has that colour."""

    hex: Annotated[str, Field(description="sRGB", examples=["#d9c7a8"])]
    share: Annotated[float, Field(description="of the visible pixels, 0 to 1")]


@dataclass(frozen=True, slots=True)
class Features:
    """What was measured on the picture."""

    thumbhash: Annotated[
        str, Field(description="ThumbHash, base64: a blurred placeholder for while the picture loads")
    ]
    colours: Annotated[
        tuple[Colour, ...],
        Field(
            description="dominant colours, at most five, largest share first; none of an invisible picture"
        ),
    ]
    sharpness: Annotated[
        float,
        Field(
            description="0: nothing but smooth, 1: full of hard edges, at 1024 px on the longer side; "
            "photographs in focus lie above 0.5"
        ),
    ]
    exposure: Annotated[
        float, Field(description="mean lightness (L* of CIELAB) of the visible pixels: 0 black, 1 white")
    ]
    perceptual_hash: Annotated[
        str,
        Field(
            description="64 bits as 16 hex digits; similar pictures differ in few bits",
            examples=["9f1c2e6b8d3a5047"],
        ),
    ]
