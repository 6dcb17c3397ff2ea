/** What an account has: keys, credits, plan, usage. */
/**
 * @import {
 *   ApiKey, ApiKeyRequest, Balance, Movement, NewApiKey, Pack, Period, PlanOffer, Quote, QuoteRequest, Savings,
 *   Subscription, Usage
 * } from "./account-types.js"
 */
/** @import { WaitOptions } from "./types.js" */
/** @import { Http } from "./http.js" */

/** @param {Http} http */
export function createAccount(http) {
  /** @param {string} method @param {string} path @param {unknown} [body] */
  const call = (method, path, body) =>
    http.json(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
  /** @param {string} path @param {Period} period @param {Record<string, string>} [more] */
  const within = (path, period, more) =>
    `${path}?${new URLSearchParams(/** @type {Record<string, string>} */ ({ ...period, ...more }))}`;

  return {
    /**
     * The caller's API keys without their secrets, newest first; ended ones for 30 days more.
     * @returns {Promise<ApiKey[]>}
     */
    apiKeys: async () => (await call("GET", "/api-keys")).api_keys,

    /**
     * A new key, for a server of the caller's own. Its `key` is told here and never again.
     * Throws `api_access_required` where the plan has no API access.
     * @param {ApiKeyRequest} request
     * @returns {Promise<NewApiKey>}
     */
    createApiKey: (request) => call("POST", "/api-keys", request),

    /**
     * @param {string} keyId
     * @param {{name?: string, rate_per_minute?: number|null, spend_cap?: number|null}} change
     * @returns {Promise<ApiKey>}
     */
    changeApiKey: (keyId, change) => call("PATCH", `/api-keys/${encodeURIComponent(keyId)}`, change),

    /**
     * A new secret for a key; the one before works for some hours more.
     * @param {string} keyId
     * @param {number} [overlapHours] 0 to 168
     * @returns {Promise<NewApiKey>}
     */
    rotateApiKey: (keyId, overlapHours = 24) =>
      call("POST", `/api-keys/${encodeURIComponent(keyId)}/rotate`, { overlap_hours: overlapHours }),

    /**
     * Ends a key at once.
     * @param {string} keyId
     * @returns {Promise<ApiKey>}
     */
    revokeApiKey: (keyId) => call("DELETE", `/api-keys/${encodeURIComponent(keyId)}`),

    /**
     * Credits, and when which of them end.
     * @returns {Promise<Balance>}
     */
    balance: () => call("GET", "/credits/balance"),

    /**
     * Every movement of the caller's credits, newest first, a page at a time.
     * @param {{limit?: number, cursor?: string}} [page]
     * @returns {Promise<{movements: Movement[], next_cursor: string|null}>}
     */
    creditHistory: ({ limit = 50, cursor } = {}) =>
      call("GET", `/credits/history?${new URLSearchParams({ limit: String(limit), ...(cursor && { cursor }) })}`),

    /**
     * What can be had, smallest first. Needs no session.
     * @returns {Promise<PlanOffer[]>}
     */
    plans: async () => (await call("GET", "/plans")).plans,

    /**
     * What an op would cost the caller, held for ten minutes: give its `quote_id` to `intake` or `process`.
     * @param {QuoteRequest} request
     * @param {WaitOptions} [options]
     * @returns {Promise<Quote>}
     */
    quote: (request, { signal } = {}) =>
      http.json("/quote", { method: "POST", body: JSON.stringify(request), signal }),

    /**
     * Usage by day, 30 of them unless a period is given, and what is used of the plan's quotas now.
     * @param {Period} [period]
     * @returns {Promise<Usage>}
     */
    usage: (period = {}) => call("GET", within("/usage", period)),

    /**
     * The days as CSV.
     * @param {Period} [period]
     * @returns {Promise<Blob>}
     */
    usageCsv: async (period = {}) => (await http.request(within("/usage", period, { format: "csv" }))).blob(),

    /**
     * What the cache saved.
     * @param {Period} [period]
     * @returns {Promise<Savings>}
     */
    savings: (period = {}) => call("GET", within("/usage/savings", period)),

    /**
     * Credits for sale. Needs no session.
     * @returns {Promise<Pack[]>}
     */
    packs: async () => (await call("GET", "/billing/packs")).packs,

    /**
     * The address of a page to pay on; lead the browser there. `return_url` must be allowed by the deployment.
     * @param {({plan_id: string} | {pack_id: string}) & {return_url?: string}} wanted
     * @returns {Promise<string>}
     */
    checkOut: async (wanted) => (await call("POST", "/billing/checkout", wanted)).url,

    /**
     * The address of a page for cards and invoices.
     * @param {{return_url?: string}} [wanted]
     * @returns {Promise<string>}
     */
    billingPortal: async (wanted = {}) => (await call("POST", "/billing/portal", wanted)).url,

    /**
     * The subscription that counts; null: there never was one.
     * @returns {Promise<Subscription|null>}
     */
    subscription: async () => (await call("GET", "/billing/subscription")).subscription,

    /**
     * Another plan from now on; the difference is billed or credited.
     * @param {string} planId
     * @returns {Promise<Subscription>}
     */
    changePlan: async (planId) => (await call("POST", "/billing/change", { plan_id: planId })).subscription,

    /**
     * The plan ends with the period that is paid.
     * @returns {Promise<Subscription>}
     */
    cancelSubscription: async () => (await call("POST", "/billing/cancel")).subscription,

    /**
     * Takes a cancellation back.
     * @returns {Promise<Subscription>}
     */
    resumeSubscription: async () => (await call("POST", "/billing/resume")).subscription,
  };
}
