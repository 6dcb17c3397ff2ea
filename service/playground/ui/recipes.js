/** Orders that many give, by a name. */
/** @import { Operation } from "../darkroom/types.js" */
import { parseOpKey } from "../darkroom.js";

const RECIPES = [
  ["Cut out", "bgremove-v2"],
  ["White background", "bgremove-v2+flatten-v1+shadow-v1:kind-contact"],
  ["Studio", "compose-v1:color-f1e7da"],
  ["Web size", "resize-v1:width-1024"],
  ["Square", "crop-v1:aspect-1x1"],
  ["Enhance", "enhance-v1"],
  ["Under 100 kB", "compress-v1:max-100"],
];

/** Those that this deployment can do. @param {Operation[]} operations @returns {string[][]} name and op_key */
export function recipes(operations) {
  const known = new Set(operations.map(({ key }) => key));
  return RECIPES.filter(([, key]) => parseOpKey(key).every((step) => known.has(step.key)));
}
