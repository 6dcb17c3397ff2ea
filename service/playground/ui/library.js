/** The library: a grid of the user's images that grows as it is scrolled, its filters and its collections. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { Collection, LibraryImage, Operation } from "../darkroom/types.js" */
import { byId, fileSize, make } from "./dom.js";
import { ask, askName, explain, inOrder } from "./dialogs.js";
import { ImageView } from "./image.js";
import { MyData } from "./mydata.js";

const TYPING_MS = 250;

export class Library {
  /** @param {Darkroom} darkroom @param {{signOut: () => void}} account */
  constructor(darkroom, { signOut }) {
    this.darkroom = darkroom;
    /** @type {string|null} */
    this.userId = null;
    /** @type {Collection[]} */
    this.collections = [];
    /** @type {string|null} of the collection that is shown */
    this.shelf = null;
    /** @type {string|null} of the next page */
    this.cursor = null;
    this.asked = 0; // of several lists asked for, only the last is drawn: never one of a user who has signed out
    this.loading = false;
    this.view = new ImageView(darkroom, {
      collections: () => this.collections,
      newCollection: () => this.newCollection(),
      onChange: () => this.refresh(),
    });
    new MyData(darkroom, { onDeleted: () => this.refresh(), signOut });
    this.#wire();
  }

  #wire() {
    let typing = 0;
    byId("filters").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
    byId("filters").addEventListener("input", () => {
      clearTimeout(typing);
      typing = window.setTimeout(() => this.refresh(), TYPING_MS);
    });
    byId("more").addEventListener("click", () => this.#more());
    this.horizon = new IntersectionObserver(
      (entries) => entries.some(({ isIntersecting }) => isIntersecting) && this.#more(),
      { rootMargin: "400px" },
    );
  }

  /** Whose images are shown; null: nobody's. @param {string|null} userId @param {Operation[]} operations */
  open(userId, operations) {
    if (userId === this.userId) return; // supabase-js says so again whenever the tab comes to the front
    this.userId = userId;
    this.asked += 1;
    this.cursor = this.shelf = null;
    this.collections = [];
    byId("filters").reset();
    byId("images").replaceChildren();
    byId("collections").replaceChildren();
    byId("plan").textContent = byId("library-hint").textContent = byId("library-problem").textContent = "";
    for (const dialog of document.querySelectorAll("dialog[open]")) {
      if (userId === null && dialog.id !== "data") /** @type {HTMLDialogElement} */ (dialog).close();
    }
    byId("made-by").replaceChildren(
      make("option", { value: "" }, "Any operation"),
      ...operations.map(({ name, title }) => make("option", { value: name }, title)),
    );
    this.view.offer(operations);
    if (userId !== null) void this.refresh();
  }

  /** The filter as the form has it. */
  get filter() {
    return {
      q: byId("q").value.trim(),
      op: byId("made-by").value,
      archived: /** @type {"true"|"false"} */ (String(byId("archived").checked)),
      collection_id: this.shelf ?? undefined,
    };
  }

