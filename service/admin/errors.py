"""Error codes of what operators do."""

from service.platform.errors import Code

admin_required = Code(
    "admin_required", 403, "This is for operators", "This is for operators of this service."
)
lane_not_found = Code("lane_not_found", 404, "There is no such lane", "No lane has this id.")
user_not_found = Code("user_not_found", 404, "There is no such account", "No account has this id or address.")
