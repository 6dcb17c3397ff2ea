/** Sign-up, sign-in and the user's own list, by supabase-js alone: Darkroom's API is not asked for any of it. */
/** @import { Darkroom } from "../darkroom.js" */
import { byId, fileSize, make } from "./dom.js";

const LIST_LENGTH = 24;
const THUMB_SECONDS = 600;
const FULL_SECONDS = 60;

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

/**
 * Wires the header's buttons and the dialog.
 * @param {any} client
 * @param {(signedIn: boolean) => void} onChange
 */
export function wireAccount(client, onChange) {
  const dialog = byId("account");
  byId("sign-in").addEventListener("click", () => {
    byId("account-error").textContent = "";
    dialog.showModal();
  });
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
      dialog.close();
      byId("password").value = "";
    }
  });
  client.auth.onAuthStateChange((/** @type {string} */ event, /** @type {any} */ session) => {
    byId("sign-in").hidden = Boolean(session);
    byId("sign-out").hidden = byId("who").hidden = !session;
    byId("who").textContent = session?.user.email ?? "";
    // supabase-js holds a lock while it calls this: what asks it again has to wait for the next turn.
    if (event !== "TOKEN_REFRESHED") setTimeout(() => onChange(Boolean(session)));
  });
}

let latest = 0; // of several lists asked for, only the last is drawn: never one of a user who has signed out

/** Nobody's images. */
export function clearImages() {
  latest += 1;
  byId("images").replaceChildren();
}

/** Draws the signed-in user's newest results. @param {any} client @param {Darkroom} darkroom */
export async function showImages(client, darkroom) {
  const own = ++latest;
  const { data, error } = await client
    .from("image_outputs")
    .select(
      "id, job_id, bucket, path, thumb_path, op_key, content_type, width, height, size, expires_at, images(filename)",
    )
    .order("created_at", { ascending: false })
    .limit(LIST_LENGTH);
  const thumbs = await signThumbs(client, darkroom, data ?? []);
  if (own !== latest) return;
  byId("library-hint").textContent = error
    ? `Supabase answered: ${error.message}`
    : data.length
      ? "Read from Supabase directly: row level security shows you your own."
      : "Nothing yet. What you process while signed in appears here.";
  byId("images").replaceChildren(
    ...(data ?? []).map((/** @type {any} */ row) => card(client, row, thumbs.get(row.id))),
  );
}

/**
 * @param {any} client
 * @param {Darkroom} darkroom
 * @param {any[]} rows
 * @returns {Promise<Map<string, string>>} URL by output id
 */
async function signThumbs(client, darkroom, rows) {
  const found = new Map();
  for (const bucket of new Set(rows.map((row) => row.bucket))) {
    const own = rows.filter((row) => row.bucket === bucket);
    const { data } = await client.storage.from(bucket).createSignedUrls(
      own.map((row) => row.thumb_path),
      THUMB_SECONDS,
    );
    own.forEach((row, index) => {
      if (data?.[index]?.signedUrl) found.set(row.id, data[index].signedUrl);
    });
  }
  // A project whose storage policies say no: Darkroom signs what it shows, too.
  await Promise.all(
    rows
      .filter((row) => row.job_id && !found.has(row.id))
      .map(async (row) => {
        const job = await darkroom.job(row.job_id).catch(() => null);
        if (job?.thumbnail_url) found.set(row.id, job.thumbnail_url);
      }),
  );
  return found;
}

/** @param {any} client @param {any} row @param {string|undefined} thumb */
function card(client, row, thumb) {
  const name = row.images?.filename ?? "picture";
  const open = async () => {
    const tab = window.open("about:blank"); // at once, or the browser takes it for an advertisement
    const { data } = await client.storage.from(row.bucket).createSignedUrl(row.path, FULL_SECONDS);
    if (data && tab) tab.location.href = data.signedUrl;
    else tab?.close();
  };
  return make(
    "li",
    {},
    make(
      "button",
      { type: "button", onclick: open, title: `${name}\n${row.op_key}` },
      make(
        "span",
        { className: "sheet" },
        thumb ? make("img", { src: thumb, alt: `${name}, ${row.op_key}`, loading: "lazy" }) : "",
      ),
      make("span", { className: "name" }, name),
      make("code", {}, row.op_key),
      make("span", { className: "hint" }, `${row.width} × ${row.height}, ${fileSize(row.size)}`),
    ),
  );
}
