/** Teams: a library that several people share. */
/** @import { GivenRole, Invitation, MoveResult, Role, Team, TeamDocument } from "./teams-types.js" */
/** @import { Http } from "./http.js" */

/** @param {Http} http */
export function createTeams(http) {
  /** @param {string} method @param {string} path @param {unknown} [body] */
  const call = (method, path, body) =>
    http.json(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
  /** @param {...string} parts of a path */
  const path = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;

  return {
    /**
     * Those that the caller is in, by name.
     * @returns {Promise<Team[]>}
     */
    teams: async () => (await call("GET", "/teams")).teams,

    /**
     * With its members.
     * @param {string} teamId
     * @returns {Promise<TeamDocument>}
     */
    team: (teamId) => call("GET", path("teams", teamId)),

    /**
     * A team of the caller's own, whose plan is the team's. Throws `plan_required`.
     * @param {string} name
     * @returns {Promise<Team>}
     */
    createTeam: (name) => call("POST", "/teams", { name }),

    /**
     * @param {string} teamId
     * @param {{name?: string, versions_to_keep?: number}} change
     * @returns {Promise<Team>}
     */
    updateTeam: (teamId, change) => call("PATCH", path("teams", teamId), change),

    /**
     * Deletes a team; its pictures and collections become its owner's own.
     * @param {string} teamId
     * @param {string} name of the team, as its owner has typed it
     * @returns {Promise<{images: number}>}
     */
    deleteTeam: (teamId, name) => call("DELETE", path("teams", teamId), { name }),

    /**
     * Makes a member an editor or a viewer; `owner` hands the team over.
     * @param {string} teamId
     * @param {string} userId
     * @param {Role} role
     * @returns {Promise<TeamDocument>}
     */
    setRole: (teamId, userId, role) => call("PATCH", path("teams", teamId, "members", userId), { role }),

    /**
     * Leaves a team, or removes somebody. The pictures stay with the team.
     * @param {string} teamId
     * @param {string} userId
     * @returns {Promise<void>}
     */
    async removeMember(teamId, userId) {
      await http.request(path("teams", teamId, "members", userId), { method: "DELETE" });
    },

    /**
     * Invites an address for seven days. No mail is sent: tell them.
     * @param {string} teamId
     * @param {{email: string, role: GivenRole}} invitation
     * @returns {Promise<Invitation>}
     */
    invite: (teamId, invitation) => call("POST", path("teams", teamId, "invitations"), invitation),

    /**
     * Those of a team that nobody has accepted.
     * @param {string} teamId
     * @returns {Promise<Invitation[]>}
     */
    invitations: async (teamId) => (await call("GET", path("teams", teamId, "invitations"))).invitations,

    /**
     * @param {string} teamId
     * @param {string} invitationId
     * @returns {Promise<Invitation>}
     */
    revokeInvitation: (teamId, invitationId) =>
      call("DELETE", path("teams", teamId, "invitations", invitationId)),

    /**
     * Open ones to the caller's own address.
     * @returns {Promise<Invitation[]>}
     */
    myInvitations: async () => (await call("GET", "/me/invitations")).invitations,

    /** @param {string} invitationId @returns {Promise<Team>} */
    acceptInvitation: (invitationId) => call("POST", path("invitations", invitationId, "accept")),

    /** @param {string} invitationId @returns {Promise<Invitation>} */
    declineInvitation: (invitationId) => call("POST", path("invitations", invitationId, "decline")),

    /**
     * Moves images of the caller's own into a team, up to 100.
     * @param {string} teamId
     * @param {string[]} imageIds
     * @returns {Promise<MoveResult[]>}
     */
    giveImages: async (teamId, imageIds) =>
      (await call("POST", path("teams", teamId, "images"), { image_ids: imageIds })).results,

    /**
     * Moves images of a team into its owner's own library.
     * @param {string} teamId
     * @param {string[]} imageIds
     * @returns {Promise<MoveResult[]>}
     */
    takeImages: async (teamId, imageIds) =>
      (await call("POST", path("teams", teamId, "images", "take"), { image_ids: imageIds })).results,
  };
}
