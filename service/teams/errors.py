"""Error codes of teams and invitations to them."""

from service.plans.errors import plan_required
from service.platform.errors import Code

team_not_found = Code("team_not_found", 404, "There is no such team", "No team of yours has this id.")
role_required = Code(
    "role_required",
    403,
    "Your role in the team does not include this",
    "Viewers of a team look and download: its owner can make you an editor.",
)
team_owner = Code(
    "team_owner",
    409,
    "This is the owner of the team",
    "The owner cannot leave: make another member the owner, or delete the team.",
)
team_suspended = Code(
    "team_suspended",
    403,
    "The team's owner is suspended",
    "The account of this team's owner is suspended: the team can be read, and not changed.",
)
too_many_teams = Code("too_many_teams", 409, "Too many teams", "One account owns at most 20 teams.")
member_not_found = Code(
    "member_not_found", 404, "There is no such member", "Nobody of this id is in the team."
)
already_member = Code(
    "already_member", 409, "They are in the team already", "A member of this team has this address."
)
no_seats = Code(
    "no_seats", 409, "No seat is left in the team", "This plan gives a team 5 seats, and all are taken."
)
invitation_not_found = Code(
    "invitation_not_found", 404, "There is no such invitation", "No invitation to you has this id."
)
invitation_accepted = Code(
    "invitation_accepted",
    410,
    "The invitation was accepted",
    "It has been used, and you have left the team since.",
)
invitation_declined = Code("invitation_declined", 410, "The invitation was declined", "Ask for a new one.")
invitation_revoked = Code(
    "invitation_revoked", 410, "The invitation was revoked", "The owner of the team has taken it back."
)
invitation_expired = Code("invitation_expired", 410, "The invitation has expired", "Ask for a new one.")


TEAM_REFUSALS = (role_required, plan_required, team_suspended)
"""Of whatever changes a picture, should it be a team's."""
