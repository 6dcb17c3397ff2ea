/** How the balance came about: every movement of credits, a page at a time. */
/** @import { Darkroom } from "../../darkroom.js" */
/** @import { Movement } from "../../darkroom/account-types.js" */
import { explain, when } from "../dialogs.js";
import { byId, make } from "../dom.js";

const PAGE = 20;
/** @type {Record<string, string>} */
const REASON = {
  signup_grant: "Sign-up",
  subscription: "Plan",
  purchase: "Bought",
  admin_grant: "Given",
  refund: "Refund",
  hold: "Held for a job",
  capture: "Job paid",
  release: "Job cost nothing",
  expiry: "Ended",
  clawback: "Taken back",
  debt: "Debt paid",
  opening: "Opening balance",
  closing: "Closing balance",
  promote: "Kept in the library",
};

export class History {
  /** @param {Darkroom} darkroom */
  constructor(darkroom) {
    this.darkroom = darkroom;
    /** @type {string|null} of the next page */
    this.cursor = null;
    byId("history").addEventListener("toggle", () => byId("history").open && this.load());
    byId("more-movements").addEventListener("click", () => this.#page());
  }

  /** Somebody else is there. */
  clear() {
    byId("history").open = false;
    byId("movements").replaceChildren();
  }

  /** The newest, where they are shown. */
  async load() {
    if (!byId("history").open) return;
    this.cursor = null;
    await this.#page(true);
  }

  async #page(anew = false) {
    byId("plan-problem").textContent = "";
    try {
      const page = await this.darkroom.creditHistory({ limit: PAGE, cursor: this.cursor ?? undefined });
      if (anew) byId("movements").replaceChildren();
      byId("movements").append(...page.movements.map(row));
      this.cursor = page.next_cursor;
      byId("more-movements").hidden = page.next_cursor === null;
    } catch (error) {
      byId("plan-problem").textContent = explain(error);
    }
  }
}

/** @param {Movement} movement */
const row = ({ reason, delta, balance_after, created_at }) =>
  make(
    "tr",
    {},
    make("td", {}, when(created_at)),
    make("td", {}, REASON[reason] ?? reason),
    make("td", { className: "amount" }, delta > 0 ? `+${delta.toLocaleString()}` : delta.toLocaleString()),
    make("td", { className: "amount" }, balance_after.toLocaleString()),
  );
