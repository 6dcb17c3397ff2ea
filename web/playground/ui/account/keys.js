/** API keys: made, shown once, replaced, revoked. */
/** @import { Darkroom } from "../../darkroom.js" */
/** @import { ApiKey, NewApiKey, Scope } from "../../darkroom/account-types.js" */
import { ask, explain, when } from "../dialogs.js";
import { byId, copyField, make } from "../dom.js";

const DAY_MS = 86_400_000;
/** @type {[Scope, string][]} */
const SCOPES = [
  ["intake", "Process pictures"],
  ["jobs:read", "Follow jobs"],
  ["library:read", "Read the library"],
  ["library:write", "Change the library"],
  ["usage:read", "Read plan and usage"],
];
const OVERLAP_HOURS = 24;

export class Keys {
  /** @param {Darkroom} darkroom */
  constructor(darkroom) {
    this.darkroom = darkroom;
    byId("key-scopes").append(
      ...SCOPES.map(([scope, says]) =>
        make(
          "label",
          { className: "switch" },
          make("input", { type: "checkbox", value: scope }),
          ` ${says} `,
          make("code", {}, scope),
        ),
      ),
    );
    byId("new-key").addEventListener("click", () => this.#open());
    byId("key-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#try("key-problem", () => this.#make());
    });
    byId("key-copy").addEventListener("click", async () => {
      byId("key-status").textContent = await copyField(byId("key-secret"));
    });
    byId("key").addEventListener("close", () => {
      byId("key-secret").value = ""; // it does not stay in the page
    });
  }

  /** Somebody else is there. */
  clear() {
    byId("keys").replaceChildren();
  }

  load() {
    return this.#try("keys-problem", async () => this.#draw(await this.darkroom.apiKeys()));
  }

  /** @param {string} where the element that tells what went wrong @param {() => Promise<void>} work */
  async #try(where, work) {
    byId(where).textContent = "";
    try {
      await work();
    } catch (error) {
      byId(where).textContent = explain(error);
    }
  }

  #open() {
    byId("key-form").reset();
    for (const box of byId("key-scopes").querySelectorAll("input"))
      box.checked = box.value === "intake" || box.value === "jobs:read";
    byId("key-problem").textContent = byId("key-status").textContent = "";
    byId("key-title").textContent = "A new API key";
    byId("key-form").hidden = false;
    byId("key-made").hidden = true;
    byId("key").showModal();
  }

  async #make() {
    const days = Number(byId("key-expiry").value);
    const cap = byId("key-cap").value;
    const scopes = [...byId("key-scopes").querySelectorAll("input:checked")].map((box) => box.value);
    if (scopes.length === 0) {
      byId("key-problem").textContent = "Choose at least one thing that the key may do.";
      return;
    }
    const made = await this.darkroom.createApiKey({
      name: byId("key-name").value.trim(),
      scopes,
      expires_at: days ? new Date(Date.now() + days * DAY_MS).toISOString() : null,
      spend_cap: cap === "" ? null : Number(cap),
    });
    await this.#show(made, "Copy it now: it is not shown again.");
  }

  /** @param {NewApiKey} made @param {string} said */
  async #show({ key, name }, said) {
    byId("key-title").textContent = name;
    byId("key-form").hidden = true;
    byId("key-made").hidden = false;
    byId("key-secret").value = key;
    byId("key-status").textContent = said;
    if (!byId("key").open) byId("key").showModal();
    byId("key-secret").focus();
    byId("key-secret").select();
    await this.load();
  }

  /** @param {ApiKey[]} keys */
  #draw(keys) {
    byId("keys").replaceChildren(
      ...(keys.length
        ? keys.map((key) => this.#row(key))
        : [make("li", { className: "hint" }, "None yet. A key lets a server of yours ask as you do here.")]),
    );
  }

  /** @param {ApiKey} key */
  #row(key) {
    const { key_id, name, prefix, scopes, status } = key;
    const tool = (/** @type {string} */ text, /** @type {() => Promise<void>} */ work, danger = "") =>
      make(
        "button",
        {
          type: "button",
          className: `quiet small ${danger}`,
          "aria-label": `${text} ${name}`,
          onclick: () => this.#try("keys-problem", work),
        },
        text,
      );
    return make(
      "li",
      { "data-status": status, "data-id": key_id },
      make(
        "div",
        {},
        make("p", {}, make("strong", {}, name), " ", make("code", {}, `${prefix}…`)),
        make("p", { className: "hint" }, scopes.join(", ")),
        make("p", { className: "hint" }, facts(key).join(" · ")),
      ),
      status === "active"
        ? make(
            "div",
            { className: "buttons" },
            tool("Replace…", () => this.#rotate(key)),
            tool("Revoke…", () => this.#revoke(key), "danger"),
          )
        : "",
    );
  }

  /** @param {ApiKey} key */
  async #rotate({ key_id, name }) {
    const text = `You get a new secret. The present one works for ${OVERLAP_HOURS} hours more, so that you can change over.`;
    if (!(await ask(`Replace the secret of “${name}”?`, text, "Replace"))) return;
    const made = await this.darkroom.rotateApiKey(key_id, OVERLAP_HOURS);
    await this.#show(made, `Copy it now. The one before works until ${when(made.overlap_ends_at ?? "")}.`);
  }

  /** @param {ApiKey} key */
  async #revoke({ key_id, name }) {
    const text = "Whatever uses it is refused from now on. This cannot be undone.";
    if (!(await ask(`Revoke “${name}”?`, text, "Revoke"))) return;
    await this.darkroom.revokeApiKey(key_id);
    await this.load();
    byId("new-key").focus();
  }
}

/** @param {ApiKey} key */
function facts({ status, created_at, expires_at, last_used_at, revoked_at, overlap_ends_at, spent, spend_cap }) {
  if (status === "revoked") return [`revoked ${when(revoked_at ?? created_at)}`];
  if (status === "expired") return [`ended ${when(expires_at ?? created_at)}`];
  const overlaps = overlap_ends_at && new Date(overlap_ends_at) > new Date();
  return [
    last_used_at ? `used ${when(last_used_at)}` : "never used",
    ...(expires_at ? [`until ${when(expires_at)}`] : []),
    ...(spend_cap !== null ? [`${spent} of ${spend_cap} credits this month`] : []),
    ...(overlaps ? [`the secret before works until ${when(overlap_ends_at)}`] : []),
  ];
}
