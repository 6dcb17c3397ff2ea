/** Small questions in dialogs, and what went wrong in words. */
/** @import { Collection } from "../darkroom/types.js" */
import { DarkroomError } from "../darkroom.js";
import { byId, make } from "./dom.js";

/** @param {unknown} error @returns {string} a sentence for a person */
export function explain(error) {
  if (!(error instanceof DarkroomError)) {
    console.error(error);
    return String(error);
  }
  const { title, errors } = error.problem;
  const details = errors?.length ? errors.map(({ msg }) => msg).join("; ") : error.detail;
  return `${title.charAt(0).toUpperCase()}${title.slice(1)}. ${details}`;
}

/** Gives each dialog that wants one its button to close it. */
export function wireDialogs() {
  for (const dialog of document.querySelectorAll("dialog[data-closable]"))
    dialog.prepend(byId("close").content.cloneNode(true));
}

/** @param {any} dialog @returns {Promise<boolean>} whether it was closed by its button */
function answered(dialog) {
  dialog.returnValue = ""; // Escape would leave that of the last time
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** @param {string} title @param {string} text @param {string} action on the button */
export function ask(title, text, action) {
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = action;
  return answered(byId("confirm"));
}

/**
 * Asks for a name and, where there is a choice, for a place.
 * @param {string} title
 * @param {{name: string, parents?: Collection[], parent_id?: string|null, hint?: string}} start
 * @returns {Promise<{name: string, parent_id: string|null}|null>} null: never mind
 */
export async function askName(title, { name, parents = [], parent_id = null, hint = "" }) {
  byId("naming-title").textContent = title;
  byId("naming-name").value = name;
  byId("naming-hint").textContent = hint;
  byId("naming-parent-row").hidden = parents.length === 0;
  byId("naming-parent").replaceChildren(
    make("option", { value: "" }, "No other"),
    ...parents.map((parent) => make("option", { value: parent.collection_id }, parent.name)),
  );
  byId("naming-parent").value = parent_id ?? "";
  if (!(await answered(byId("naming")))) return null;
  return { name: byId("naming-name").value, parent_id: byId("naming-parent").value || null };
}

/**
 * @typedef {object} Place  where images go
 * @property {string|null} [collection_id] null: in no collection
 * @property {string|null} [team_id] to the library of a team; null: to the user's own
 */

/**
 * Asks for a collection, or for another library.
 * @param {string} title
 * @param {Collection[]} collections
 * @param {{team_id: string|null, name: string}[]} libraries
 * @returns {Promise<Place|null>} null: never mind
 */
export async function askPlace(title, collections, libraries) {
  byId("placing-title").textContent = title;
  /** @type {Place[]} */
  const places = [
    ...inOrder(collections).map(({ collection }) => ({ collection_id: collection.collection_id })),
    { collection_id: null },
    ...libraries.map(({ team_id }) => ({ team_id })),
  ];
  const names = [...inOrder(collections).map(({ path }) => path), "No collection", ...libraries.map(({ name }) => name)];
  const option = (/** @type {number} */ index) => make("option", { value: index }, names[index]);
  const first = places.length - libraries.length;
  const options = places.map((_, index) => option(index));
  byId("placing-place").replaceChildren(
    ...(libraries.length
      ? [
          make("optgroup", { label: "Collections" }, ...options.slice(0, first)),
          make("optgroup", { label: "Another library" }, ...options.slice(first)),
        ]
      : options),
  );
  return (await answered(byId("placing"))) ? places[Number(byId("placing-place").value)] : null;
}

/**
 * Collections with nested ones after the one they lie in, and their names with its name.
 * @param {Collection[]} collections
 * @returns {{collection: Collection, outer: Collection|null, path: string}[]}
 */
export function inOrder(collections) {
  return collections
    .filter(({ parent_id }) => parent_id === null)
    .flatMap((outer) => [
      { collection: outer, outer: null, path: outer.name },
      ...collections
        .filter(({ parent_id }) => parent_id === outer.collection_id)
        .map((inner) => ({ collection: inner, outer, path: `${outer.name} / ${inner.name}` })),
    ]);
}

/** @param {string} time ISO 8601 */
export const when = (time) =>
  new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
