/** Jobs of everybody: search, look, repeat, cancel, refund. */
import { call, query } from "./api.js";
import { fileSize, make } from "./shared.js";
import { act, button, facts, link, list, panel, state, table, when } from "./view.js";

const STATUSES = ["", "awaiting_upload", "queued", "running", "done", "error", "expired", "canceled"];

/** @type {Record<string, (row: any) => any>} */
export const jobColumns = {
  Job: (row) => link("jobs", row.job_id),
  State: (row) => state(row.status),
  Error: (row) => row.error?.code,
  Op: (row) => make("code", {}, row.op_key),
  Account: (row) => (row.user_id ? link("users", row.user_id, row.email) : "visitor"),
  Credits: (row) => row.charged,
  Created: (row) => when(row.created_at),
};

export async function showJobs() {
  return [
    list({
      caption: "Jobs",
      filters: {
        status: { label: "State", options: STATUSES },
        op: { label: "Op", hint: "bgremove" },
        user: { label: "Account", hint: "address or id" },
        error: { label: "Error code" },
        created_after: { label: "From", type: "datetime-local" },
        created_before: { label: "Before", type: "datetime-local" },
      },
      load: async (values, cursor) => {
        const page = await call(`/jobs${query({ ...values, cursor })}`);
        return { rows: page.jobs, next: page.next_cursor };
      },
      columns: jobColumns,
    }),
  ];
}

/** @param {string} id @param {{mayAct: boolean, again: () => void}} place */
export async function showJob(id, { mayAct, again }) {
  const job = await call(`/jobs/${encodeURIComponent(id)}`);
  const path = `/jobs/${job.job_id}`;
  /** @param {string} text @param {string} way @param {string} done @param {string} about @param {string} [kind] */
  const actor = (text, way, done, about, kind) =>
    button(text, async () => {
      const options = { title: `${text} this job`, action: text, text: about, done };
      if (await act({ ...options, run: (values) => call(`${path}/${way}`, values) })) again();
    }, kind);
  const ended = Boolean(job.finished_at);
  const buttons = [
    ...(ended && job.status !== "done"
      ? [actor("Repeat", "replay", "It is repeated by a new job.", job.bytes_kept
          ? `A new job for the same owner, at ${job.price} credits.` : "Its bytes are gone: the service will refuse.")] : []),
    ...(ended ? [] : [actor("Cancel", "cancel", "The job is canceled.", "It costs its owner nothing.", "quiet small danger")]),
    ...(job.charged ? [actor("Refund", "refund", "The credits are given back.", `${job.charged} credits, once.`)] : []),
  ];
  return [
    panel("Job", facts({
      State: make("span", {}, state(job.status), job.step ? ` ${job.step}` : ""),
      Id: make("code", {}, job.job_id),
      Account: job.user_id ? link("users", job.user_id, job.email) : "visitor",
      Op: make("code", {}, job.op_key),
      Picture: `${job.filename}, ${job.width} × ${job.height}, ${fileSize(job.size)}`,
      sha256: make("code", {}, job.sha256),
      Blocked: job.blocked,
      Error: job.error && `${job.error.code}: ${job.error.detail ?? ""}`,
      Category: job.error?.category,
      Review: job.review && make("span", {}, state(job.review.decision), ` ${job.review.reason}`),
      Credits: `${job.charged} charged of ${job.price}`,
      Attempts: `${job.attempts} of ${job.max_attempts}`,
      Queue: `${job.queue}, priority ${job.priority}`,
      Worker: job.worker,
      "Lease until": when(job.lease_expires_at),
      "Bytes kept": job.bytes_kept ? "yes" : "no",
      "Repeats": link("jobs", job.replay_of),
      "Repeated by": job.replays.length ? make("span", {}, ...job.replays.flatMap((/** @type {string} */ other) => [link("jobs", other), " "])) : null,
      Request: job.request_id && make("code", {}, job.request_id),
      Created: when(job.created_at),
      Started: when(job.started_at),
      Ended: when(job.finished_at),
      Audit: link("audit", job.job_id, "what was done about this job"),
    }), ...(mayAct && buttons.length ? [make("div", { className: "buttons" }, ...buttons)] : [])),
    panel(null, table("Transitions", job.events, { When: (row) => when(row.created_at), What: (row) => row.type, Attempt: (row) => row.attempt })),
    panel(null, table("Credits", job.ledger, { When: (row) => when(row.created_at), What: (row) => row.reason, Credits: (row) => row.delta })),
  ];
}
