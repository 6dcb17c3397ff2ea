/** What went wrong on the bench, and what to do about it. */
import { DarkroomError } from "../darkroom.js";
import { byId, make } from "./dom.js";
import { remedies } from "./remedies.js";

/**
 * @param {unknown} error
 * @param {() => unknown} [again] for what may succeed the next time
 */
export function showProblem(error, again) {
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
  if (problem) lines.push(...remedies(problem));
  if (problem?.retryable && !problem.resets_at && again)
    lines.push(make("button", { type: "button", className: "quiet small", onclick: again }, "Try again"));
  if (error instanceof Error && !problem) console.error(error);
  box.replaceChildren(...lines);
  box.hidden = false;
}

export function hideProblem() {
  byId("problem").hidden = true;
  byId("problem").replaceChildren();
}
