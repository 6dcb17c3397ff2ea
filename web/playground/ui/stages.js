/** The strip that shows how far a job has come. */
/** @import { Stage } from "../darkroom/types.js" */
import { announce, byId, duration, make } from "./dom.js";

const STAGES = /** @type {const} */ ([
  ["precheck", "Check"],
  ["hash", "Hash"],
  ["intake", "Cache"],
  ["upload", "Upload"],
  ["queue", "Queue"],
  ["run", "Process"],
]);

/** @typedef {typeof STAGES[number][0]} StageName */
/** @typedef {"waiting"|"active"|"done"|"skipped"|"failed"} State */

/** Everything back to the start. */
export function resetStages() {
  byId("stages").replaceChildren(
    ...STAGES.map(([name, label]) =>
      make(
        "li",
        { "data-stage": name, "data-state": "waiting" },
        make("span", { className: "name" }, label),
        make("span", { className: "value" }),
        make("progress", { max: 1, value: 0, "aria-label": label }),
      ),
    ),
  );
}

/**
 * @param {StageName} name
 * @param {State} state
 * @param {string} [text]
 * @param {number|null} [progress] null: not known
 */
function set(name, state, text, progress) {
  const item = /** @type {HTMLElement} */ (byId("stages").querySelector(`[data-stage=${name}]`));
  if (item.dataset.state !== state && state === "active") announce(`${item.firstElementChild?.textContent}…`);
  item.dataset.state = state;
  if (text !== undefined) /** @type {HTMLElement} */ (item.querySelector(".value")).textContent = text;
  const bar = /** @type {HTMLProgressElement} */ (item.querySelector("progress"));
  if (progress === null) bar.removeAttribute("value");
  else bar.value = progress ?? (state === "done" ? 1 : state === "active" ? bar.value : 0);
}

const percent = (/** @type {number} */ fraction) => `${Math.round(fraction * 100)} %`;

/** @param {Stage} stage */
export function showStage(stage) {
  switch (stage.stage) {
    case "precheck":
      return set("precheck", "done", "ok");
    case "hash":
      return stage.sha256
        ? set("hash", "done", `${stage.sha256.slice(0, 8)}…`)
        : set("hash", "active", percent(stage.progress), stage.progress);
    case "intake":
      if (!stage.answer) return set("intake", "active", "asking", null);
      set("intake", "done", stage.answer.cached ? "hit" : "miss");
      if (stage.answer.cached)
        for (const name of /** @type {const} */ (["upload", "queue", "run"]))
          set(name, "skipped", "not needed");
      else if (!stage.answer.upload_url || stage.answer.status !== "awaiting_upload")
        set("upload", "skipped", "not needed");
      return undefined;
    case "upload":
      return set(
        "upload",
        stage.progress < 1 ? "active" : "done",
        `${percent(stage.progress)}${stage.method === "tus" ? " resumable" : ""}`,
        stage.progress,
      );
    case "queued":
      return set("queue", "active", waiting(stage), null);
    case "running":
      set("queue", "done");
      return set("run", "active", stage.step ?? percent(stage.progress), stage.progress);
    case "done":
      return showTimings(stage.result.timings, stage.result.cached);
  }
}

/** @param {Extract<Stage, {stage: "queued"}>} stage */
function waiting({ ahead, expected_start_at, waiting_for }) {
  if (waiting_for === "paused") return "paused";
  if (waiting_for === "own_concurrency") return "waiting for your other jobs";
  if (waiting_for === "vendor_limit") return "waiting for the vendor";
  if (ahead === null) return "waiting";
  if (ahead === 0) return "next";
  if (expected_start_at === null) return `${ahead} ahead`;
  const seconds = Math.max(1, Math.round((Date.parse(expected_start_at) - Date.now()) / 1000));
  return `${ahead} ahead, about ${seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`}`;
}

/** @param {Record<string, number>} timings @param {boolean} cached */
function showTimings(timings, cached) {
  for (const [name] of STAGES) {
    if (timings[name] === undefined) continue;
    set(
      name,
      "done",
      name === "intake" ? `${cached ? "hit" : "miss"}, ${duration(timings[name])}` : duration(timings[name]),
    );
  }
  if (!cached && timings.queue === undefined) set("queue", "done", "at once");
}

/** What was going on when it failed. */
export function failStages() {
  const active =
    byId("stages").querySelector("[data-state=active]") ??
    byId("stages").querySelector("[data-state=waiting]");
  if (active) set(active.dataset.stage, "failed", "failed", 0);
}
