/** Small help with the DOM. Nothing here sets HTML from text. */

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties] DOM properties; `aria-…`, `data-…` and `for` as attributes
 * @param {...(Node|string)} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (/^(aria-|data-|for$|role$|list$)/.test(name)) element.setAttribute(name, value);
    else /** @type {any} */ (element)[name] = value;
  }
  element.append(...children);
  return element;
}

/** @param {number} bytes */
export function fileSize(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const [value, unit] = bytes < 1023.5 * 1024 ? [bytes / 1024, "kB"] : [bytes / 1024 ** 2, "MB"];
  return `${value < 99.5 ? Number(value.toPrecision(3)) : Math.round(value)} ${unit}`;
}

/** @param {number} ms */
export const duration = (ms) =>
  ms < 995 ? `${ms < 9.5 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;

/** @param {string} contentType */
export const typeName = (contentType) =>
  ({ "image/webp": "WebP", "image/svg+xml": "SVG" })[contentType] ??
  contentType.replace("image/", "").toUpperCase();

/** Tells people who do not see the page. @param {string} text */
export function announce(text) {
  byId("announce").textContent = text;
}

/** Copies what a field holds. @param {HTMLInputElement} field @returns {Promise<string>} what to say */
export async function copyField(field) {
  field.select();
  const copied = await navigator.clipboard?.writeText(field.value).then(
    () => true,
    () => false,
  );
  return copied ? "Copied." : "It is selected: copy it by the keyboard.";
}

/**
 * A part of a drawing.
 * @param {string} tag of SVG
 * @param {Record<string, string|number>} attributes
 * @param {...(Node|string)} children
 */
export function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}
