/** Sign-up and sign-in, by supabase-js alone: Darkroom's API is not asked for any of it. */
import { byId } from "./dom.js";
import { showProblem } from "./problem.js";

/**
 * @param {{supabase_url: string, publishable_key: string}} config
 * @returns {any} a supabase-js client, or null without the library
 */
export function connect(config) {
  const { supabase } = /** @type {any} */ (globalThis);
  return supabase?.createClient(config.supabase_url, config.publishable_key) ?? null;
}

/** @param {any} client @returns {Promise<string|null>} */
export async function accessToken(client) {
  const { data } = await client.auth.getSession();
  return data.session?.access_token ?? null;
}

export function openSignIn() {
  byId("account-error").textContent = "";
  byId("signing").showModal();
}

/**
 * The account that a local stack has made for its visitors: one click signs in and shows its library.
 * @typedef {{email: string, password: string, command: string}} LocalStack of `/config.json`
 */

/**
 * The command that gives an account of a local stack another plan.
 * @param {LocalStack} local @param {string} email
 */
export const planCommand = (local, email) => `${local.command} admin plan ${email} pro`;

/** @param {any} client @param {LocalStack} local */
export function wireSample(client, local) {
  byId("sample-account").addEventListener("click", async () => {
    const { email, password } = local;
    const { error } = await client.auth.signInWithPassword({ email, password });
    if (error) showProblem(error);
    else location.hash = "#library";
  });
  byId("another-plan").hidden = false;
  byId("another-plan-command").textContent = planCommand(local, "you@example.com");
}

/**
 * Wires the buttons and the dialog.
 * @param {any} client
 * @param {LocalStack|undefined} local
 * @param {(userId: string|null) => void} onChange
 */
export function wireAccount(client, local, onChange) {
  if (local) wireSample(client, local);
  byId("sign-in").addEventListener("click", openSignIn);
  byId("sign-out").addEventListener("click", () => client.auth.signOut());
  byId("credentials").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const credentials = { email: byId("email").value, password: byId("password").value };
    const signUp = /** @type {HTMLButtonElement|null} */ (event.submitter)?.value === "up";
    const { data, error } = await (signUp
      ? client.auth.signUp(credentials)
      : client.auth.signInWithPassword(credentials));
    byId("account-error").textContent =
      error?.message ?? (data.session ? "" : "Almost there: confirm the address by the link in the mail.");
    if (data?.session) {
      byId("signing").close();
      byId("password").value = "";
    }
  });
  client.auth.onAuthStateChange((/** @type {string} */ event, /** @type {any} */ session) => {
    byId("sign-in").hidden = Boolean(session);
    byId("sample-account").hidden = Boolean(session) || !local;
    byId("who").textContent = session?.user.email ?? "";
    // supabase-js holds a lock while it calls this: what asks it again has to wait for the next turn.
    if (event !== "TOKEN_REFRESHED") setTimeout(() => onChange(session?.user.id ?? null));
  });
}
