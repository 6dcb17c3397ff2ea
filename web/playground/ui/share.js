/** Links to one version: made, shown once, listed, revoked. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { Share } from "../darkroom/types.js" */
import { explain, when } from "./dialogs.js";
import { byId, copyField, make } from "./dom.js";

const STATUS = /** @type {Record<string, string>} */ ({
  active: "Open",
  share_expired: "Ended",
  share_revoked: "Revoked",
  share_used_up: "Used up",
  output_expired: "Picture removed",
  in_review: "In review",
});

export class ShareDialog {
  /** @param {Darkroom} darkroom */
  constructor(darkroom) {
    this.darkroom = darkroom;
    /** @type {string} */
    this.outputId = "";
    byId("share-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#try(() => this.#make());
    });
    byId("share-copy").addEventListener("click", async () => {
      byId("share-status").textContent = await copyField(byId("share-url"));
    });
    byId("share").addEventListener("close", () => this.#forget());
  }

  /** @param {{output_id: string}} version */
  async open({ output_id }) {
    this.outputId = output_id;
    byId("share-form").reset();
    byId("share-status").textContent = byId("share-problem").textContent = "";
    byId("shares").replaceChildren();
    byId("share").showModal();
    await this.#try(() => this.#list());
  }

  /** @param {() => Promise<void>} work */
  async #try(work) {
    byId("share-problem").textContent = "";
    try {
      await work();
    } catch (error) {
      byId("share-problem").textContent = explain(error);
    }
  }

  async #make() {
    const made = await this.darkroom.share(this.outputId, {
      expires_in: Number(byId("share-expiry").value),
      max_views: byId("share-views").value === "" ? null : Number(byId("share-views").value),
      password: byId("share-password").value || null,
    });
    await this.#show(made.url, "The link is made. Copy it now: it is not shown again.");
  }

  /** @param {string} url @param {string} status */
  async #show(url, status) {
    byId("share-url").value = url;
    byId("share-made").hidden = false;
    byId("share-status").textContent = status;
    byId("share-url").focus();
    byId("share-url").select();
    await this.#list();
  }

  /** The address does not stay in the page. */
  #forget() {
    byId("share-url").value = byId("share-password").value = "";
    byId("share-made").hidden = true;
  }

  async #list() {
    const own = this.outputId;
    const shares = await this.darkroom.shares(own);
    if (own !== this.outputId) return;
    byId("shares").replaceChildren(
      ...(shares.length
        ? shares.map((share) => this.#row(share))
        : [make("li", { className: "hint" }, "None yet.")]),
    );
  }

  /** @param {Share} share */
  #row({ share_id, status, has_password, expires_at, max_views, views, locked_until }) {
    const facts = [`until ${when(expires_at)}`, `${views}${max_views ? ` of ${max_views}` : ""} views`];
    if (has_password) facts.push("password");
    if (locked_until) facts.push(`locked until ${when(locked_until)}: too many wrong passwords`);
    const renew = make(
      "button",
      {
        type: "button",
        className: "quiet small",
        "aria-label": `Give the link that ends ${when(expires_at)} a new address`,
        onclick: () =>
          this.#try(async () => {
            const { url } = await this.darkroom.renewShare(share_id);
            await this.#show(url, "The link has a new address. Copy it now: it is not shown again.");
          }),
      },
      "New address",
    );
    const revoke = make(
      "button",
      {
        type: "button",
        className: "quiet small",
        "aria-label": `Revoke the link that ends ${when(expires_at)}`,
        onclick: () =>
          this.#try(async () => {
            await this.darkroom.revokeShare(share_id);
            await this.#list();
            byId("share-status").textContent = "The link is revoked.";
            byId("share-expiry").focus();
          }),
      },
      "Revoke",
    );
    return make(
      "li",
      { "data-status": status },
      make("strong", {}, STATUS[status] ?? status),
      make("span", { className: "hint" }, facts.join(", ")),
      ...(status === "active" ? [...(locked_until ? [renew] : []), revoke] : []),
    );
  }
}
