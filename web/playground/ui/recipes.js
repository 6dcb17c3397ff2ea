/** Orders that many give, by a name. */
/** @import { Operation } from "../darkroom/types.js" */
import { parseOpKey } from "../darkroom.js";
import { make } from "./dom.js";

/** @type {[label: string, op_key: string, title: string][]} */
const RECIPES = [
  ["Cut out", "bgremove-v2", "The subject alone, with everything around it transparent"],
  ["White background", "bgremove-v2+shadow-v2+flatten-v1", "On white, with the shadow that it throws on the floor"],
  ["Studio", "compose-v2", "On seamless paper, with soft light and shadow"],
  ["Scene", "compose-v2:aspect-4x5:light-window:scene-wood", "On a wooden floor in the light of a window, 4:5"],
  ["Blurred background", "blurbg-v1", "What is behind the subject out of focus"],
  ["Square crop", "smartcrop-v1:aspect-1x1", "The largest square with the subject in it"],
  ["Square canvas", "trim-v1+pad-v1:aspect-1x1:margin-8", "Plain borders cut off, then centred on a white square"],
  ["Enhance", "enhance-v1", "Moderate correction of tones, colour cast and sharpness"],
  ["Upscale", "upscale-v2", "Twice as wide and high, with detail that a model draws"],
  ["Web size", "resize-v1:width-1024", "At most 1024 pixels wide"],
  ["Under 100 kB", "compress-v1:max-100", "The best quality that fits in 100 kB"],
];

/**
 * Buttons for those that this deployment can do; each has its op_key as data-key.
 * @param {Operation[]} operations
 * @returns {HTMLElement[]}
 */
export function chips(operations) {
  const known = new Set(operations.map(({ key }) => key));
  return RECIPES.filter(([, key]) => parseOpKey(key).every((step) => known.has(step.key))).map(
    ([label, key, title]) => make("button", { type: "button", className: "chip", "data-key": key, title }, label),
  );
}
