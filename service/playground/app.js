/** The playground: wires the page to darkroom.js and supabase-js. */
/** @import { Darkroom } from "./darkroom.js" */
/** @import { ImageMeta, ProcessResult, LocalResult } from "./darkroom/types.js" */
import { createDarkroom, DarkroomError } from "./darkroom.js";
import { accessToken, connect, wireAccount } from "./ui/account.js";
import { Chain } from "./ui/chain.js";
import { announce, byId, duration, fileSize, make, typeName } from "./ui/dom.js";
import { Library } from "./ui/library.js";
import { failStages, resetStages, showStage } from "./ui/stages.js";
import { Viewer } from "./ui/viewer.js";

const apiUrl = new URL(".", document.baseURI).href;
/** @type {any} */
let supabase = null;
const darkroom = createDarkroom({ apiUrl, getAccessToken: () => (supabase ? accessToken(supabase) : null) });
const viewer = new Viewer(byId("frame"));
const library = new Library(darkroom, { signOut: () => supabase.auth.signOut() });

/**
 * @type {{
 *   file: File|null, meta: ImageMeta|null, chain: Chain|null, running: AbortController|null, url: string,
 *   signedIn: boolean
 * }}
 */
const state = { file: null, meta: null, chain: null, running: null, url: "", signedIn: false };

// ------------------------------------------------------------------------------------------ choosing

/** @param {File} file */
async function choose(file) {
  state.running?.abort();
  hideProblem();
  resetStages();
  byId("result").hidden = true;
  state.file = file;
  state.meta = null;
  URL.revokeObjectURL(state.url);
  state.url = URL.createObjectURL(file);
  byId("file-label").textContent = file.name || "Pasted picture";
  byId("drop-hint").hidden = true;
  byId("drop").dataset.state = "chosen";
  try {
    const { limits } = await darkroom.ops();
    const meta = await darkroom.precheck(file, { limits });
    if (state.file !== file) return; // another one has been chosen meanwhile
    const { width, height, size, content_type } = meta;
    byId("file-facts").textContent = `${width} × ${height}, ${fileSize(size)}, ${typeName(content_type)}`;
    await viewer.showOriginal(state.url, "The original");
    if (state.file !== file) return;
    state.meta = meta;
    byId("chosen-thumb").src = state.url;
    byId("chosen-thumb").hidden = byId("frame").querySelector("img") === null;
    announce(`${file.name}, ${byId("file-facts").textContent}`);
  } catch (error) {
    if (state.file !== file) return;
    byId("file-facts").textContent = fileSize(file.size);
    byId("chosen-thumb").hidden = true;
    byId("frame").dataset.state = "empty";
    byId("frame").replaceChildren(make("p", { className: "empty" }, "Nothing to show"));
    showProblem(error);
  }
  update();
}

function wireChoosing() {
  byId("file").addEventListener("change", () => {
    if (byId("file").files[0]) choose(byId("file").files[0]);
  });
  byId("sample").addEventListener("click", async () => {
    const response = await fetch("static/sample.jpg");
    await choose(new File([await response.blob()], "sample.jpg", { type: "image/jpeg" }));
  });
  document.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData?.files[0]) choose(clipboardData.files[0]);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.dataset.dragging = "";
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) delete document.body.dataset.dragging;
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    delete document.body.dataset.dragging;
    if (event.dataTransfer?.files[0]) choose(event.dataTransfer.files[0]);
  });
}

/** What can be pressed now. */
function update() {
  const key = state.chain?.key ?? "";
  const local = state.meta && darkroom.canRunLocally(key, state.meta);
  byId("local-row").hidden = !local;
  byId("persist-row").hidden = !state.signedIn;
  byId("run").disabled = !state.meta || !key || Boolean(state.running);
  byId("cancel").hidden = !state.running;
  byId("order").setAttribute("aria-busy", String(Boolean(state.running)));
}

// ------------------------------------------------------------------------------------------ running

async function run() {
  const { file, chain } = state;
  if (!file || !chain || state.running) return;
  const controller = (state.running = new AbortController());
  hideProblem();
  resetStages();
  byId("result").hidden = true;
  update();
  try {
    const onDevice = byId("local").checked && !byId("local-row").hidden;
    await (onDevice
      ? runLocally(file, chain.key, controller.signal)
      : runRemotely(file, chain.key, controller.signal));
  } catch (error) {
    failStages();
    if (controller.signal.aborted) announce("Cancelled.");
    else showProblem(error);
  } finally {
    if (state.running === controller) state.running = null;
    update();
  }
}

