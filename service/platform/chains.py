"""The chains of ops that this deployment can run."""

from service.ops.errors import OpKeyError
from service.ops.registry import Chain, parse
from service.platform.errors import ProblemError, known
from service.platform.resources import Platform
from service.platform.weights import require


def chain_of(platform: Platform, op_key: str) -> Chain:
    """The chain that an op_key names. Raises ProblemError: bad_op_key, unknown_op, bad_parameter, op_unavailable."""
    try:
        chain = parse(op_key)
    except OpKeyError as error:
        raise ProblemError(known(error.code), error.detail) from None
    require(platform.models, chain)
    return chain
