"""Which models this deployment can run: the weights that are on disk, an operator's own among them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path

from service.ops.chain import Chain
from service.ops.weights import WEIGHTS, Installed, Weights
from service.platform.errors import ProblemError, op_unavailable
from service.platform.settings import OwnWeights, Settings


class WeightsError(RuntimeError):
    """A file of weights is missing or is not the one that was named; the message says which and what to do."""


def installed(settings: Settings) -> dict[str, Installed]:
    """The models that can run here, by name: their files exist, and so does the package that runs them."""
    found = {}
    for weights in WEIGHTS:
        if not importlib.util.find_spec(weights.runtime):
            continue
        own = settings.own_weights.get(weights.name)
        here = located(weights, settings.models_dir) if own is None else _own(weights, own)
        if all(file.is_file() for file in here.files):
            found[weights.name] = here
    return found


def check(found: Iterable[Installed]) -> None:
    """Read every file and compare its digest. Raises WeightsError."""
    for weights in found:
        for path, expected in zip(weights.files, weights.digests, strict=True):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != expected:
                raise WeightsError(
                    f"{path.name} of the model {weights.name} has the sha256 {digest}, not {expected}: "
                    "install it again with scripts/models, or correct DARKROOM_OWN_WEIGHTS"
                )


def require(here: Mapping[str, Installed], chain: Chain) -> None:
    """Raises ProblemError (op_unavailable) when a model of the chain is not installed here."""
    if names := [name for name in chain.models if name not in here]:
        raise ProblemError(
            op_unavailable,
            f"This deployment has no weights for {', '.join(names)}: GET /ops tells which ops it can do.",
        )


def weights_digest(settings: Settings, chain: Chain) -> str | None:
    """What stands in a job's variant for an operator's own weights, 12 hex digits; None where the chain runs on the
    weights that its ops' versions stand for."""
    own = [name for name in chain.models if name in settings.own_weights]
    if not own:
        return None
    said = "\n".join(f"{name} {settings.own_weights[name].sha256}" for name in own)
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def located(weights: Weights, directory: Path) -> Installed:
    """Where scripts/models puts the files of a model, whether or not they are there."""
    folder = directory / weights.name
    return Installed(
        weights.name,
        weights.runtime,
        tuple(folder / file.name for file in weights.files),
        tuple(file.sha256 for file in weights.files),
    )


def _own(weights: Weights, own: OwnWeights) -> Installed:
    return Installed(weights.name, weights.runtime, (own.path,), (own.sha256,))
