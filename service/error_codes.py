"""Every error code, by name: the codes of all contexts, for OpenAPI, the documentation and what SQL functions raise.

Whoever reads codes from the database or from a request imports this, so that each of them is known.
"""

import service.admin.errors
import service.billing.credit_errors
import service.billing.payment_errors
import service.billing.plan_errors
import service.input_documents.errors
import service.intake.errors
import service.jobs.errors
import service.keys.errors
import service.library.collection_errors
import service.library.errors
import service.requests.errors
import service.safety.errors
import service.sharing.errors
import service.teams.errors
import service.webhooks.errors  # noqa: F401
from service.errors import CODES

__all__ = ["CODES"]
