/** What the steps of a chain say of their results: one line, and behind it the warnings and how each step went. */
/** @import { StepReport } from "../darkroom/types.js" */
import { make } from "./dom.js";

/** @type {Record<string, string>} by the method of a report */
const METHODS = {
  plain: "by its plain background",
  "plain+model": "by its plain background and the model",
  model: "by the model",
  alpha: "by its transparency",
  saliency: "around what the model sees as the subject",
  gravity: "placed by gravity, for nothing stands out",
  small: "with the fast model",
  large: "with the large model",
  lanczos: "by resampling, without the model",
  none: "left as it was",
};

/**
 * @param {HTMLElement} place whose content is replaced
 * @param {{report?: StepReport[]}|null|undefined} output
 */
export function showReport(place, output) {
  const report = output?.report ?? [];
  const warnings = [...new Set(report.flatMap((step) => step.warnings))];
  place.hidden = report.length === 0;
  const items = (/** @type {string[]} */ texts) => texts.map((text) => make("li", {}, text));
  place.replaceChildren(
    make(
      "details",
      {},
      make("summary", { className: warnings.length ? "warned" : "" }, headline(warnings)),
      warnings.length ? make("ul", { className: "warnings", "aria-label": "Warnings" }, ...items(warnings)) : "",
      make("ul", { className: "hint", "aria-label": "How it was made" }, ...items(report.map(told))),
    ),
  );
}

/** @param {string[]} warnings */
function headline(warnings) {
  if (warnings.length === 0) return "How it was made";
  return warnings.length === 1 ? "Worth a look: a note on this result" : `Worth a look: ${warnings.length} notes on this result`;
}

/** @param {StepReport} step */
function told({ op, method, confidence }) {
  const way = `${op}: ${METHODS[method] ?? method}`;
  if (confidence === null) return way;
  if (op.startsWith("smartcrop")) return `${way}; ${Math.round(confidence * 100)} % of the subject is inside`;
  return `${way}, ${confidence >= 0.9 ? "sure" : confidence >= 0.7 ? "fairly sure" : "not sure"} of the outline`;
}
