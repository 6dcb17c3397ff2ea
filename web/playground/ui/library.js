/** The library: a grid of the user's images that grows as it is scrolled, with its filters and places. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { LibraryImage, Operation } from "../darkroom/types.js" */
/** @import { Teams } from "./teams/teams.js" */
import { card, skeletons } from "./cards.js";
import { explain } from "./dialogs.js";
import { byId, make } from "./dom.js";
import { ImageView } from "./image.js";
import { Selection } from "./selection.js";
import { Places } from "./places.js";

const TYPING_MS = 250;
const DAY_MS = 86_400_000;

/** @typedef {{title: string, text: string, action?: {label: string, act: () => void}}} Emptiness  why nothing is listed */

export class Library {
  /** @param {Darkroom} darkroom @param {Teams} teams */
  constructor(darkroom, teams) {
    this.darkroom = darkroom;
    this.teams = teams;
    /** @type {string|null} */
    this.userId = null;
    /** @type {Operation[]} */
    this.operations = [];
    /** @type {LibraryImage[]} in the grid */
    this.images = [];
    /** @type {string|null} of the next page */
    this.cursor = null;
    this.asked = 0; // of several lists asked for, only the last is drawn: never one of a user who has signed out
    this.loading = false;
    const change = (/** @type {() => Promise<unknown>} */ work) => this.#change(work);
    this.places = new Places(darkroom, { onChoose: () => this.#turnTo(), change, teams });
    this.selection = new Selection(darkroom, {
      change,
      askPlace: (count) => this.places.askPlace(count),
      teamId: () => teams.chosen,
      archived: () => this.places.chosen === "archive",
    });
    this.view = new ImageView(darkroom, {
      collections: () => this.places.collections,
      newCollection: () => this.places.create(),
      onChange: () => this.refresh(),
    });
    this.#wire();
  }

  #wire() {
    this.teams.addEventListener("choose", () => {
      this.places.show([]);
      void this.places.choose("all");
    });
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

  /** @param {Operation[]} operations */
  offer(operations) {
    this.operations = operations;
    byId("made-by").replaceChildren(
      make("option", { value: "" }, "Any operation"),
      ...operations.map(({ name, title }) => make("option", { value: name }, title)),
    );
    this.view.offer(operations);
  }

  /** Whose images are shown; null: nobody's. @param {string|null} userId */
  open(userId) {
    this.userId = userId;
    this.asked += 1;
    this.selection.end();
    this.places.chosen = "all";
    this.places.show([]);
    this.#list([], null);
    byId("filters").reset();
    byId("library-empty").hidden = true;
    byId("plan").textContent = byId("library-hint").textContent = byId("library-problem").textContent = "";
    for (const dialog of document.querySelectorAll("dialog[open]")) {
      if (userId === null && dialog.id !== "data") /** @type {HTMLDialogElement} */ (dialog).close();
    }
    if (userId === null) return;
    byId("images").replaceChildren(...skeletons(8));
    void this.refresh();
  }

  /** The filter as the form has it. */
  get filter() {
    const { collection, chosen } = this.places;
    const days = Number(byId("made-when").value);
    return {
      q: byId("q").value.trim(),
      op: byId("made-by").value,
      created_after: days ? new Date(Date.now() - days * DAY_MS).toISOString() : undefined,
      archived: /** @type {"true"|"false"} */ (String(chosen === "archive")),
      collection_id: collection?.collection_id,
      team_id: this.teams.chosen ?? undefined,
    };
  }

  /** Another place: what was there before goes at once. */
  async #turnTo() {
    this.selection.end();
    byId("library-empty").hidden = true;
    byId("images").replaceChildren(...skeletons(4));
    await this.refresh();
  }

  /** The first page again, and all around it. */
  async refresh() {
    if (this.userId === null) return;
    const own = ++this.asked;
    const kept = document.activeElement?.closest("#images li")?.getAttribute("data-id");
    byId("library").setAttribute("aria-busy", "true");
    try {
      const [page, collections, me] = await Promise.all([
        this.darkroom.images(this.filter),
        this.darkroom.collections(this.teams.chosen),
        this.darkroom.me(),
      ]);
      if (own !== this.asked) return;
      byId("plan").textContent = [
        `${me.plan.name} plan, ${me.credits.toLocaleString()} credits.`,
        ...(me.plan.watermark ? ["Previews with a watermark."] : []),
        ...(me.library.read_only ? ["Read-only: more is stored than the plan allows."] : []),
        ...(me.plan.persistent ? [] : ["Results are kept for a while only; each says how long."]),
      ].join(" ");
      byId("library-problem").textContent = "";
      this.places.show(collections);
      this.#list(page.images, page.next_cursor);
      if (kept) byId("images").querySelector(`[data-id="${kept}"] button`)?.focus();
    } catch (error) {
      if (own !== this.asked) return;
      byId("images").querySelectorAll(".skeleton").forEach((/** @type {Element} */ one) => one.remove());
      byId("library-problem").textContent = explain(error);
    } finally {
      if (own === this.asked) byId("library").removeAttribute("aria-busy");
    }
  }

  /** @param {LibraryImage[]} images @param {string|null} cursor of the next page */
  #list(images, cursor) {
    this.images = images;
    byId("images").replaceChildren(...images.map((image) => this.#card(image)));
    this.#turn(cursor);
  }

  /** @param {LibraryImage} image */
  #card(image) {
    return card(image, {
      darkroom: this.darkroom,
      operations: this.operations,
      open: () => this.view.open(image.image_id),
      pick: (event) => this.selection.pick(image.image_id, event),
    });
  }

  async #more() {
    if (this.loading || this.cursor === null || this.userId === null) return;
    const own = this.asked;
    this.loading = true;
    try {
      const page = await this.darkroom.images({ ...this.filter, cursor: this.cursor });
      if (own !== this.asked) return;
      this.images.push(...page.images);
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
    const { length } = this.images;
    this.cursor = cursor;
    more.hidden = cursor === null;
    this.horizon?.unobserve(more);
    if (cursor !== null) this.horizon?.observe(more); // tells at once if it is still in sight
    this.selection.show(this.images);
    byId("library-empty").hidden = length > 0;
    const { title, text, action } = this.#emptiness;
    byId("library-hint").textContent =
      length === 0 ? title : `${length}${cursor ? " and more" : length === 1 ? " image" : " images"}`;
    byId("void-title").textContent = title;
    byId("void-text").textContent = text;
    byId("void-action").hidden = !action;
    byId("void-action").textContent = action?.label ?? "";
    byId("void-action").onclick = action?.act ?? null;
  }

  /** Why there is nothing, and what to do. @returns {Emptiness} */
  get #emptiness() {
    const { q, op, created_after } = this.filter;
    const clear = () => {
      byId("filters").reset();
      byId("q").focus();
      void this.refresh();
    };
    if (q || op || created_after)
      return {
        title: "Nothing matches",
        text: "Search looks for words of filenames and prompts.",
        action: { label: "Clear the filters", act: clear },
      };
    if (this.places.chosen === "archive")
      return { title: "The archive is empty", text: "Archived images leave the lists and keep their bytes." };
    if (this.places.collection)
      return {
        title: "Nothing in this collection",
        text: "Select images and move them here, or tick it in an image’s own view.",
        action: { label: "Show all images", act: () => void this.places.choose("all") },
      };
    if (!this.teams.writable) return { title: "Nothing yet", text: "What the editors of this team keep appears here." };
    const develop = () => {
      location.hash = "#develop";
    };
    return {
      title: "Nothing yet",
      text: this.teams.team
        ? "Move images here from your own library, or tick “Keep it” when you develop one."
        : "What you develop while signed in appears here.",
      action: { label: "Develop a picture", act: develop },
    };
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
