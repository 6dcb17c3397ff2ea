/** Recognises SVG and says how large a drawing is, by its root element alone; nothing of it is interpreted. */
/** @import { Limits } from "./types.js" */
/** @import { Size } from "./dimensions.js" */

export const SVG = "image/svg+xml";
/** Bytes within which the root element has to begin and end. */
export const ROOT_BYTES = 1024 * 1024;

// The root behind declarations, comments and a doctype, whose internal subset may hold brackets of its own.
const PROLOG = /(?:<\?[\s\S]*?\?>|<!--[\s\S]*?-->|<!DOCTYPE[^[>]*(?:\[[\s\S]*?\]\s*)?>|\s)/iy;
const ROOT = /<(?:[\w.-]+:)?svg(?=[\s>/])/iy;
const ATTRIBUTE = /\s+([\w:.-]+)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/y;
const LENGTH = /^\s*\+?(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)\s*(px|pt|pc|mm|cm|in|q|em|rem)?\s*$/i;
/** CSS pixels by unit. @type {Record<string, number>} */
const PIXELS = { px: 1, pt: 4 / 3, pc: 16, mm: 96 / 25.4, cm: 96 / 2.54, in: 96, q: 96 / 101.6, em: 16, rem: 16 };

/** @param {string} text the beginning of the file @returns {number} where the root's attributes begin; -1: no SVG */
function rootAt(text) {
  let at = text.startsWith("\ufeff") ? 1 : 0;
  for (;;) {
    PROLOG.lastIndex = at;
    if (!PROLOG.test(text)) break;
    at = PROLOG.lastIndex;
  }
  ROOT.lastIndex = at;
  return ROOT.test(text) ? ROOT.lastIndex : -1;
}

/** The text of a document in UTF-16 or in a superset of ASCII. @param {DataView} head @returns {string} */
function text(head) {
  const pair = head.byteLength > 1 ? head.getUint16(0) : 0;
  if (pair === 0xfffe || pair === 0x3c00) return new TextDecoder("utf-16le").decode(head);
  if (pair === 0xfeff || pair === 0x003c) return new TextDecoder("utf-16be").decode(head);
  return new TextDecoder().decode(head);
}

/** @param {DataView} head @returns {boolean} */
export const looksLikeSvg = (head) => rootAt(text(head)) >= 0;

/**
 * The size that the server gives a drawing: its width and height, else its viewBox, scaled down to the limits.
 * @param {DataView} head ROOT_BYTES of the file
 * @param {Limits} limits
 * @returns {Size|null} null where the drawing does not say
 */
export function drawingSize(head, { max_side, max_pixels = Infinity }) {
  const natural = naturalSize(attributes(text(head)));
  if (!natural) return null;
  const { width, height } = natural;
  const scale = Math.min(1, max_side / Math.max(width, height), Math.sqrt(max_pixels / (width * height)));
  const pixels = (/** @type {number} */ length) => Math.max(1, Math.round(length * scale));
  return { width: pixels(width), height: pixels(height) };
}

/** @param {string} text @returns {Record<string, string>} of the root element */
function attributes(text) {
  /** @type {Record<string, string>} */
  const found = {};
  ATTRIBUTE.lastIndex = rootAt(text);
  for (let match = ATTRIBUTE.exec(text); match; match = ATTRIBUTE.exec(text))
    found[match[1]] = match[2] ?? match[3];
  return found;
}

/** @param {Record<string, string>} root @returns {Size|null} */
function naturalSize(root) {
  const width = inPixels(root.width);
  const height = inPixels(root.height);
  if (width && height) return { width, height };
  const box = (root.viewBox ?? "").trim().split(/[\s,]+/).map(Number);
  const [across, down] = [usable(box[2]), usable(box[3])];
  if (box.length !== 4 || !across || !down) return null;
  if (width) return { width, height: (width * down) / across };
  if (height) return { width: (height * across) / down, height };
  return { width: across, height: down };
}

/** @param {string|undefined} text @returns {number|null} null for what is absent or relative to a page */
function inPixels(text) {
  const found = LENGTH.exec(text ?? "");
  return found && usable(Number(found[1]) * PIXELS[(found[2] ?? "px").toLowerCase()]);
}

/** @param {number} length @returns {number|null} */
const usable = (length) => (length > 1e-6 && length < 1e9 ? length : null);