/** @param {File} file @param {string} key @param {AbortSignal} signal */
async function runRemotely(file, key, signal) {
  const result = await darkroom.process(file, key, {
    onStage: showStage,
    wantsPersist: state.signedIn && byId("persist").checked,
    signal,
  });
  const [url] = result.output_urls;
  const badge = result.cached
    ? `Cache hit in ${duration(result.timings.total)}: nothing to upload, nothing to compute`
    : `Developed in ${duration(result.timings.total)}`;
  await showDone(url, result.output, badge, result.cached ? "hit" : "fresh", result);
  const extension = result.output?.content_type.split("/")[1] ?? "webp";
  byId("download").href = `${url}&download=${encodeURIComponent(baseName(file))}.${extension}`;
  byId("download").removeAttribute("download");
  if (state.signedIn) void library.refresh();
}

/** @param {File} file @param {string} key @param {AbortSignal} signal */
async function runLocally(file, key, signal) {
  const started = performance.now();
  const { blob, ...facts } = await darkroom.local(file, key, { signal });
  const url = URL.createObjectURL(blob);
  const output = { ...facts, size: blob.size };
  await showDone(
    url,
    output,
    `On this device in ${duration(performance.now() - started)}: nothing was sent`,
    "local",
    { op_key: key, output },
  );
  byId("download").href = url;
  byId("download").download = `${baseName(file)}.${facts.content_type.split("/")[1]}`;
}

/** @param {File} file */
const baseName = (file) => `${(file.name || "picture").replace(/\.[^.]+$/, "")}-darkroom`;

/**
 * @param {string} url
 * @param {{width: number, height: number, size: number, content_type: string}|null} output
 * @param {string} badge @param {string} kind @param {object} answer
 */
async function showDone(url, output, badge, kind, answer) {
  const view = await viewer.showResult(url, "The result");
  const chosen = /** @type {HTMLInputElement} */ (document.querySelector(`input[name=view][value=${view}]`));
  chosen.checked = true;
  byId("badge").textContent = badge;
  byId("badge").dataset.kind = kind;
  const { meta } = state;
  byId("facts").replaceChildren(
    ...(output && meta
      ? [
          `${meta.width} × ${meta.height}, ${fileSize(meta.size)} ${typeName(meta.content_type)}`,
          make("span", { "aria-label": "became" }, " → "),
          make(
            "strong",
            {},
            `${output.width} × ${output.height}, ${fileSize(output.size)} ${typeName(output.content_type)}`,
          ),
        ]
      : []),
  );
  byId("answer").textContent = JSON.stringify(answer, null, 2);
  byId("result").hidden = false;
  byId("result").scrollIntoView({ block: "nearest" });
  announce(`${badge}. ${byId("facts").textContent}`);
}

// ------------------------------------------------------------------------------------------ problems

/** @param {unknown} error */
function showProblem(error) {
  const box = byId("problem");
  const problem = error instanceof DarkroomError ? error.problem : null;
  const title = problem?.title ?? "Something went wrong";
  const lines = [
    make("p", { className: "problem-title" }, title.charAt(0).toUpperCase() + title.slice(1)),
    make("p", {}, problem?.detail ?? String(error)),
  ];
  for (const { loc, msg } of problem?.errors ?? [])
    lines.push(make("p", { className: "hint" }, `${loc.join(".")}: ${msg}`));
  if (problem) {
    const facts = [
      problem.code,
      problem.status ? `HTTP ${problem.status}` : "",
      problem.request_id ? `request ${problem.request_id}` : "",
    ];
    lines.push(make("p", { className: "hint" }, make("code", {}, facts.filter(Boolean).join(" · "))));
  }
  if (problem?.retryable)
    lines.push(make("button", { type: "button", className: "quiet small", onclick: run }, "Try again"));
  if (error instanceof Error && !problem) console.error(error);
  box.replaceChildren(...lines);
  box.hidden = false;
}

function hideProblem() {
  byId("problem").hidden = true;
  byId("problem").replaceChildren();
}

// ------------------------------------------------------------------------------------------ start

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

async function start() {
  wireTheme();
  resetStages();
  wireChoosing();
  byId("order").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    run();
  });
  byId("cancel").addEventListener("click", () => state.running?.abort());
  for (const radio of document.querySelectorAll("input[name=view]")) {
    radio.addEventListener("change", () => viewer.draw(/** @type {any} */ (radio).value));
  }
  try {
    const { ops, limits } = await darkroom.ops();
    // HEIF is HEIC by its other name.
    const names = limits.content_types.filter((type) => type !== "image/heif").map(typeName);
    byId("file-facts").textContent ||= `${names.join(", ")}; at most ${fileSize(limits.max_bytes)}`;
    state.chain = new Chain(ops);
    state.chain.addEventListener("change", update);
    const config = await fetch("config.json").then((response) => response.json());
    supabase = connect(config);
    if (supabase) {
      wireAccount(supabase, (userId) => {
        state.signedIn = userId !== null;
        byId("library").hidden = byId("to-library").hidden = !state.signedIn;
        update();
        library.open(userId, ops);
      });
    }
  } catch (error) {
    showProblem(error);
  }
  document.documentElement.dataset.ready = "";
  update();
}

start();
