/** One image of the library: its versions beside the original, and everything that can be done with them. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { Collection, ImageDocument, Operation, SignedVersion } from "../darkroom/types.js" */
import { ask, explain, inOrder, when } from "./dialogs.js";
import { byId, fileSize, make, typeName } from "./dom.js";
import { chips } from "./recipes.js";
import { showReport } from "./report.js";
import { affordable, rerun, worthKeeping } from "./rerun.js";
import { ShareDialog } from "./share.js";
import { Viewer } from "./viewer.js";

/**
 * @typedef {object} Surroundings
 * @property {() => Collection[]} collections
 * @property {() => Promise<Collection|null>} newCollection
 * @property {() => Promise<void>} onChange  the list may have changed
 */

export class ImageView {
  /** @param {Darkroom} darkroom @param {Surroundings} around */
  constructor(darkroom, around) {
    this.darkroom = darkroom;
    this.around = around;
    this.viewer = new Viewer(byId("image-frame"));
    this.shareDialog = new ShareDialog(darkroom);
    /** @type {ImageDocument|null} */
    this.image = null;
    /** @type {string|null} output id of the version that is looked at */
    this.chosen = null;
    /** "original", or the output id that it is compared with */
    this.base = "original";
    /** @type {AbortController} ends what waits when the dialog closes */
    this.life = new AbortController();
    this.#wire();
  }

  #wire() {
    const on = (/** @type {string} */ id, /** @type {() => void} */ work) =>
      byId(id).addEventListener("click", work);
    on("promote", () => this.#promote());
    on("restore", () => this.#act("This version is current now.", (id) => this.darkroom.restore(id)));
    on("delete-version", () => this.#deleteVersion());
    on("delete-image", () => this.#deleteImage());
    on("archive", () => this.#archive());
    on("share-open", () => this.version && this.shareDialog.open(this.version));
    on("new-membership", () => this.#newMembership());
    byId("rerun").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#rerun(byId("rerun-keys").value.split(/\s+/).filter(Boolean));
    });
    byId("rerun-chips").addEventListener("click", (/** @type {Event} */ { target }) => {
      const { key } = /** @type {HTMLElement} */ (target).dataset;
      if (key) byId("rerun-keys").value = `${byId("rerun-keys").value} ${key}`.trim();
    });
    byId("compare").addEventListener("change", () => {
      this.base = byId("compare").value;
      void this.#show();
    });
    for (const radio of document.querySelectorAll("input[name=image-view]"))
      radio.addEventListener("change", () => this.viewer.draw(/** @type {any} */ (radio).value));
    byId("image").addEventListener("close", () => this.life.abort());
  }

  /** What can be run, for the list of suggestions. @param {Operation[]} operations */
  offer(operations) {
    const keys = new Set(operations.flatMap(({ examples }) => examples));
    byId("rerun-list").replaceChildren(...[...keys].map((value) => make("option", { value })));
    byId("rerun-chips").replaceChildren(...chips(operations));
  }

  /** @returns {SignedVersion|null} that is looked at */
  get version() {
    return this.image?.outputs.find(({ output_id }) => output_id === this.chosen) ?? null;
  }

  /** @param {string} imageId */
  async open(imageId) {
    this.life.abort();
    this.life = new AbortController();
    this.image = this.chosen = null;
    this.base = "original";
    byId("rerun").reset();
    byId("image-title").textContent = "…";
    byId("image-facts").textContent = byId("image-status").textContent = byId("image-problem").textContent = "";
    byId("versions").replaceChildren();
    byId("image-frame").replaceChildren();
    byId("image").dataset.state = "loading";
    byId("image").showModal();
    await this.#try(() => this.#load(imageId));
  }

  /** @param {string} imageId @param {string|null} [choose] an output to look at */
  async #load(imageId, choose = null) {
    const { signal } = this.life;
    const image = await this.darkroom.image(imageId, { signal });
    signal.throwIfAborted();
    const has = (/** @type {string|null|undefined} */ id) =>
      image.outputs.some(({ output_id }) => output_id === id);
    this.image = image;
    this.chosen =
      [choose, this.chosen, image.current?.output_id].find(has) ?? image.outputs[0]?.output_id ?? null;
    if (!has(this.base)) this.base = "original";
    byId("image").dataset.state = "open";
    await this.#draw();
  }

  // ---------------------------------------------------------------------------------------- drawing

  async #draw() {
    const { image } = this;
    if (!image) return;
    byId("image-title").textContent = image.filename;
    byId("image-facts").textContent = [
      `${image.width} × ${image.height}`,
      fileSize(image.size),
      typeName(image.content_type),
      when(image.created_at),
      image.original_kept ? "original kept" : "original not kept",
      ...(image.archived_at ? ["in the archive"] : []),
    ].join(", ");
    byId("archive").textContent = image.archived_at ? "Take out of the archive" : "Archive";
    byId("original-download").hidden = !image.original_url;
    if (image.original_url) byId("original-download").href = image.original_url;
    this.#drawMemberships(image);
    this.#drawVersions(image);
    this.#drawChosen(image);
    await this.#show();
  }

  /** @param {ImageDocument} image */
  #drawVersions(image) {
    const inside = byId("versions").contains(document.activeElement);
    byId("versions").replaceChildren(
      ...image.outputs.map((output) => {
        const current = output.output_id === image.current?.output_id;
        return make(
          "li",
          {},
          make(
            "button",
            {
              type: "button",
              "data-id": output.output_id,
              "aria-pressed": String(output.output_id === this.chosen),
              title: output.op_key,
              onclick: () => this.#choose(output.output_id),
            },
            make(
              "span",
              { className: "sheet" },
              make("img", { src: output.thumbnail_url, alt: "", loading: "lazy" }),
            ),
            make("span", { className: "name" }, nameOf(output)),
            current ? make("span", { className: "current" }, "current") : "",
            make("span", { className: "hidden" }, output.op_key),
          ),
        );
      }),
    );
    if (inside) byId("versions").querySelector("[aria-pressed=true]")?.focus();
  }

