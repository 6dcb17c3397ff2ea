/** All data of the user: taken along, or deleted. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { Deletion, Export } from "../darkroom/types.js" */
import { explain } from "./dialogs.js";
import { byId, fileSize, make } from "./dom.js";

const ACCOUNT = {
  kept: "kept",
  deleted: "deleted",
  operator: "only the operator of this Darkroom can delete it; ask them",
};

export class MyData {
  /** @param {Darkroom} darkroom @param {{onDeleted: () => void, signOut: () => void}} around */
  constructor(darkroom, around) {
    this.darkroom = darkroom;
    this.around = around;
    this.waiting = new AbortController();
    byId("my-data").addEventListener("click", () => this.#open());
    byId("export").addEventListener("click", () => this.#try(() => this.#export()));
    byId("delete-confirm").addEventListener("input", () => {
      byId("delete-go").disabled = !byId("delete-confirm").validity.valid;
    });
    byId("delete-data").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#try(() => this.#delete());
    });
    byId("data").addEventListener("close", () => this.waiting.abort());
  }

  #open() {
    this.waiting = new AbortController();
    byId("delete-data").reset();
    byId("delete-go").disabled = true;
    byId("receipt").hidden = byId("export-download").hidden = true;
    byId("delete-data").hidden = byId("export").disabled = false;
    byId("export-progress").hidden = byId("delete-progress").hidden = true;
    for (const id of ["data-problem", "export-status", "delete-status"]) byId(id).textContent = "";
    byId("data").showModal();
  }

  /** @param {() => Promise<void>} work */
  async #try(work) {
    const { signal } = this.waiting;
    byId("data-problem").textContent = "";
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) byId("data-problem").textContent = explain(error);
    } finally {
      byId("export").disabled = false;
      byId("delete-go").disabled = !byId("delete-confirm").validity.valid;
    }
  }

  /** @param {"export"|"delete"} kind @param {Deletion|Export} request */
  #progress(kind, { status, progress, step }) {
    const bar = byId(`${kind}-progress`);
    bar.hidden = status === "done" || status === "error";
    bar.value = progress;
    byId(`${kind}-status`).textContent =
      status === "running" ? `Working${step ? `: ${step}` : ""}, ${Math.round(progress * 100)} %` : status;
  }

  async #export() {
    byId("export").disabled = true;
    byId("export-download").hidden = true;
    const { signal } = this.waiting;
    const made = await this.darkroom.exportMyData({
      renew: true,
      signal,
      onProgress: (request) => this.#progress("export", request),
    });
    if (!made.url) throw new Error(made.error?.detail ?? "The zip could not be made.");
    byId("export-status").textContent =
      `Ready: ${made.receipt?.files ?? 0} pictures, ${fileSize(made.size ?? 0)}. The link lives for minutes.`;
    byId("export-download").href = made.url;
    byId("export-download").hidden = false;
  }

  async #delete() {
    byId("delete-go").disabled = true;
    const { signal } = this.waiting;
    const deletion = await this.darkroom.deleteMyData(
      { confirm: byId("delete-confirm").value, delete_account: byId("delete-account").checked },
      { signal, onProgress: (request) => this.#progress("delete", request) },
    );
    const { receipt } = deletion;
    if (!receipt) throw new Error(deletion.error?.detail ?? "The deletion has stopped; start it again.");
    this.#show(deletion.request_id, receipt);
    if (receipt.account === "deleted") this.around.signOut();
    else this.around.onDeleted();
  }

  /** @param {string} requestId @param {NonNullable<Deletion["receipt"]>} receipt */
  #show(requestId, { rows, objects, kept, account }) {
    const list = (/** @type {Record<string, number>} */ counts) =>
      Object.entries(counts)
        .filter(([, count]) => count > 0)
        .map(([name, count]) => `${name} ${count}`)
        .join(", ") || "none";
    const facts = [
      ["Deleted files", list(objects)],
      ["Deleted rows", list(rows)],
      ...kept.map(({ what, rows, why }) => [`Kept: ${what} (${rows})`, why]),
      ["Account", ACCOUNT[account]],
      ["Number", requestId],
    ];
    byId("delete-data").hidden = true;
    byId("export-status").textContent = "";
    byId("export-download").hidden = true;
    byId("receipt-facts").replaceChildren(
      ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
    );
    byId("receipt").hidden = false;
    byId("receipt").tabIndex = -1;
    byId("receipt").focus();
  }
}
