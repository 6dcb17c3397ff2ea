/** A sentence at the foot of the page about what was just done, with a way back where there is one. */
import { byId, make } from "./dom.js";

const LINGER_MS = 12_000;
let timer = 0;

/**
 * @param {string} text
 * @param {{label: string, act: () => unknown}} [way] e.g. Undo
 */
export function toast(text, way) {
  const box = byId("toast");
  const parts = [make("p", {}, text)];
  if (way)
    parts.push(
      make(
        "button",
        {
          type: "button",
          className: "quiet small",
          onclick: () => {
            hide();
            way.act();
          },
        },
        way.label,
      ),
    );
  parts.push(
    make("button", { type: "button", className: "quiet icon", "aria-label": "Dismiss", onclick: hide }, "×"),
  );
  box.replaceChildren(...parts);
  // It stays while somebody points at it or has the focus in it.
  box.onpointerenter = box.onfocusin = () => clearTimeout(timer);
  box.onpointerleave = box.onfocusout = linger;
  linger();
}

function linger() {
  clearTimeout(timer);
  timer = window.setTimeout(hide, LINGER_MS);
}

function hide() {
  clearTimeout(timer);
  byId("toast").replaceChildren();
}
