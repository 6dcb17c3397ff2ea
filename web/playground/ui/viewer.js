/** A picture, another beside it, and the slider between them. */
import { make } from "./dom.js";

const NOT_SHOWN = "This browser cannot show this kind of picture; Darkroom can still process it.";

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

/** One frame of the page. */
export class Viewer {
  /** @param {HTMLElement} frame */
  constructor(frame) {
    this.frame = frame;
    /** @type {HTMLImageElement|null} */
    this.before = null;
    /** @type {HTMLImageElement|null} */
    this.after = null;
    this.labels = ["Original", "Result"];
    this.loads = 0; // of several pictures asked for, only the last is drawn
  }

  /** Shows the chosen picture alone. @param {string} source object URL @param {string} alt */
  async showOriginal(source, alt) {
    const own = ++this.loads;
    const before = await load(source, alt);
    if (own !== this.loads) return;
    this.after = null;
    this.before = before;
    this.draw("slider");
  }

  /**
   * Shows the result beside the original.
   * @param {string} source
   * @param {string} alt
   * @returns {Promise<"slider"|"pair">} the view that suits them
   */
  async showResult(source, alt) {
    const own = ++this.loads;
    const after = await load(source, alt);
    if (!after) throw new Error("The result could not be shown.");
    if (own === this.loads) this.after = after;
    return this.#suit();
  }

  /**
   * Shows one picture, beside another where there is one.
   * @param {{source: string, alt: string, label: string}|null} before
   * @param {{source: string, alt: string, label: string}|null} after
   * @returns {Promise<"slider"|"pair"|null>} the view that suits them; null when others were asked for meanwhile
   */
  async show(before, after) {
    const own = ++this.loads;
    const pictures = await Promise.all([before, after].map((one) => one && load(one.source, one.alt)));
    if (own !== this.loads) return null;
    [this.before, this.after] = pictures;
    this.labels = [before?.label ?? "Original", after?.label ?? "Result"];
    return this.#suit();
  }

  #suit() {
    const { before, after } = this;
    const apart = before && after && Math.abs(ratio(before) / ratio(after) - 1) > 0.02;
    const view = apart ? "pair" : "slider";
    this.draw(view);
    return view;
  }

  /** @param {"slider"|"pair"} view */
  draw(view) {
    const { frame, before, after } = this;
    frame.dataset.state = after ? "result" : "original";
    if (!before && !after) frame.replaceChildren(make("p", { className: "empty" }, NOT_SHOWN));
    else if (!before || !after)
      frame.replaceChildren(sheet(/** @type {HTMLImageElement} */ (after ?? before)));
    else if (view === "pair")
      frame.replaceChildren(
        make(
          "div",
          { className: "pair" },
          labelled(before, this.labels[0]),
          labelled(after, this.labels[1]),
        ),
      );
    else frame.replaceChildren(slider(before, after, this.labels));
  }
}

/** @param {HTMLImageElement} image */
const ratio = (image) => image.naturalWidth / image.naturalHeight;

/** @param {HTMLImageElement} image @returns {HTMLElement} checked paper, as large as fits */
function sheet(image) {
  const paper = make("div", { className: "sheet" }, image);
  paper.style.setProperty("--ratio", String(ratio(image)));
  return paper;
}

/** @param {HTMLImageElement} image @param {string} caption */
const labelled = (image, caption) => make("figure", {}, sheet(image), make("figcaption", {}, caption));

/** @param {HTMLImageElement} before @param {HTMLImageElement} after @param {string[]} labels */
function slider(before, after, [left, right]) {
  const paper = sheet(after);
  paper.classList.add("slider");
  const range = make("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 0.5,
    value: 50,
    "aria-label": `How much of ${left === "Original" ? "the original" : left} is shown, in per cent`,
  });
  const move = () => paper.style.setProperty("--split", `${range.value}%`);
  range.addEventListener("input", move);
  move();
  before.className = "before";
  after.className = "after";
  paper.append(
    before,
    make("span", { className: "tag left", "aria-hidden": "true" }, left),
    make("span", { className: "tag right", "aria-hidden": "true" }, right),
    make("span", { className: "handle", "aria-hidden": "true" }),
    range,
  );
  return paper;
}
