/** Lists, facts and questions, made of elements: no text ever becomes HTML. */
import { Refusal } from "./api.js";
import { announce, byId, make } from "./shared.js";

/** @typedef {Node|string|number|boolean|null|undefined} Content */

/** @param {Content} value @returns {Node|string} */
const content = (value) => (value instanceof Node ? value : value === null || value === undefined ? "" : String(value));

/** @param {unknown} error */
export const explain = (error) => {
  if (!(error instanceof Refusal)) console.error(error);
  return error instanceof Error ? error.message : String(error);
};

/** A moment as people read it; the exact one is its title. @param {string|null} time ISO 8601 */
export function when(time) {
  if (!time) return "";
  const text = new Date(time).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
  return make("time", { dateTime: time, title: time }, text);
}

/** @param {number|null} seconds */
export function age(seconds) {
  if (seconds === null) return "none";
  for (const [unit, size] of /** @type {[string, number][]} */ ([["d", 86400], ["h", 3600], ["min", 60]]))
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${Math.max(0, Math.round(seconds))} s`;
}

/** @param {string|null|undefined} name */
export const state = (name) => (name ? make("span", { className: "state", "data-state": name }, name) : "");

/** A short form of an id that leads to it. @param {string} place @param {string|null} id @param {string} [text] */
export const link = (place, id, text) =>
  id ? make("a", { href: `#${place}/${encodeURIComponent(id)}`, title: id, className: text ? "" : "id" }, text || id.slice(0, 8)) : "";

/** @param {string} text @param {() => unknown} onclick @param {string} [kind] */
export const button = (text, onclick, kind = "quiet small") =>
  make("button", { type: "button", className: kind, onclick }, text);

/** @param {string|null} title @param {...Content} children */
export const panel = (title, ...children) =>
  make("section", { className: "panel" }, ...(title ? [make("h2", {}, title)] : []), ...children.map(content));

/** @param {Record<string, Content>} values those without a value are left out */
export function facts(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", { className: "facts" }, ...given.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, content(value))]));
}

/** @param {[string, Content, string?][]} values name, value and whether that is good or bad */
export const tiles = (values) =>
  make("dl", { className: "tiles" }, ...values.map(([name, value, kind]) =>
    make("div", { className: "tile", "data-state": kind }, make("dt", {}, name), make("dd", {}, content(value)))));

/**
 * @template T
 * @param {string} caption
 * @param {T[]} rows
 * @param {Record<string, (row: T) => Content>} columns by heading
 */
export function table(caption, rows, columns) {
  if (!rows.length) return make("p", { className: "hint" }, `${caption}: none.`);
  const names = Object.keys(columns);
  return make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name || make("span", { className: "hidden" }, "Actions"))))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...names.map((name) => {
      const value = columns[name](row);
      return make("td", { "data-label": name, className: typeof value === "number" ? "number" : "" }, content(value));
    })))),
  );
}

/**
 * Fields of a form by name: a text, or a choice where there are options.
 * @typedef {{label: string, options?: (string|[string, string])[], type?: string, value?: string, required?: boolean, hint?: string}} Field
 * @param {string} prefix of ids
 * @param {Record<string, Field>} wanted
 */
function fields(prefix, wanted) {
  return Object.entries(wanted).map(([name, { label, options, type = "text", value = "", required = false, hint }]) => {
    const id = `${prefix}-${name}`;
    const control = options
      ? make("select", { id, name }, ...options.map((option) => {
          const [choice, name] = typeof option === "string" ? [option, option || "any"] : option;
          return make("option", { value: choice, selected: choice === value }, name);
        }))
      : make("input", { id, name, type, value, required, autocomplete: "off", spellcheck: false, placeholder: hint ?? "", step: type === "datetime-local" ? 1 : undefined, min: type === "number" ? 1 : undefined });
    return make("label", { className: "field", for: id }, make("span", {}, label), control);
  });
}

