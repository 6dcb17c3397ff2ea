/** What the user has chosen for the library, and what their plan makes of it. */
/** @import { Darkroom } from "../../darkroom.js" */
/** @import { Me, Settings } from "../../darkroom/types.js" */
import { explain } from "../dialogs.js";
import { byId } from "../dom.js";

export class SettingsForm {
  /** @param {Darkroom} darkroom */
  constructor(darkroom) {
    this.darkroom = darkroom;
    /** @type {Settings|null} as the server has them */
    this.saved = null;
    byId("settings").addEventListener("input", () => this.#compare());
    byId("settings").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#try(() => this.#save());
    });
  }

  /** Somebody else is there. */
  clear() {
    this.saved = null;
    byId("settings").reset();
    byId("settings-save").disabled = true;
  }

  /** What the server has; changes that are not saved yet stay. */
  load() {
    byId("settings-status").textContent = "";
    return this.#try(async () => {
      const me = await this.darkroom.me();
      if (!this.#changed) this.#draw(me); // else somebody is at it
    });
  }

  /** @param {() => Promise<void>} work */
  async #try(work) {
    byId("account-problem").textContent = "";
    byId("settings").setAttribute("aria-busy", "true");
    try {
      await work();
    } catch (error) {
      byId("account-problem").textContent = explain(error);
    } finally {
      byId("settings").removeAttribute("aria-busy");
    }
  }

  /** @param {Me} me */
  #draw({ plan, settings }) {
    this.saved = settings;
    byId("keep-original").checked = settings.keep_original;
    byId("keep-full-res").checked = settings.keep_full_res;
    byId("versions-to-keep").value = settings.versions_to_keep;
    byId("archive-after").value = settings.archive_after_days ?? "";
    const side = `${plan.working_side.toLocaleString()} pixels a side`;
    byId("keep-full-res-hint").textContent =
      plan.high_res_exports_per_month === 0
        ? `The ${plan.name} plan works at up to ${side}, whatever is chosen here.`
        : `Otherwise results are made at up to ${side}, which is faster and smaller.`;
    byId("versions-to-keep").max = Math.max(plan.versions, settings.versions_to_keep);
    byId("versions-hint").textContent =
      `The ${plan.name} plan keeps up to ${plan.versions} versions of an image. When there are more than you want, the oldest go for good. The archive hides images; it deletes nothing.`;
    byId("settings-note").hidden = plan.persistent;
    byId("settings-note").textContent =
      `The ${plan.name} plan keeps results for a while only. These settings take effect with a plan that has a library.`;
    this.#compare();
  }

  /** The form as settings. @returns {Settings} */
  get #wanted() {
    return {
      keep_original: byId("keep-original").checked,
      keep_full_res: byId("keep-full-res").checked,
      versions_to_keep: Number(byId("versions-to-keep").value),
      archive_after_days: byId("archive-after").value === "" ? null : Number(byId("archive-after").value),
    };
  }

  /** Whether the form says something else than the server. */
  get #changed() {
    const wanted = this.#wanted;
    return this.saved !== null && JSON.stringify(wanted) !== JSON.stringify({ ...wanted, ...this.saved });
  }

  #compare() {
    byId("settings-save").disabled = !this.#changed || !byId("settings").checkValidity();
    if (this.#changed) byId("settings-status").textContent = "";
  }

  async #save() {
    this.#draw(await this.darkroom.updateSettings(this.#wanted));
    byId("settings-status").textContent = "Saved.";
  }
}
