/** What moderation refused, and bytes that are blocked. */
import { call, query } from "./api.js";
import { make } from "./shared.js";
import { act, button, link, list, panel, state, when } from "./view.js";

/** @param {{mayAct: boolean, again: () => void}} place */
export async function showInReview({ mayAct, again }) {
  /** @param {any} row @param {string} decision */
  const decide = (row, decision) => async () => {
    const refuses = decision === "refuse";
    const done = await act({
      title: refuses ? "Refuse this picture" : "Approve this picture",
      text: refuses
        ? "What was uploaded is blocked, and all that was made of it is taken away."
        : `Its owner may share it from now on. This approves the ${row.kind} alone: an original and what is made of it are decided separately.`,
      action: refuses ? "Refuse" : "Approve",
      fields: refuses ? { category: { label: "Category, which the caller is told", required: true, value: "adult" } } : {},
      done: "The decision is kept.",
      run: (values) => call(`/in-review/${row.kind}/${row.id}`, { ...values, decision }),
    });
    if (done) again();
  };
  /** Hidden until somebody wants to see it. @param {any} row */
  const picture = (row) => row.picture_url
    ? make("details", { className: "doubtful" }, make("summary", {}, "Show"), make("img", { src: row.picture_url, alt: `${row.kind} of ${row.filename ?? "a visitor"}`, loading: "lazy" }))
    : "gone";
  return [
    make("p", { className: "hint" }, "An original and what was made of it are decided separately: approve both, or refuse either, which takes both away."),
    list({
      caption: "Pictures in review",
      filters: {},
      load: async (_values, cursor) => {
        const page = await call(`/in-review${query({ cursor })}`);
        return { rows: page.pictures, next: page.next_cursor };
      },
      columns: {
        Picture: picture,
        Score: (row) => row.score?.toFixed(2),
        Kind: (row) => (row.op_key ? `${row.kind} of ${row.op_key}` : row.kind),
        Account: (row) => (row.user_id ? link("users", row.user_id, row.email) : row.team_id ? "a team" : "visitor"),
        File: (row) => make("span", {}, row.filename ?? "", " ", make("code", { title: row.sha256 }, `${row.sha256.slice(0, 12)}…`)),
        When: (row) => when(row.created_at),
        ...(mayAct ? { "": (row) => make("div", { className: "buttons" },
          button("Approve", decide(row, "approve")), button("Refuse", decide(row, "refuse"), "quiet small danger")) } : {}),
      },
    }),
  ];
}

/** @param {{mayAct: boolean, again: () => void}} place */
export async function showRefused({ mayAct, again }) {
  /** @param {any} row @param {string} decision */
  const review = (row, decision) => async () => {
    const blocks = decision === "block";
    const done = await act({
      title: blocks ? "Block this picture" : "Leave this picture free",
      text: blocks ? "Its bytes are refused from now on, and what exists of them is taken away." : "It may be sent again; a block that exists stays.",
      action: blocks ? "Block" : "Keep",
      fields: blocks ? { category: { label: "Category, which the caller is told", required: true, value: row.category ?? "" } } : {},
      done: "The decision is kept.",
      run: (values) => call(`/refused/${row.job_id}/review`, { ...values, decision }),
    });
    if (done) again();
  };
  return [
    list({
      caption: "Refused jobs",
      filters: { reviewed: { label: "Reviewed", options: [["false", "not yet"], ["true", "yes"], ["all", "whether or not"]], value: "false" } },
      load: async (values, cursor) => {
        const page = await call(`/refused${query({ ...values, cursor })}`);
        return { rows: page.jobs, next: page.next_cursor };
      },
      columns: {
        Job: (row) => link("jobs", row.job_id),
        Category: (row) => row.category,
        Account: (row) => (row.user_id ? link("users", row.user_id, row.email) : "visitor"),
        File: (row) => row.filename,
        sha256: (row) => make("code", { title: row.sha256 }, `${row.sha256.slice(0, 12)}…`),
        Blocked: (row) => row.blocked,
        Decision: (row) => row.review && make("span", { title: row.review.reason }, state(row.review.decision)),
        When: (row) => when(row.created_at),
        ...(mayAct ? { "": (row) => make("div", { className: "buttons" },
          button("Keep", review(row, "keep")), button("Block", review(row, "block"), "quiet small danger")) } : {}),
      },
    }),
  ];
}

/** @param {{mayAct: boolean, again: () => void}} place */
export async function showBlocked({ mayAct, again }) {
  const block = async () => {
    const done = await act({
      title: "Block bytes",
      text: "They are refused from now on, and what exists of them is taken away.",
      action: "Block",
      fields: { sha256: { label: "sha256, 64 hex digits", required: true }, category: { label: "Category, which the caller is told", required: true } },
      done: "The bytes are blocked.",
      run: (values) => call("/blocked", { ...values, sha256: values.sha256.toLowerCase() }),
    });
    if (done) again();
  };
  /** @param {any} row */
  const unblock = (row) => async () => {
    const done = await act({
      title: "Accept these bytes again", text: row.sha256, action: "Unblock", done: "The bytes are accepted again.",
      run: (values) => call(`/blocked/${row.sha256}/unblock`, values),
    });
    if (done) again();
  };
  return [
    ...(mayAct ? [panel(null, button("Block bytes", block, "quiet small danger"))] : []),
    list({
      caption: "Blocked hashes",
      filters: { sha256: { label: "sha256 begins with" }, category: { label: "Category" } },
      load: async (values, cursor) => {
        const page = await call(`/blocked${query({ ...values, sha256: values.sha256.toLowerCase(), cursor })}`);
        return { rows: page.hashes, next: page.next_cursor };
      },
      columns: {
        sha256: (row) => make("code", {}, row.sha256),
        Category: (row) => row.category,
        Reason: (row) => row.reason,
        By: (row) => row.created_by,
        Since: (row) => when(row.created_at),
        ...(mayAct ? { "": (row) => button("Unblock", unblock(row)) } : {}),
      },
    }),
  ];
}