/** @param {HTMLElement} within @returns {Record<string, string>} */
const valuesOf = (within) =>
  Object.fromEntries([...within.querySelectorAll("input[name], select[name]")].map((control) => {
    const { name, value, type } = /** @type {HTMLInputElement} */ (control);
    return [name, type === "datetime-local" && value ? new Date(value).toISOString() : value.trim()];
  }));

/**
 * A list with filters that grows a page at a time.
 * @param {object} options
 * @param {Record<string, Field>} options.filters
 * @param {(values: Record<string, string>, cursor: any) => Promise<{rows: any[], next: any}>} options.load
 * @param {string} options.caption
 * @param {Record<string, (row: any) => Content>} options.columns
 */
export function list({ filters, load, caption, columns }) {
  /** @type {any[]} */
  let rows = [];
  /** @type {any} */
  let next = null;
  let asked = 0;
  const shown = make("div", {});
  const problem = make("p", { className: "error", role: "alert" });
  const more = make("button", { type: "button", className: "quiet small", hidden: true }, "Show more");
  const form = make("form", { className: "filters", role: "search", "aria-label": caption },
    ...fields("filter", filters), make("button", { type: "submit", className: "quiet" }, "Search"));

  /** @param {any} cursor */
  const fetchPage = async (cursor) => {
    const turn = ++asked;
    shown.setAttribute("aria-busy", "true");
    if (!cursor) more.hidden = true; // the list before this one grows no more
    try {
      const page = await load(valuesOf(form), cursor);
      if (turn !== asked) return; // another search has begun meanwhile
      problem.textContent = "";
      rows = cursor ? [...rows, ...page.rows] : page.rows;
      next = page.next;
      shown.replaceChildren(table(caption, rows, columns));
      more.hidden = !next;
    } catch (error) {
      if (turn === asked) problem.textContent = explain(error);
    } finally {
      if (turn === asked) shown.removeAttribute("aria-busy");
    }
  };
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    void fetchPage(null);
  });
  more.addEventListener("click", () => fetchPage(next));
  void fetchPage(null);
  return panel(null, ...(Object.keys(filters).length ? [form] : []), problem, shown, more);
}

/**
 * Asks for a reason, and what else is needed, does it, and says so. What the service refuses is said in the dialog.
 * @param {object} options
 * @param {string} options.title
 * @param {string} [options.text]
 * @param {string} options.action on the button
 * @param {Record<string, Field>} [options.fields]
 * @param {(values: Record<string, string>) => Promise<unknown>} options.run gets the reason among the values
 * @param {string} options.done
 * @returns {Promise<boolean>} whether it was done
 */
export function act({ title, text = "", action, fields: wanted = {}, run, done }) {
  const dialog = byId("act");
  const form = byId("act-form");
  byId("act-title").textContent = title;
  byId("act-text").textContent = text;
  byId("act-go").textContent = action;
  byId("act-error").textContent = "";
  byId("act-reason").value = "";
  byId("act-fields").replaceChildren(...fields("act", wanted));
  dialog.showModal();
  return new Promise((resolve) => {
    let finished = false;
    form.onsubmit = async (/** @type {Event} */ event) => {
      event.preventDefault();
      byId("act-go").disabled = true;
      try {
        await run({ ...valuesOf(byId("act-fields")), reason: byId("act-reason").value.trim() });
        finished = true;
        dialog.close();
        announce(done);
        setTimeout(() => announce(""), 6000);
      } catch (error) {
        byId("act-error").textContent = explain(error);
      } finally {
        byId("act-go").disabled = false;
      }
    };
    byId("act-cancel").onclick = () => dialog.close();
    const closed = () => {
      if (dialog.open) return; // told late, of the time before: it has been opened again since
      dialog.removeEventListener("close", closed);
      resolve(finished);
    };
    dialog.addEventListener("close", closed);
  });
}
