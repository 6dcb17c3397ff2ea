/** The places of the library: everything, the archive, and collections, which nest one level. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { Collection } from "../darkroom/types.js" */
/** @import { Place } from "./dialogs.js" */
/** @import { Teams } from "./teams/teams.js" */
import { ask, askName, askPlace, inOrder } from "./dialogs.js";
import { byId, make } from "./dom.js";

const FIXED = /** @type {Record<string, string>} */ ({ all: "All images", archive: "Archive" });

/**
 * @typedef {object} Around
 * @property {() => Promise<void>} onChoose  another place is chosen
 * @property {(work: () => Promise<unknown>) => Promise<void>} change  does it, then shows what there is
 * @property {Teams} teams
 */

export class Places {
  /** @param {Darkroom} darkroom @param {Around} around */
  constructor(darkroom, around) {
    this.darkroom = darkroom;
    this.around = around;
    /** @type {Collection[]} */
    this.collections = [];
    /** "all", "archive" or the id of a collection */
    this.chosen = "all";
    byId("library").addEventListener("click", (/** @type {Event} */ { target }) => {
      const place = /** @type {HTMLElement} */ (target).closest("[data-shelf]");
      if (place) void this.choose(/** @type {HTMLElement} */ (place).dataset.shelf ?? "all");
    });
    byId("new-collection").addEventListener("click", () => around.change(() => this.create()));
    byId("edit-collection").addEventListener("click", () => this.#edit());
    byId("delete-collection").addEventListener("click", () => this.#remove());
  }

  /** The one that is chosen. @returns {Collection|null} */
  get collection() {
    return this.collections.find(({ collection_id }) => collection_id === this.chosen) ?? null;
  }

  /** @param {string} shelf */
  choose(shelf) {
    this.chosen = shelf;
    this.#mark();
    return this.around.onChoose();
  }

  /** @param {Collection[]} collections */
  show(collections) {
    this.collections = collections;
    if (!FIXED[this.chosen] && !this.collection) setTimeout(() => this.choose("all")); // deleted elsewhere
    const focused = document.activeElement?.closest("#collections [data-shelf]")?.getAttribute("data-shelf");
    byId("collections").replaceChildren(
      ...inOrder(collections).map(({ collection, outer }) =>
        make(
          "li",
          {},
          make(
            "button",
            {
              type: "button",
              className: outer ? "place inner" : "place",
              "data-shelf": collection.collection_id,
              "aria-pressed": "false",
            },
            make("span", { className: "outer" }, outer ? `${outer.name} / ` : ""),
            make("span", { className: "name" }, collection.name),
            make("span", { className: "number" }, make("span", { className: "hidden" }, ", "), String(collection.images)),
          ),
        ),
      ),
    );
    this.#mark();
    if (focused) byId("collections").querySelector(`[data-shelf="${focused}"]`)?.focus();
  }

  #mark() {
    for (const place of byId("library").querySelectorAll("[data-shelf]"))
      place.setAttribute("aria-pressed", String(place.dataset.shelf === this.chosen));
    byId("library-title").textContent = FIXED[this.chosen] ?? this.collection?.name ?? "";
    byId("edit-collection").hidden = byId("delete-collection").hidden = !this.collection;
  }

  /** Asks for a new collection and makes it. Throws what the API refuses. @returns {Promise<Collection|null>} */
  async create() {
    const inside = this.collection?.parent_id === null ? this.collection.collection_id : null;
    const wanted = await askName("A new collection", { name: "", parents: this.#outer(), parent_id: inside });
    const { chosen } = this.around.teams;
    return wanted && this.darkroom.createCollection({ ...wanted, ...(chosen && { team_id: chosen }) });
  }

  /** Asks where images shall go. @param {number} count @returns {Promise<Place|null>} null: nowhere */
  askPlace(count) {
    const { all, team } = this.around.teams;
    const libraries = team
      ? team.role === "owner"
        ? [{ team_id: null, name: "My library" }]
        : []
      : all.filter(({ role, read_only }) => role !== "viewer" && !read_only);
    return askPlace(count === 1 ? "Move the image" : `Move ${count} images`, this.collections, libraries);
  }

  /** Those that others can lie in. @param {Collection} [inner] that shall lie there */
  #outer(inner) {
    return this.collections.filter((one) => one.parent_id === null && one !== inner);
  }

  async #edit() {
    const { collection } = this;
    if (!collection) return;
    const { collection_id, name, parent_id } = collection;
    const holds = this.collections.some((one) => one.parent_id === collection_id);
    const wanted = await askName("Rename or move the collection", {
      name,
      parent_id,
      parents: holds ? [] : this.#outer(collection),
      hint: holds ? "It has collections inside, so it cannot go into another one." : "",
    });
    if (wanted)
      await this.around.change(() =>
        this.darkroom.updateCollection(collection_id, holds ? { name: wanted.name } : wanted),
      );
  }

  async #remove() {
    const { collection } = this;
    if (!collection) return;
    const text = "The collection and those inside it go; the images stay.";
    if (!(await ask(`Delete “${collection.name}”?`, text, "Delete"))) return;
    await this.around.change(async () => {
      await this.darkroom.deleteCollection(collection.collection_id);
      this.chosen = "all";
    });
    byId("library-title").focus();
  }
}
