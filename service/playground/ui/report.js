/** What the steps of a chain say of their results: warnings plainly, how each step went in the details. */
/** @import { StepReport } from "../darkroom/types.js" */
import { make } from "./dom.js";

/**
 * @param {HTMLElement} place whose content is replaced
 * @param {{report?: StepReport[]}|null|undefined} output
 */
export function showReport(place, output) {
  const report = output?.report ?? [];
  const warnings = [...new Set(report.flatMap((step) => step.warnings))];
  place.hidden = report.length === 0;
  place.replaceChildren(
    ...(warnings.length
      ? [
          make(
            "ul",
            { className: "warnings", "aria-label": "Warnings" },
            ...warnings.map((text) => make("li", {}, text)),
          ),
        ]
      : []),
    ...(report.length
      ? [
          make(
            "details",
            {},
            make("summary", {}, "How it was made"),
            make("ul", {}, ...report.map((step) => make("li", {}, told(step)))),
          ),
        ]
      : []),
  );
}

/** @param {StepReport} step */
const told = ({ op, method, confidence }) =>
  `${op}: ${method}${confidence === null ? "" : `, ${Math.round(confidence * 100)} % sure`}`;
