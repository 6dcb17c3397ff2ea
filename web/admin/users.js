/** Accounts: search, look, plan, credits, flag, suspend. */
import { call, query } from "./api.js";
import { jobColumns } from "./jobs.js";
import { fileSize, make } from "./shared.js";
import { act, button, facts, link, list, panel, state, table, when } from "./view.js";

export async function showUsers() {
  return [
    list({
      caption: "Users",
      filters: {
        query: { label: "Address or id" },
        plan: { label: "Plan", hint: "id of a plan" },
        flagged: { label: "Flagged", options: ["", ["true", "yes"], ["false", "no"]] },
        suspended: { label: "Suspended", options: ["", ["true", "yes"], ["false", "no"]] },
      },
      load: async (values, cursor) => {
        const page = await call(`/users${query({ ...values, cursor })}`);
        return { rows: page.users, next: page.next_cursor };
      },
      columns: {
        Account: (row) => link("users", row.user_id, row.email),
        Plan: (row) => row.plan_id,
        Credits: (row) => row.balance,
        Flag: (row) => (row.flagged_at ? state("flagged") : ""),
        State: (row) => (row.state === "active" ? "" : state(row.state)),
        Role: (row) => row.role,
        Since: (row) => when(row.created_at),
      },
    }),
  ];
}

/** Why an account may not be used. @param {Record<string, any>} user */
function stateOf(user) {
  const until = user.state === "banned" && user.banned_until ? [" until ", when(user.banned_until)] : [];
  return make("span", {}, state(user.state), ...until, user.suspend_reason ? ` ${user.suspend_reason}` : "");
}

/** @param {string} id @param {{mayAct: boolean, again: () => void}} place */
export async function showUser(id, { mayAct, again }) {
  const user = await call(`/users/${encodeURIComponent(id)}`);
  const path = `/users/${user.user_id}`;
  /** @param {string} text @param {Omit<Parameters<typeof act>[0], "title">} options @param {string} [kind] */
  const actor = (text, options, kind) =>
    button(text, async () => (await act({ title: `${text}: ${user.email}`, ...options })) && again(), kind);
  const credits = {
    amount: { label: "Credits", type: "number", required: true },
    reference: { label: "Reference; the same one again changes nothing", required: true },
  };
  /** @param {string} way */
  const change = (way) => (/** @type {Record<string, string>} */ { amount, ...rest }) =>
    call(`${path}/credits/${way}`, { ...rest, amount: Number(amount) });
  const subscription = user.subscription;
  return [
    panel("Account", facts({
      Address: user.email,
      Id: make("code", {}, user.user_id),
      Plan: user.plan_id,
      Credits: `${user.balance}${user.debt ? `, and a debt of ${user.debt}` : ""}`,
      Storage: fileSize(user.storage_bytes),
      Subscription: subscription && `${subscription.plan_id}, ${subscription.status}${subscription.cancel_at_period_end ? ", ends with its period" : ""}`,
      "Paid until": subscription && when(subscription.current_period_end),
      Flag: user.flagged_at && make("span", {}, state("flagged"), ` ${user.flag_reason}`),
      State: user.state !== "active" && stateOf(user),
      "Signs of abuse": user.abuse?.signals.join(", "),
      Role: user.role,
      Since: when(user.created_at),
      Audit: link("audit", user.user_id, "what was done about this account"),
    }), ...(mayAct ? [make("div", { className: "buttons" },
      actor("Change plan", {
        action: "Change", done: "The plan is changed.", fields: { plan_id: { label: "Id of the plan", required: true, value: user.plan_id } },
        text: "At once, and without deleting anything. A subscription at Stripe goes on as it is.",
        run: (values) => call(`${path}/plan`, values),
      }),
      actor("Give credits", { action: "Give", done: "The credits are given.", fields: credits, run: change("give") }),
      actor("Take credits", {
        action: "Take", done: "The credits are taken.", fields: credits, run: change("take"),
        text: "The balance does not go below zero: the rest becomes a debt.",
      }, "quiet small danger"),
      user.flagged_at
        ? actor("Take the flag away", { action: "Unflag", done: "The account is not flagged.", run: (values) => call(`${path}/unflag`, values) })
        : actor("Flag", { action: "Flag", done: "The account is flagged.", run: (values) => call(`${path}/flag`, values), text: "For operators to look at; the account works as before." }, "quiet small danger"),
      user.suspended_at
        ? actor("Restore", { action: "Restore", done: "The account can be used again.", run: (values) => call(`${path}/restore`, values), text: "Jobs that were canceled stay canceled." })
        : actor("Suspend", { action: "Suspend", done: "The account is suspended.", run: (values) => call(`${path}/suspend`, values), text: "Sessions, API keys, jobs, share links and event streams end at once. Nothing is deleted." }, "quiet small danger"),
    )] : [])),
    panel(null, table("Last jobs", user.jobs, jobColumns)),
    panel(null, table("Grants", user.grants, {
      Source: (row) => row.source,
      Reference: (row) => row.reference,
      Given: (row) => row.amount,
      Left: (row) => row.remaining,
      Ends: (row) => when(row.expires_at),
      Note: (row) => row.note,
    })),
    panel(null, table("API keys", user.keys, {
      Name: (row) => row.name,
      Prefix: (row) => make("code", {}, row.prefix),
      State: (row) => row.status,
      Scopes: (row) => row.scopes.join(", "),
      "Last used": (row) => when(row.last_used_at),
    })),
  ];
}
