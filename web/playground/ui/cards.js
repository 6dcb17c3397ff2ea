/** The images of the grid: a picture, what it is, and a box to select it by. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { LibraryImage, Operation } from "../darkroom/types.js" */
import { parseOpKey } from "../darkroom.js";
import { make } from "./dom.js";

const DAY_MS = 86_400_000;

/**
 * What was done, in words: "Remove background, Shadow".
 * @param {string} opKey
 * @param {Operation[]} operations
 */
export const inWords = (opKey, operations) =>
  parseOpKey(opKey)
    .map(({ key }) => operations.find((operation) => operation.key === key)?.title ?? key)
    .join(", ");

/** @param {string} time ISO 8601, of the end @returns {string} e.g. "2 days left" */
export function timeLeft(time) {
  const left = new Date(time).getTime() - Date.now();
  if (left >= 2 * DAY_MS) return `${Math.floor(left / DAY_MS)} days left`;
  const hours = Math.floor(left / 3_600_000);
  return hours >= 2 ? `${hours} hours left` : `${Math.max(1, Math.round(left / 60_000))} min left`;
}

/**
 * @param {LibraryImage} image
 * @param {{darkroom: Darkroom, operations: Operation[], open: () => void, pick: (event: MouseEvent) => void}} how
 * @returns {HTMLLIElement}
 */
export function card(image, { darkroom, operations, open, pick }) {
  const { image_id, filename, current, thumbnail_url, versions } = image;
  const facts = current ? inWords(current.op_key, operations) : "No version is left";
  const left = current?.expires_at ? timeLeft(current.expires_at) : null;
  return make(
    "li",
    { "data-id": image_id },
    make(
      "button",
      { type: "button", onclick: open, title: filename, "aria-haspopup": "dialog" },
      make(
        "span",
        { className: "sheet" },
        thumbnail_url ? thumb(image, darkroom) : "",
        versions > 1 ? make("span", { className: "count" }, `${versions} versions`) : "",
        left ? make("span", { className: "left-over" }, left) : "",
      ),
      make("span", { className: "name" }, filename),
      make("span", { className: "hint" }, facts),
    ),
    make(
      "label",
      { className: "pick writes" },
      make("input", { type: "checkbox", "aria-label": `Select ${filename}`, onclick: pick }),
    ),
  );
}

/** Where images will be, while they are asked for. @param {number} count */
export const skeletons = (count) =>
  Array.from({ length: count }, () =>
    make(
      "li",
      { className: "skeleton", "aria-hidden": "true" },
      make("span", { className: "sheet" }),
      make("span"),
      make("span"),
    ),
  );

/** @param {LibraryImage} image @param {Darkroom} darkroom */
function thumb({ image_id, thumbnail_url }, darkroom) {
  const picture = make("img", { loading: "lazy", alt: "", src: thumbnail_url });
  picture.addEventListener(
    "error",
    async () => {
      // The page has been open for longer than the URL lives.
      const fresh = await darkroom.image(image_id).catch(() => null);
      if (fresh?.thumbnail_url) picture.src = fresh.thumbnail_url;
    },
    { once: true },
  );
  return picture;
}