  /** The first page again, and all around it. */
  async refresh() {
    const own = ++this.asked;
    const kept = document.activeElement?.closest("#images li")?.getAttribute("data-id");
    byId("library").setAttribute("aria-busy", "true");
    try {
      const [page, collections, me] = await Promise.all([
        this.darkroom.images(this.filter),
        this.darkroom.collections(),
        this.darkroom.me(),
      ]);
      if (own !== this.asked) return;
      this.collections = collections;
      byId("plan").textContent = [
        `${me.plan.name} plan`,
        `${me.credits.toLocaleString()} credits`,
        ...(me.plan.watermark ? ["previews with a watermark"] : []),
      ].join(", ");
      byId("library-problem").textContent = "";
      byId("images").replaceChildren(...page.images.map((image) => this.#card(image)));
      this.#drawShelves();
      this.#turn(page.next_cursor);
      byId("library-hint").textContent = this.#hint(page.images.length, me.plan.persistent);
      if (kept) byId("images").querySelector(`[data-id="${kept}"] button`)?.focus();
    } catch (error) {
      if (own === this.asked) byId("library-problem").textContent = explain(error);
    } finally {
      if (own === this.asked) byId("library").removeAttribute("aria-busy");
    }
  }

  /** @param {number} count @param {boolean} persistent whether the plan keeps results */
  #hint(count, persistent) {
    const { q, op, archived, collection_id } = this.filter;
    if (count && persistent) return "";
    if (count) return "Your plan keeps results for a while only; each says until when.";
    if (q || op) return "Nothing matches.";
    if (collection_id) return "Nothing in this collection.";
    if (archived === "true") return "The archive is empty.";
    return "Nothing yet. What you process while signed in appears here.";
  }

  async #more() {
    if (this.loading || this.cursor === null || this.userId === null) return;
    const own = this.asked;
    this.loading = true;
    try {
      const page = await this.darkroom.images({ ...this.filter, cursor: this.cursor });
      if (own !== this.asked) return;
      byId("images").append(...page.images.map((image) => this.#card(image)));
      this.#turn(page.next_cursor);
    } catch (error) {
      if (own === this.asked) byId("library-problem").textContent = explain(error);
    } finally {
      this.loading = false;
    }
  }

  /** @param {string|null} cursor */
  #turn(cursor) {
    const more = byId("more");
    this.cursor = cursor;
    more.hidden = cursor === null;
    this.horizon?.unobserve(more);
    if (cursor !== null) this.horizon?.observe(more); // tells at once if it is still in sight
  }

  /** @param {LibraryImage} image */
  #card(image) {
    const { image_id, filename, current, thumbnail_url, versions } = image;
    const facts = current
      ? [`${current.width} × ${current.height}`, fileSize(current.size)]
      : ["no version left"];
    if (versions > 1) facts.push(`${versions} versions`);
    if (current?.expires_at) facts.push(`until ${new Date(current.expires_at).toLocaleDateString()}`);
    return make(
      "li",
      { "data-id": image_id },
      make(
        "button",
        {
          type: "button",
          onclick: () => this.view.open(image_id),
          title: filename,
          "aria-haspopup": "dialog",
        },
        make("span", { className: "sheet" }, thumbnail_url ? this.#thumb(image) : ""),
        make("span", { className: "name" }, filename),
        make("code", {}, current?.op_key ?? ""),
        make("span", { className: "hint" }, facts.join(", ")),
      ),
    );
  }

  /** @param {LibraryImage} image */
  #thumb({ image_id, thumbnail_url }) {
    const thumb = make("img", { loading: "lazy", alt: "", src: thumbnail_url });
    thumb.addEventListener(
      "error",
      async () => {
        // The page has been open for longer than the URL lives.
        const fresh = await this.darkroom.image(image_id).catch(() => null);
        if (fresh?.thumbnail_url) thumb.src = fresh.thumbnail_url;
      },
      { once: true },
    );
    return thumb;
  }

  // ---------------------------------------------------------------------------------------- collections

  #drawShelves() {
    const shelves = inOrder(this.collections);
    if (!shelves.some(({ collection }) => collection.collection_id === this.shelf)) {
      if (this.shelf !== null) setTimeout(() => this.#choose(null)); // deleted elsewhere
    }
    const focused = document.activeElement?.closest("#collections [data-shelf]")?.getAttribute("data-shelf");
    const chip = (/** @type {string|null} */ id, /** @type {string} */ text) =>
      make(
        "button",
        {
          type: "button",
          className: "chip",
          "data-shelf": id ?? "all",
          "aria-pressed": String(this.shelf === id),
          onclick: () => this.#choose(id),
        },
        text,
      );
    const tool = (
      /** @type {string} */ id,
      /** @type {string} */ text,
      /** @type {() => void} */ onclick,
      className = "quiet small",
    ) => make("button", { type: "button", id, className, onclick }, text);
    const chosen = this.collections.find(({ collection_id }) => collection_id === this.shelf);
    const tools = [
      tool("new-collection", "New collection…", () => this.#change(() => this.newCollection())),
      ...(chosen
        ? [
            tool("rename-collection", "Rename…", () => this.#rename(chosen)),
            tool("delete-collection", "Delete collection…", () => this.#remove(chosen), "quiet small danger"),
          ]
        : []),
    ];
    byId("collections").replaceChildren(
      chip(null, "All"),
      ...shelves.map(({ collection, path }) =>
        chip(collection.collection_id, `${path} (${collection.images})`),
      ),
      ...tools,
    );
    if (focused) byId("collections").querySelector(`[data-shelf="${focused}"]`)?.focus();
  }

  /** @param {string|null} id */
  #choose(id) {
    this.shelf = id;
    return this.refresh();
  }

  /** Asks for a new collection and makes it. Throws what the API refuses. @returns {Promise<Collection|null>} */
  async newCollection() {
    const outer = this.collections.filter(({ parent_id }) => parent_id === null);
    const wanted = await askName("A new collection", "", outer);
    return wanted && this.darkroom.createCollection(wanted);
  }

  /** @param {Collection} collection */
  async #rename({ collection_id, name }) {
    const wanted = await askName("Rename the collection", name);
    if (!wanted) return;
    await this.#change(() => this.darkroom.updateCollection(collection_id, { name: wanted.name }));
  }

  /** @param {Collection} collection */
  async #remove({ collection_id, name }) {
    const text = "The collection and those inside it go; the images stay.";
    if (!(await ask(`Delete “${name}”?`, text, "Delete"))) return;
    await this.#change(async () => {
      await this.darkroom.deleteCollection(collection_id);
      this.shelf = null;
    });
  }

  /** @param {() => Promise<unknown>} work */
  async #change(work) {
    try {
      await work();
      await this.refresh();
    } catch (error) {
      byId("library-problem").textContent = explain(error);
    }
  }
}
