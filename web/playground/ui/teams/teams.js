/** The teams of the user: a card of them, invitations, and the choice of whose library is shown. */
/** @import { Darkroom } from "../../darkroom.js" */
/** @import { Invitation, Team } from "../../darkroom/teams-types.js" */
import { askName, explain } from "../dialogs.js";
import { byId, make } from "../dom.js";
import { toast } from "../toast.js";
import { ROLE, TeamDialog } from "./team.js";

export class Teams extends EventTarget {
  /** Tells "choose" when another library is chosen. @param {Darkroom} darkroom */
  constructor(darkroom) {
    super();
    this.darkroom = darkroom;
    /** @type {string|null} */
    this.userId = null;
    /** @type {Team[]} */
    this.all = [];
    /** @type {string|null} null: the user's own library */
    this.chosen = null;
    this.asked = 0; // of several lists asked for, only the last is drawn
    this.dialog = new TeamDialog(darkroom, { userId: () => this.userId, onChange: () => this.load() });
    byId("new-team").addEventListener("click", () => this.#try(() => this.#create()));
    byId("workspace").addEventListener("change", () => this.choose(byId("workspace").value || null));
    byId("manage-team").addEventListener("click", () => this.chosen && this.dialog.open(this.chosen));
  }

  /** Whose library is shown; null: the user's own. @returns {Team|null} */
  get team() {
    return this.all.find(({ team_id }) => team_id === this.chosen) ?? null;
  }

  /** Whether pictures can be changed where one is. */
  get writable() {
    return !this.team || (this.team.role !== "viewer" && !this.team.read_only);
  }

  /** @param {string|null} userId */
  open(userId) {
    this.userId = userId;
    this.asked += 1;
    this.all = [];
    this.chosen = null;
    byId("teams").replaceChildren();
    byId("invited").replaceChildren();
    this.#draw();
    if (userId !== null) void this.load();
  }

  async load() {
    if (this.userId === null) return;
    const own = ++this.asked;
    await this.#try(async () => {
      const [all, invitations] = await Promise.all([this.darkroom.teams(), this.darkroom.myInvitations()]);
      if (own !== this.asked) return;
      this.all = all;
      byId("teams").replaceChildren(
        ...(all.length
          ? all.map((team) => this.#row(team))
          : [make("li", { className: "hint" }, "None yet. A team shares a library: who may change it, who may look.")]),
      );
      byId("invited").replaceChildren(...invitations.map((one) => this.#invitation(one)));
      if (this.chosen && !this.team) this.choose(null); // left, or deleted
      else this.#draw();
    });
  }

  /** @param {() => Promise<void>} work */
  async #try(work) {
    byId("teams-problem").textContent = "";
    try {
      await work();
    } catch (error) {
      byId("teams-problem").textContent = explain(error);
    }
  }

  /** @param {string|null} teamId */
  choose(teamId) {
    this.chosen = teamId;
    this.#draw();
    this.dispatchEvent(new Event("choose"));
  }

  #draw() {
    byId("workspace-row").hidden = this.all.length === 0;
    byId("manage-team").hidden = this.team === null;
    byId("workspace").replaceChildren(
      make("option", { value: "" }, "My library"),
      ...this.all.map(({ team_id, name }) => make("option", { value: team_id }, name)),
    );
    byId("workspace").value = this.chosen ?? "";
    for (const id of ["library", "image"]) byId(id).toggleAttribute("data-viewer", !this.writable);
    byId("persist-place").textContent = this.team ? `the library of ${this.team.name}` : "my library";
  }

  /** @param {Team} team */
  #row({ team_id, name, role, seats, seats_taken }) {
    return make(
      "li",
      { "data-id": team_id },
      make(
        "div",
        {},
        make("p", {}, make("strong", {}, name)),
        make("p", { className: "hint" }, `${ROLE[role]}, ${seats_taken} of ${seats} seats taken`),
      ),
      make(
        "div",
        { className: "buttons" },
        make(
          "button",
          {
            type: "button",
            className: "quiet small",
            "aria-label": `Library of ${name}`,
            onclick: () => {
              this.choose(team_id);
              location.hash = "#library";
            },
          },
          "Library",
        ),
        make(
          "button",
          {
            type: "button",
            className: "quiet small",
            "aria-label": `Members of ${name}`,
            onclick: () => this.dialog.open(team_id),
          },
          "Members…",
        ),
      ),
    );
  }

  /** @param {Invitation} invitation to the user */
  #invitation({ invitation_id, team_name, role }) {
    const answer = (/** @type {string} */ text, /** @type {string} */ className, /** @type {() => Promise<void>} */ work) =>
      make(
        "button",
        {
          type: "button",
          className,
          "aria-label": `${text} the invitation to ${team_name}`,
          onclick: () =>
            this.#try(async () => {
              await work();
              byId("main").querySelector(".view:not([hidden]) h1").focus();
            }),
        },
        text,
      );
    return make(
      "section",
      { className: "panel notice", "aria-label": `Invitation to ${team_name}` },
      make(
        "div",
        {},
        make("p", {}, "You are invited to the team ", make("strong", {}, team_name), "."),
        make("p", { className: "hint" }, role === "editor" ? "As an editor you may change its pictures." : "As a viewer you may look and download."),
      ),
      make(
        "div",
        { className: "buttons" },
        answer("Accept", "primary small", async () => {
          const { team_id } = await this.darkroom.acceptInvitation(invitation_id);
          await this.load();
          toast(`You are in ${team_name}.`, {
            label: "Open its library",
            act: () => {
              this.choose(team_id);
              location.hash = "#library";
            },
          });
        }),
        answer("Decline", "quiet small", async () => {
          await this.darkroom.declineInvitation(invitation_id);
          await this.load();
        }),
      ),
    );
  }

  async #create() {
    const wanted = await askName("A new team", { name: "" });
    if (!wanted) return;
    const made = await this.darkroom.createTeam(wanted.name);
    await this.load();
    await this.dialog.open(made.team_id);
  }
}
