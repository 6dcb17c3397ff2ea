/** What this browser developed before anybody signed in, offered to whoever does. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { ProcessResult } from "../darkroom/types.js" */
import { explain } from "./dialogs.js";
import { byId } from "./dom.js";
import { toast } from "./toast.js";

const KEY = "darkroom.jobs";
const MOST = 50; // jobs that the API takes at once

/** @typedef {{job_id: string, output_id?: string, expires_at: string|null}} Made */

export class Claim {
  /** @param {Darkroom} darkroom @param {{onClaimed: () => void}} around */
  constructor(darkroom, around) {
    this.darkroom = darkroom;
    this.around = around;
    byId("claim-yes").addEventListener("click", () => this.#claim());
    byId("claim-no").addEventListener("click", () => this.#forget());
  }

  /** @returns {Made[]} those that are still there */
  get made() {
    try {
      /** @type {Made[]} */
      const all = JSON.parse(localStorage.getItem(KEY) ?? "[]");
      return all.filter(({ expires_at }) => expires_at === null || new Date(expires_at) > new Date());
    } catch {
      return []; // not ours
    }
  }

  /** @param {ProcessResult} result of a visitor */
  remember({ job_id, output, expires_at }) {
    const output_id = output?.output_id;
    // A hit of what was made here: the job that made it is listed, and knows the picture's name.
    if (output_id && this.made.some((one) => one.output_id === output_id)) return;
    const others = this.made.filter((one) => one.job_id !== job_id);
    localStorage.setItem(KEY, JSON.stringify([{ job_id, output_id, expires_at }, ...others].slice(0, MOST)));
  }

  /** @param {boolean} signedIn */
  offer(signedIn) {
    const count = this.made.length;
    const many = count === 1 ? "the picture" : `the ${count} pictures`;
    byId("claim-title").textContent = `Save ${many} you made before signing in?`;
    byId("claim-text").textContent =
      "Otherwise they are removed, and whoever knows their job ids can see them until then.";
    byId("claim-yes").textContent = count === 1 ? "Save it" : `Save all ${count}`;
    byId("claim").hidden = !signedIn || count === 0;
  }

  async #claim() {
    byId("claim-yes").disabled = true;
    try {
      const mine = await this.darkroom.claim(this.made.map(({ job_id }) => job_id));
      this.#forget();
      toast(`${mine.length === 1 ? "One picture is" : `${mine.length} pictures are`} yours now.`, {
        label: "Open the library",
        act: () => {
          location.hash = "#library";
        },
      });
      this.around.onClaimed();
    } catch (error) {
      byId("claim-text").textContent = explain(error);
    } finally {
      byId("claim-yes").disabled = false;
    }
  }

  #forget() {
    localStorage.removeItem(KEY);
    byId("claim").hidden = true;
    byId("main").querySelector(".view:not([hidden]) h1")?.focus();
  }
}
