/** Several images at once: moved, archived, deleted. What can be undone can be undone. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { BulkRequest, LibraryImage } from "../darkroom/types.js" */
/** @import { Place } from "./dialogs.js" */
import { ask } from "./dialogs.js";
import { byId } from "./dom.js";
import { toast } from "./toast.js";

const MOST = 100; // images that the API takes at once

/**
 * @typedef {object} Around
 * @property {(work: () => Promise<unknown>) => Promise<void>} change  does it, then shows what there is
 * @property {(count: number) => Promise<Place|null>} askPlace
 * @property {() => string|null} teamId  of the team whose library is shown
 * @property {() => boolean} archived  whether the archive is shown
 */

/** @param {number} count */
const images = (count) => (count === 1 ? "One image" : `${count} images`);

export class Selection {
  /** @param {Darkroom} darkroom @param {Around} around */
  constructor(darkroom, around) {
    this.darkroom = darkroom;
    this.around = around;
    this.on = false;
    /** @type {Map<string, LibraryImage>} as they were when they were selected */
    this.chosen = new Map();
    /** @type {Map<string, LibraryImage>} in the order of the grid */
    this.shown = new Map();
    /** @type {string|null} where a range begins */
    this.anchor = null;
    byId("select").addEventListener("click", () => (this.on ? this.end() : this.#begin()));
    byId("select-none").addEventListener("click", () => this.end());
    byId("select-all").addEventListener("click", () => this.#set([...this.shown.keys()], true));
    byId("bulk-move").addEventListener("click", () => this.#move());
    byId("bulk-archive").addEventListener("click", () => this.#archive());
    byId("bulk-delete").addEventListener("click", () => this.#delete());
    byId("library").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape" && this.on) this.end();
    });
  }

  #begin() {
    this.on = true;
    this.#draw();
    byId("images").querySelector(".pick input")?.focus();
  }

  /** Nothing is selected any more. */
  end() {
    const inside = byId("selection").contains(document.activeElement);
    this.on = false;
    this.anchor = null;
    this.chosen.clear();
    this.#draw();
    if (inside) byId("select").focus();
  }

  /** The grid holds these now. @param {LibraryImage[]} list */
  show(list) {
    this.shown = new Map(list.map((image) => [image.image_id, image]));
    for (const id of this.chosen.keys()) if (!this.shown.has(id)) this.chosen.delete(id);
    if (this.shown.size === 0 && this.on) this.end();
    byId("select").hidden = this.shown.size === 0;
    this.#draw();
  }

  /** @param {string} imageId @param {MouseEvent} event with shift: all from the last one that was picked */
  pick(imageId, event) {
    const { checked } = /** @type {HTMLInputElement} */ (event.target);
    const order = [...this.shown.keys()];
    const from = event.shiftKey && this.anchor ? order.indexOf(this.anchor) : -1;
    const to = order.indexOf(imageId);
    this.anchor = imageId;
    this.on = true;
    this.#set(from < 0 ? [imageId] : order.slice(Math.min(from, to), Math.max(from, to) + 1), checked);
  }

  /** @param {string[]} ids @param {boolean} chosen */
  #set(ids, chosen) {
    for (const id of ids) {
      const image = this.shown.get(id);
      if (chosen && image && this.chosen.size < MOST) this.chosen.set(id, image);
      else this.chosen.delete(id);
    }
    this.#draw();
  }

  #draw() {
    const { size } = this.chosen;
    const most = size === MOST ? ", as many as go at once" : "";
    byId("select").setAttribute("aria-pressed", String(this.on));
    byId("selection").hidden = !this.on;
    byId("selection-count").textContent = size ? `${size} selected${most}` : "Select images";
    byId("bulk-archive").textContent = this.around.archived() ? "Take out of the archive" : "Archive";
    for (const id of ["bulk-move", "bulk-archive", "bulk-delete"]) byId(id).disabled = size === 0;
    byId("images").toggleAttribute("data-selecting", this.on);
    for (const item of byId("images").querySelectorAll("li[data-id]")) {
      const chosen = this.chosen.has(item.dataset.id);
      item.toggleAttribute("data-chosen", chosen);
      item.querySelector(".pick input").checked = chosen;
    }
  }

  /**
   * Does it; images that somebody else has deleted meanwhile are left out.
   * @param {() => Promise<{image_id: string, done: boolean}[]>} work
   * @param {(done: number) => string} said
   * @param {(ids: string[]) => Promise<unknown>} [undo]
   */
  #do(work, said, undo) {
    return this.around.change(async () => {
      const done = (await work()).filter((result) => result.done).map(({ image_id }) => image_id);
      this.end();
      byId("library-title").focus({ preventScroll: true });
      toast(
        said(done.length),
        undo && done.length ? { label: "Undo", act: () => this.around.change(() => undo(done)) } : undefined,
      );
    });
  }

  /**
   * @param {BulkRequest} request
   * @param {(done: number) => string} said
   * @param {(ids: string[]) => Promise<unknown>} [undo]
   */
  #change(request, said, undo) {
    return this.#do(async () => (await this.darkroom.changeImages(request)).results, said, undo);
  }

  async #archive() {
    const archived = this.around.archived();
    const action = archived ? "unarchive" : "archive";
    const back = archived ? "archive" : "unarchive";
    await this.#change(
      { action, image_ids: [...this.chosen.keys()] },
      (done) => `${images(done)} ${archived ? "taken out of the archive" : "archived"}.`,
      (ids) => this.darkroom.changeImages({ action: back, image_ids: ids }),
    );
  }

  async #move() {
    const place = await this.around.askPlace(this.chosen.size);
    if (place === null) return;
    const before = new Map(this.chosen);
    const image_ids = [...before.keys()];
    const said = (/** @type {number} */ done) => `${images(done)} moved.`;
    const { team_id, collection_id = null } = place;
    if (team_id !== undefined) {
      const from = this.around.teamId() ?? "";
      const work = () =>
        team_id === null ? this.darkroom.takeImages(from, image_ids) : this.darkroom.giveImages(team_id, image_ids);
      await this.#do(work, said);
      return;
    }
    await this.#change({ action: "move", image_ids, collection_id }, said, (ids) =>
      this.#putBack(ids.flatMap((id) => before.get(id) ?? [])),
    );
  }

  /** Into the collections that they were in, each perhaps in many. @param {LibraryImage[]} list */
  async #putBack(list) {
    const places = Map.groupBy(list, ({ collection_ids }) => collection_ids[0] ?? null);
    for (const [collection_id, group] of places)
      await this.darkroom.changeImages({
        action: "move",
        image_ids: group.map(({ image_id }) => image_id),
        collection_id,
      });
    await Promise.all(
      list.flatMap(({ image_id, collection_ids }) =>
        collection_ids.slice(1).map((id) => this.darkroom.addToCollection(id, image_id)),
      ),
    );
  }

  async #delete() {
    const { size } = this.chosen;
    const text = "Originals and every version go for good, and their links end. This cannot be undone.";
    if (!(await ask(size === 1 ? "Delete the image?" : `Delete ${size} images?`, text, "Delete"))) return;
    await this.#change(
      { action: "delete", image_ids: [...this.chosen.keys()] },
      (done) => `${images(done)} deleted.`,
    );
  }
}
