/** The playground: puts its views together and follows who is signed in. */
import { createDarkroom } from "./darkroom.js";
import { History } from "./ui/account/history.js";
import { Keys } from "./ui/account/keys.js";
import { PlanCard } from "./ui/account/plan.js";
import { SettingsForm } from "./ui/account/settings.js";
import { UsageCard } from "./ui/account/usage.js";
import { Bench } from "./ui/bench.js";
import { Claim } from "./ui/claim.js";
import { wireDialogs } from "./ui/dialogs.js";
import { byId, fileSize, typeName } from "./ui/dom.js";
import { Library } from "./ui/library.js";
import { MyData } from "./ui/mydata.js";
import { showProblem } from "./ui/problem.js";
import { accessToken, connect, openSignIn, wireAccount } from "./ui/signing.js";
import { Teams } from "./ui/teams/teams.js";
import { toast } from "./ui/toast.js";
import { Views } from "./ui/views.js";

const apiUrl = new URL(".", document.baseURI).href;
/** @type {any} */
let supabase = null;
const darkroom = createDarkroom({ apiUrl, getAccessToken: () => (supabase ? accessToken(supabase) : null) });
const views = new Views(["develop", "library", "account"]);
const teams = new Teams(darkroom);
const library = new Library(darkroom, teams);
const claim = new Claim(darkroom, { onClaimed: () => library.refresh() });
/** The cards of the account; each asks for what it shows. */
const plan = new PlanCard(darkroom, { onChange: () => library.refresh() });
const cards = [plan, new History(darkroom), new UsageCard(darkroom), new SettingsForm(darkroom), new Keys(darkroom)];
const bench = new Bench(darkroom, {
  signIn: openSignIn,
  teamId: () => (teams.writable && teams.chosen) || undefined,
  onDone(result) {
    if (bench.signedIn) void library.refresh();
    else claim.remember(result);
  },
});

function wireTheme() {
  const root = document.documentElement;
  root.dataset.theme = localStorage.getItem("theme") ?? "";
  byId("theme").addEventListener("click", () => {
    const dark =
      getComputedStyle(root).colorScheme.trim() === "dark" ||
      (getComputedStyle(root).colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });
}

/** @type {string|null|undefined} undefined: not known yet */
let admitted;

/** Everything that depends on who is signed in. @param {string|null} userId */
function admit(userId) {
  if (userId === admitted) return; // supabase-js says so again whenever the tab comes to the front
  admitted = userId;
  const signedIn = userId !== null;
  bench.admit(signedIn);
  teams.open(userId);
  library.open(userId);
  claim.offer(signedIn);
  for (const card of cards) card.clear();
  views.admit(signedIn);
}

/** Stripe leads back here; credits and plan come with its event, not with the way back. */
function greetBuyer() {
  const outcome = new URLSearchParams(location.search).get("checkout");
  if (!outcome) return;
  history.replaceState(null, "", `${location.pathname}#account`);
  if (outcome !== "success") return;
  toast("Thank you. It is yours as soon as the payment is confirmed: in a moment.");
  void plan.awaitPayment();
}

async function start() {
  wireTheme();
  wireDialogs();
  new MyData(darkroom, { onDeleted: () => library.refresh(), signOut: () => supabase.auth.signOut() });
  views.addEventListener("show", () => {
    if (views.current === "account") for (const card of [teams, ...cards]) void card.load();
  });
  try {
    const { ops, limits } = await darkroom.ops();
    // HEIF is HEIC by its other name.
    const names = limits.content_types.filter((type) => type !== "image/heif").map(typeName);
    byId("file-facts").textContent ||= `${names.join(", ")}; at most ${fileSize(limits.max_bytes)}`;
    bench.offer(ops);
    library.offer(ops);
    const config = await fetch("config.json").then((response) => response.json());
    plan.billing = config.billing === true;
    plan.local = config.local ?? null;
    supabase = connect(config);
    if (supabase) wireAccount(supabase, config.local, admit);
    greetBuyer();
  } catch (error) {
    showProblem(error);
  }
  document.documentElement.dataset.ready = "";
}

start();
