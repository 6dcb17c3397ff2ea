/** What to do about a refusal: by its code, and by the plan that its document names. */
/** @import { Problem } from "../darkroom/types.js" */
import { when } from "./dialogs.js";
import { byId, make } from "./dom.js";

/** @param {string} text @param {string} hash of a view */
const link = (text, hash) => make("a", { className: "quiet small anchor", href: hash }, text);

/** @param {string} text @param {string} id of the button that does it */
const press = (text, id) =>
  make("button", { type: "button", className: "quiet small", onclick: () => byId(id).click() }, text);

/**
 * @param {Problem} problem
 * @returns {HTMLElement[]} sentences, and links or buttons
 */
export function remedies({ code, resets_at, plan_required }) {
  const signedIn = !byId("tabs").hidden;
  const found = [];
  if (resets_at) found.push(make("p", { className: "hint" }, `It begins anew ${when(resets_at)}.`));
  if (!signedIn) {
    if (plan_required || code === "sign_in_required") found.push(press("Sign in", "sign-in"));
    return found;
  }
  if (code === "insufficient_credits") found.push(link("Your credits", "#account"));
  if (code === "storage_full") found.push(link("Make room in the library", "#library"));
  if (plan_required) found.push(press("See the plans", "show-plans"));
  return found;
}
