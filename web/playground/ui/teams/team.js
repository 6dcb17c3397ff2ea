/** One team: who is in it and may do what, who is invited, what it is called, and its end. */
/** @import { Darkroom } from "../../darkroom.js" */
/** @import { GivenRole, Invitation, Member, Role, TeamDocument } from "../../darkroom/teams-types.js" */
import { ask, explain } from "../dialogs.js";
import { byId, make } from "../dom.js";
import { day } from "../account/words.js";

/** @type {Record<Role, string>} */
export const ROLE = { owner: "Owner", editor: "Editor", viewer: "Viewer" };

export class TeamDialog {
  /** @param {Darkroom} darkroom @param {{userId: () => string|null, onChange: () => unknown}} around */
  constructor(darkroom, around) {
    this.darkroom = darkroom;
    this.around = around;
    /** @type {TeamDocument|null} */
    this.team = null;
    const on = (/** @type {string} */ id, /** @type {(id: string) => Promise<void>} */ work) =>
      byId(id).addEventListener("submit", (/** @type {Event} */ event) => {
        event.preventDefault();
        void this.#act((teamId) => work(teamId));
      });
    on("invite", async (id) => {
      const email = byId("invite-email").value;
      await darkroom.invite(id, { email, role: /** @type {GivenRole} */ (byId("invite-role").value) });
      byId("invite").reset();
      this.#say(`${email} is invited for seven days. No mail is sent: tell them to sign in here.`);
    });
    on("team-form", async (id) => {
      await darkroom.updateTeam(id, {
        name: byId("team-name").value,
        versions_to_keep: Number(byId("team-versions").value),
      });
      this.#say("Saved.");
    });
    on("team-delete", (id) => this.#delete(id));
    byId("team-delete-name").addEventListener("input", () => {
      byId("team-delete-go").disabled = byId("team-delete-name").value !== this.team?.name;
    });
  }

  /** @param {string} teamId */
  async open(teamId) {
    this.team = null;
    byId("team-title").textContent = "…";
    byId("team-facts").textContent = byId("team-problem").textContent = byId("team-status").textContent = "";
    byId("members").replaceChildren();
    byId("team-owner").hidden = true;
    byId("team").showModal();
    await this.#try(() => this.#load(teamId));
  }

  /** @param {string} text */
  #say(text) {
    byId("team-status").textContent = text;
  }

  /** @param {() => Promise<void>} work */
  async #try(work) {
    byId("team-problem").textContent = "";
    this.#say("");
    try {
      await work();
    } catch (error) {
      byId("team-problem").textContent = explain(error);
    }
  }

  /** Does something to the team and shows what has become of it. @param {(teamId: string) => Promise<unknown>} work */
  async #act(work) {
    const { team } = this;
    if (!team) return;
    await this.#try(async () => {
      await work(team.team_id);
      void this.around.onChange();
      if (byId("team").open) await this.#load(team.team_id);
    });
  }

  /** @param {string} teamId */
  async #load(teamId) {
    const team = await this.darkroom.team(teamId);
    const owner = team.role === "owner";
    const invitations = owner ? await this.darkroom.invitations(teamId) : [];
    this.team = team;
    byId("team-title").textContent = team.name;
    byId("team-facts").textContent = [
      `You are ${team.role === "owner" ? "the owner" : team.role === "editor" ? "an editor" : "a viewer"}`,
      `${team.seats_taken} of ${team.seats} seats taken`,
      ...(team.read_only ? ["read-only: the plan of its owner includes no teams"] : []),
    ].join(", ");
    byId("members").replaceChildren(...team.members.map((member) => this.#member(team, member)));
    byId("team-owner").hidden = !owner;
    if (!owner) return;
    byId("invitations-title").hidden = invitations.length === 0;
    byId("invitations").replaceChildren(...invitations.map((one) => this.#invitation(one)));
    byId("team-name").value = team.name;
    byId("team-versions").value = team.versions_to_keep;
    byId("team-delete-said").textContent = team.name;
    byId("team-delete").reset();
    byId("team-delete-go").disabled = true;
  }

  /** @param {TeamDocument} team @param {Member} member */
  #member({ role: own, name }, { user_id, role, email }) {
    const self = user_id === this.around.userId();
    const who = email ?? `Member ${user_id.slice(0, 8)}`;
    const leave = (/** @type {string} */ text, /** @type {() => Promise<void>} */ onclick) =>
      make(
        "button",
        { type: "button", className: "quiet small danger", "aria-label": `${text} ${who}`, onclick },
        text,
      );
    const select = make(
      "select",
      {
        "aria-label": `Role of ${who}`,
        onchange: () => this.#setRole(user_id, who, /** @type {Role} */ (select.value), role),
      },
      ...Object.entries(ROLE).map(([value, text]) => make("option", { value, selected: value === role }, text)),
    );
    return make(
      "li",
      { "data-id": user_id },
      make("p", {}, make("strong", {}, who), self ? " (you)" : ""),
      own === "owner" && !self ? select : make("span", { className: "hint" }, ROLE[role]),
      self && role !== "owner"
        ? leave("Leave", () => this.#leave(user_id, name))
        : own === "owner" && !self
          ? leave("Remove", () => this.#remove(user_id, who))
          : make("span", {}),
    );
  }

  /** @param {Invitation} invitation */
  #invitation({ invitation_id, email, role, status, expires_at }) {
    const revoke = make(
      "button",
      {
        type: "button",
        className: "quiet small",
        "aria-label": `Revoke the invitation of ${email}`,
        onclick: () => this.#act((id) => this.darkroom.revokeInvitation(id, invitation_id)),
      },
      "Revoke",
    );
    return make(
      "li",
      { "data-status": status },
      make("p", {}, email),
      make("span", { className: "hint" }, status === "open" ? `${ROLE[role]}, until ${day(expires_at)}` : status),
      status === "open" ? revoke : make("span", {}),
    );
  }

  /** @param {string} userId @param {string} who @param {Role} role @param {Role} before */
  async #setRole(userId, who, role, before) {
    const text = `${who} decides about the team then, and their plan is the team's. You become an editor.`;
    if (role === "owner" && !(await ask("Hand the team over?", text, "Hand over"))) {
      byId("members").querySelector(`[data-id="${userId}"] select`).value = before;
      return;
    }
    await this.#act((id) => this.darkroom.setRole(id, userId, role));
    if (this.team) byId("members").querySelector(`[data-id="${userId}"] select`)?.focus();
  }

  /** @param {string} userId @param {string} who */
  async #remove(userId, who) {
    const text = "They lose access at once, and links that they gave out end. The pictures stay with the team.";
    if (await ask(`Remove ${who}?`, text, "Remove"))
      await this.#act((id) => this.darkroom.removeMember(id, userId));
  }

  /** @param {string} userId @param {string} name */
  async #leave(userId, name) {
    const text = "You lose access at once. The pictures stay with the team.";
    if (!(await ask(`Leave ${name}?`, text, "Leave"))) return;
    await this.#act(async (id) => {
      await this.darkroom.removeMember(id, userId);
      byId("team").close();
    });
  }

  /** @param {string} teamId */
  async #delete(teamId) {
    await this.darkroom.deleteTeam(teamId, byId("team-delete-name").value);
    byId("team").close();
  }
}