  /** @param {ImageDocument} image */
  #drawChosen(image) {
    const { version } = this;
    const of = (/** @type {string} */ id, /** @type {boolean} */ shown) => {
      byId(id).hidden = !shown;
    };
    const current = version?.output_id === image.current?.output_id;
    byId("version-title").textContent = version ? nameOf(version) : "No version is left";
    byId("version-key").textContent = version?.op_key ?? "";
    byId("version-facts").textContent = version
      ? [
          `${version.width} × ${version.height}`,
          fileSize(version.size),
          typeName(version.content_type),
          version.expires_at ? `until ${when(version.expires_at)}` : "kept",
        ].join(", ")
      : "Run again to make one.";
    showReport(byId("version-report"), version);
    of("promote", version !== null && version.version === null);
    of("restore", version !== null && version.version !== null && !current);
    for (const id of ["share-open", "version-download", "delete-version"]) of(id, version !== null);
    if (version) byId("version-download").href = version.download_url;
    const others = image.outputs.filter(({ output_id }) => output_id !== this.chosen);
    if (this.base === this.chosen) this.base = "original";
    byId("compare").replaceChildren(
      make(
        "option",
        { value: "original" },
        image.original_url ? "Original" : "Nothing: the original is not kept",
      ),
      ...others.map((output) =>
        make("option", { value: output.output_id }, `${nameOf(output)}: ${output.op_key}`),
      ),
    );
    byId("compare").value = this.base;
  }

  /** @param {ImageDocument} image */
  #drawMemberships(image) {
    byId("memberships").replaceChildren(
      ...inOrder(this.around.collections()).map(({ collection, path }) => {
        const id = `in-${collection.collection_id}`;
        const box = make("input", {
          type: "checkbox",
          id,
          checked: image.collection_ids.includes(collection.collection_id),
          onchange: () => this.#member(collection, box.checked),
        });
        return make("label", { className: "switch", for: id }, box, ` ${path}`);
      }),
    );
  }

  /** The picture, beside what it is compared with. */
  async #show() {
    const { image, version } = this;
    if (!image) return;
    const base = image.outputs.find(({ output_id }) => output_id === this.base);
    const before = base
      ? { source: base.url, alt: nameOf(base), label: nameOf(base) }
      : image.original_url && { source: image.original_url, alt: "The original", label: "Original" };
    const after = version && {
      source: version.url,
      alt: `${image.filename}, ${nameOf(version)}`,
      label: nameOf(version),
    };
    const view = await this.viewer.show(before || null, after);
    if (view === null) return;
    byId("image-views").hidden = !this.viewer.before || !this.viewer.after;
    /** @type {any} */ (document.querySelector(`input[name=image-view][value=${view}]`)).checked = true;
  }

  /** @param {string} outputId */
  #choose(outputId) {
    if (!this.image) return;
    this.chosen = outputId;
    byId("image-problem").textContent = "";
    this.#drawVersions(this.image);
    this.#drawChosen(this.image);
    byId("image-status").textContent = `${byId("version-title").textContent} is shown.`;
    void this.#try(() => this.#show());
  }

  // ---------------------------------------------------------------------------------------- doing

  /** @param {() => Promise<unknown>} work @returns {Promise<boolean>} whether it went well */
  async #try(work) {
    const { signal } = this.life;
    byId("image-problem").textContent = "";
    byId("image").setAttribute("aria-busy", "true");
    try {
      await work();
      return true;
    } catch (error) {
      if (!signal.aborted) {
        byId("image-status").textContent = "";
        byId("image-problem").textContent = explain(error);
      }
      return false;
    } finally {
      if (signal === this.life.signal) byId("image").removeAttribute("aria-busy");
      // A button that hides itself leaves the focus nowhere.
      if (byId("image").open && !document.activeElement?.checkVisibility())
        byId("versions").querySelector("[aria-pressed=true]")?.focus();
    }
  }

  /**
   * Does something to the chosen version and shows what has become of the image.
   * @param {string} said afterwards
   * @param {(outputId: string) => Promise<unknown>} work
   */
  async #act(said, work) {
    const { image, chosen } = this;
    if (!image || !chosen) return;
    await this.#try(async () => {
      await work(chosen);
      await this.#load(image.image_id);
      byId("image-status").textContent = said;
      void this.around.onChange();
    });
  }

  async #promote() {
    await this.#try(async () => {
      if (!(await worthKeeping(this.darkroom))) return;
      await this.#act("It is in your library now.", (id) => this.darkroom.promote({ output_id: id }));
    });
  }

  async #deleteVersion() {
    const { version } = this;
    if (!version) return;
    const sure = await ask(`Delete ${nameOf(version)}?`, "It goes for good, and its links end.", "Delete");
    if (sure) await this.#act("The version is deleted.", (id) => this.darkroom.deleteOutput(id));
  }

  async #deleteImage() {
    const { image } = this;
    if (!image) return;
    const text = "The original and every version go for good, and their links end.";
    if (!(await ask(`Delete ${image.filename}?`, text, "Delete"))) return;
    await this.#try(async () => {
      await this.darkroom.deleteImage(image.image_id);
      await this.#leave();
    });
  }

  async #archive() {
    const { image } = this;
    if (!image) return;
    await this.#try(async () => {
      await this.darkroom.archive(image.image_id, image.archived_at === null);
      await this.#leave();
    });
  }

  /** The image is no longer in the list. */
  async #leave() {
    byId("image").close();
    await this.around.onChange();
    byId("library-title").focus();
  }

  /** @param {Collection} collection @param {boolean} member */
  async #member(collection, member) {
    const { image } = this;
    if (!image) return;
    const ids = /** @type {const} */ ([collection.collection_id, image.image_id]);
    const well = await this.#try(() =>
      member ? this.darkroom.addToCollection(...ids) : this.darkroom.removeFromCollection(...ids),
    );
    if (well) byId("image-status").textContent = `${member ? "Added to" : "Removed from"} ${collection.name}.`;
    else byId(`in-${collection.collection_id}`).checked = !member;
    void this.around.onChange();
  }

  async #newMembership() {
    const { image } = this;
    if (!image) return;
    await this.#try(async () => {
      const made = await this.around.newCollection();
      if (!made) return;
      await this.darkroom.addToCollection(made.collection_id, image.image_id);
      await this.around.onChange();
      await this.#load(image.image_id);
      byId("image-status").textContent = `Added to ${made.name}.`;
    });
  }

  /** @param {string[]} keys */
  async #rerun(keys) {
    const { image } = this;
    const { signal } = this.life;
    if (!image || keys.length === 0) return;
    const tell = (/** @type {string} */ text) => {
      if (!signal.aborted) byId("image-status").textContent = text;
    };
    await this.#try(async () => {
      if (!(await affordable(this.darkroom, image, keys))) return;
      const { made, failures } = await rerun(this.darkroom, image, keys, { signal, tell });
      await this.#load(image.image_id, made.at(-1) ?? null);
      if (made.length > 1) {
        this.base = made[0];
        await this.#draw();
      }
      tell(made.length ? `Done: ${made.length === 1 ? "one version" : `${made.length} versions`}.` : "");
      byId("image-problem").textContent = failures.join(" ");
      void this.around.onChange();
    });
  }
}

/** @param {{version: number|null}} output */
const nameOf = ({ version }) => (version === null ? "Not kept" : `Version ${version}`);
