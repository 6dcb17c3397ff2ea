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
 * Asks for a collection.
 * @param {string} title
 * @param {Collection[]} collections
 * @returns {Promise<string|null|undefined>} its id; null: in none; undefined: never mind
 */
export async function askPlace(title, collections) {
  byId("placing-title").textContent = title;
  byId("placing-place").replaceChildren(
    ...inOrder(collections).map(({ collection, path }) =>
      make("option", { value: collection.collection_id }, path),
    ),
    make("option", { value: "" }, "No collection"),
  );
  if (!(await answered(byId("placing")))) return undefined;
  return byId("placing-place").value || null;
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
