/** The page for operators: signs in, and shows the place that the address names (#users, #jobs/<id>, …). */
import { call, open, Refusal } from "./api.js";
import { showJob, showJobs } from "./jobs.js";
import { showBlocked, showInReview, showRefused } from "./safety.js";
import { announce, byId } from "./shared.js";
import { showAbuse, showAudit, showSystem } from "./system.js";
import { showUser, showUsers } from "./users.js";
import { explain } from "./view.js";

/** @typedef {{mayAct: boolean, again: () => void}} Place */
/** @type {Record<string, {title: string, show: (place: Place) => Promise<Node[]>, one?: (id: string, place: Place) => Promise<Node[]>}>} */
const PLACES = {
  system: { title: "System", show: showSystem },
  users: { title: "Users", show: showUsers, one: showUser },
  jobs: { title: "Jobs", show: showJobs, one: showJob },
  "in-review": { title: "In review", show: showInReview },
  refused: { title: "Refused", show: showRefused },
  blocked: { title: "Blocked", show: showBlocked },
  abuse: { title: "Abuse", show: showAbuse },
  audit: { title: "Audit", show: () => showAudit(), one: (subject) => showAudit(subject) },
};

/** @type {{role: string}|null} */
let me = null;
let turns = 0;

async function show() {
  const turn = ++turns;
  const [name, id] = location.hash.slice(1).split("/");
  const place = PLACES[name] ?? PLACES.system;
  for (const link of document.querySelectorAll("#places a")) {
    if (link.getAttribute("href") === `#${PLACES[name] ? name : "system"}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("title").textContent = place.title;
  document.title = `${place.title} · Darkroom admin`;
  byId("problem").textContent = "";
  byId("content").replaceChildren();
  byId("content").setAttribute("aria-busy", "true");
  const here = { mayAct: me?.role === "admin", again: () => void show() };
  try {
    const nodes = await (id && place.one ? place.one(decodeURIComponent(id), here) : place.show(here));
    if (turn === turns) byId("content").replaceChildren(...nodes);
  } catch (error) {
    if (turn === turns) byId("problem").textContent = explain(error);
  } finally {
    if (turn === turns) byId("content").removeAttribute("aria-busy");
  }
}

/** @param {any} client @param {any} session */
async function enter(client, session) {
  me = null;
  byId("who").textContent = session?.user.email ?? "";
  byId("sign-out").hidden = !session;
  byId("sign-in-error").textContent = "";
  if (session) {
    try {
      me = await call("/me");
    } catch (error) {
      byId("sign-in-error").textContent = error instanceof Refusal && error.code === "admin_required"
        ? `${session.user.email} has no role here.` : explain(error);
    }
  }
  byId("credentials").hidden = Boolean(me);
  byId("place").hidden = byId("places").hidden = !me;
  byId("content").replaceChildren();
  if (me) await show();
}

async function start() {
  const client = await open();
  byId("sign-out").addEventListener("click", () => client.auth.signOut());
  byId("credentials").addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    const credentials = { email: byId("email").value, password: byId("password").value };
    const { error } = await client.auth.signInWithPassword(credentials);
    byId("password").value = "";
    if (error) byId("sign-in-error").textContent = error.message;
  });
  window.addEventListener("hashchange", async () => {
    announce("");
    if (!me) return;
    await show();
    byId("title").focus();
  });
  /** @type {string|null} */
  let known = "";
  client.auth.onAuthStateChange((/** @type {string} */ _event, /** @type {any} */ session) => {
    const user = session?.user.id ?? null;
    if (user === known) return; // a token was refreshed, or a tab has come back
    known = user;
    // supabase-js holds a lock while it calls this: what asks it again has to wait for the next turn.
    setTimeout(() => enter(client, session));
  });
}

start().then(
  () => (document.documentElement.dataset.ready = ""),
  (error) => {
    byId("credentials").hidden = false;
    byId("sign-in-error").textContent = explain(error);
  },
);
