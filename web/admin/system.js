/** The state of the system, signs of abuse, the audit log. */
import { call, query } from "./api.js";
import { byId, make } from "./shared.js";
import { act, age, button, explain, facts, link, list, panel, state, table, tiles, when } from "./view.js";

/** @param {{mayAct: boolean, again: () => void}} place */
export async function showSystem({ mayAct, again }) {
  const [page, { lanes, paused_queues: pausedQueues }] = await Promise.all([call("/system"), call("/lanes")]);
  const { readiness, report } = page;
  const checks = Object.entries(readiness.checks).map(([name, { ok, ms, detail }]) =>
    /** @type {[string, string, string]} */ ([name, ok ? (detail ?? `${ms} ms`) : (detail ?? "down"), ok ? "good" : "bad"]));
  const late = (/** @type {number} */ count) => (count > 0 ? "bad" : undefined);
  const invariants = make("div", { id: "invariants" }, make("p", { className: "hint" }, "Reads whole tables."));
  return [
    panel("Dependencies", tiles([["status", readiness.status, readiness.status === "down" ? "bad" : "good"], ...checks])),
    panel("Work", tiles([
      ["oldest unfinished job", age(report.oldest_unfinished_seconds)],
      ["waiting for an upload", report.awaiting_upload],
      ["leases expired", report.leases_expired, late(report.leases_expired)],
      ["exports and deletions", report.data_requests],
      ["refused, not reviewed", report.refused_unreviewed],
      ["pictures in review", report.in_review],
      ["objects to remove", `${report.tombstones.open}, ${age(report.tombstones.oldest_seconds)}`],
      ["Stripe inbox", `${report.stripe_inbox.waiting}, ${age(report.stripe_inbox.oldest_seconds)}`],
      ["Stripe, given up", report.stripe_inbox.failed, late(report.stripe_inbox.failed)],
    ])),
    panel(null, table("Queues by class of caller", report.classes, {
      Queue: (row) => row.queue,
      Callers: (row) => row.caller,
      Queued: (row) => row.queued,
      Running: (row) => row.running,
      "Oldest due": (row) => age(row.oldest_due_seconds),
    })),
    panel(null, table("Lanes", lanes, {
      Lane: (row) => row.lane_id,
      Queue: (row) => row.queue,
      Whose: (row) => (row.user_id ? link("users", row.user_id, row.email) : row.team_id ? "a team" : "visitors"),
      Plan: (row) => `${row.plan_id}, weight ${row.weight}`,
      State: (row) => state(row.state),
      Waiting: (row) => row.waiting,
      Running: (row) => row.running,
      ...(mayAct ? { "": (row) => hold(`lanes/${row.lane_id}`, `lane ${row.lane_id}`, Boolean(row.paused_at), again) } : {}),
    })),
    panel(null, table("Paused queues", pausedQueues, {
      Queue: (row) => row.queue,
      Since: (row) => when(row.paused_at),
      ...(mayAct ? { "": (row) => hold(`queues/${row.queue}`, `queue ${row.queue}`, true, again) } : {}),
    })),
    panel("Invariants", button("Check money and state", checkInvariants), invariants),
    panel("Versions", facts({
      Darkroom: `${page.version}, release ${page.release}, ${page.environment}`,
      Postgres: report.postgres,
      Migrations: make("details", {}, make("summary", {}, `${report.migrations.length}, newest ${report.migrations[0] ?? "none"}`), make("ul", {}, ...report.migrations.map((/** @type {string} */ name) => make("li", {}, name)))),
    })),
  ];
}

/** A button that pauses a lane or a queue, or lets it go on. @param {string} path @param {string} name @param {boolean} paused @param {() => void} again */
const hold = (path, name, paused, again) => button(paused ? "Resume" : "Pause", async () => {
  const done = await act({
    title: `${paused ? "Resume" : "Pause"} ${name}`,
    text: paused ? "What waits in it may be claimed again." : "What waits in it stays where it is. What is running goes on.",
    action: paused ? "Resume" : "Pause",
    done: paused ? "It goes on." : "It is held back.",
    run: (values) => call(`/${path}/${paused ? "resume" : "pause"}`, values),
  });
  if (done) again();
});

async function checkInvariants() {
  const shown = byId("invariants");
  shown.setAttribute("aria-busy", "true");
  try {
    const { violations } = await call("/invariants");
    shown.replaceChildren(violations.length
      ? table("Broken", violations, { Invariant: (row) => row.invariant, Subject: (row) => row.subject })
      : make("p", {}, state("ok"), " Every one of them holds."));
  } catch (error) {
    shown.replaceChildren(make("p", { className: "error", role: "alert" }, explain(error)));
  } finally {
    shown.removeAttribute("aria-busy");
  }
}

export async function showAbuse() {
  const { accounts } = await call("/abuse");
  return [
    panel(null,
      make("p", { className: "hint" }, "A fifth of a week's jobs refused, thirty jobs within a minute, four accounts at one address. To judge is for people."),
      table("Signs of abuse", accounts, {
        Account: (row) => link("users", row.user_id, row.email),
        Plan: (row) => row.plan_id,
        Signals: (row) => row.signals.join(", "),
        "Jobs, week": (row) => row.jobs,
        Refused: (row) => row.refused,
        "Fullest minute": (row) => row.burst,
        "At one address": (row) => row.accounts,
      })),
  ];
}

/** @param {string} [subject] */
export async function showAudit(subject = "") {
  return [
    list({
      caption: "Audit",
      filters: {
        actor: { label: "Who", hint: "address, id or cli:name" },
        subject: { label: "About", hint: "id or sha256", value: subject },
        action: { label: "Action begins with", hint: "admin." },
      },
      load: async (values, cursor) => {
        const page = await call(`/audit${query({ ...values, cursor })}`);
        return { rows: page.entries, next: page.next_cursor };
      },
      columns: {
        When: (row) => when(row.created_at),
        Who: (row) => row.email ?? row.data.by ?? (row.actor ? row.actor.slice(0, 8) : ""),
        Action: (row) => row.action,
        Subject: (row) => make("code", { title: row.subject }, row.subject.length > 20 ? `${row.subject.slice(0, 12)}…` : row.subject),
        Reason: (row) => (row.data.by ? row.data.reason : ""),
        Before: (row) => shown(row.data.before),
        After: (row) => shown(row.data.after ?? (row.data.by ? null : row.data)),
      },
    }),
  ];
}

/** @param {any} value of a field of `data` @returns {Node|string} */
const shown = (value) =>
  value === null || value === undefined ? "" : make("code", {}, typeof value === "string" ? value : JSON.stringify(value));
