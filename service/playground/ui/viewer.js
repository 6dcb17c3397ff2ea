/** The original, the result, and the slider between them. */
import { byId, make } from "./dom.js";

/** @type {{before: HTMLImageElement|null, after: HTMLImageElement|null}} */
const shown = { before: null, after: null };

/**
 * @param {string} source
 * @param {string} alt
 * @returns {Promise<HTMLImageElement|null>} null when it cannot be shown
 */
async function load(source, alt) {
  const image = make("img", { src: source, alt, draggable: false });
  return image.decode().then(
    () => image,
    () => null,
  );
}

/** Shows the chosen picture alone. @param {string} source object URL @param {string} alt */
export async function showOriginal(source, alt) {
  shown.after = null;
  shown.before = await load(source, alt);
  draw("slider");
}

/**
 * Shows the result beside the original.
 * @param {string} source
 * @param {string} alt
 * @returns {Promise<"slider"|"pair">} the view that suits them
 */
export async function showResult(source, alt) {
  shown.after = await load(source, alt);
  if (!shown.after) throw new Error("The result could not be shown.");
  const view =
    shown.before && Math.abs(ratio(shown.before) / ratio(shown.after) - 1) > 0.02 ? "pair" : "slider";
  draw(view);
  return view;
}

/** @param {HTMLImageElement} image */
const ratio = (image) => image.naturalWidth / image.naturalHeight;

/** @param {"slider"|"pair"} view */
export function draw(view) {
  const frame = byId("frame");
  const { before, after } = shown;
  frame.dataset.state = after ? "result" : "original";
  if (!before && !after)
    frame.replaceChildren(
      make(
        "p",
        { className: "empty" },
        "This browser cannot show this kind of picture; Darkroom can still process it.",
      ),
    );
  else if (!before || !after) frame.replaceChildren(sheet(/** @type {HTMLImageElement} */ (after ?? before)));
  else if (view === "pair")
    frame.replaceChildren(
      make("div", { className: "pair" }, labelled(before, "Original"), labelled(after, "Result")),
    );
  else frame.replaceChildren(slider(before, after));
}

/** @param {HTMLImageElement} image @returns {HTMLElement} checked paper, as large as fits */
function sheet(image) {
  const paper = make("div", { className: "sheet" }, image);
  paper.style.setProperty("--ratio", String(ratio(image)));
  return paper;
}

/** @param {HTMLImageElement} image @param {string} caption */
const labelled = (image, caption) => make("figure", {}, sheet(image), make("figcaption", {}, caption));

/** @param {HTMLImageElement} before @param {HTMLImageElement} after */
function slider(before, after) {
  const paper = sheet(after);
  paper.classList.add("slider");
  const range = make("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 0.5,
    value: 50,
    "aria-label": "How much of the original is shown, in per cent",
  });
  const move = () => paper.style.setProperty("--split", `${range.value}%`);
  range.addEventListener("input", move);
  move();
  before.className = "before";
  after.className = "after";
  paper.append(
    before,
    make("span", { className: "tag left", "aria-hidden": "true" }, "Original"),
    make("span", { className: "tag right", "aria-hidden": "true" }, "Result"),
    make("span", { className: "handle", "aria-hidden": "true" }),
    range,
  );
  return paper;
}
