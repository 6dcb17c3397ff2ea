/** What an account has: keys, credits, plan, usage. */
/** @import { ApiKey, ApiKeyRequest, NewApiKey } from "./account-types.js" */
/** @import { Http } from "./http.js" */

/** @param {Http} http */
export function createAccount(http) {
  /** @param {string} method @param {string} path @param {unknown} [body] */
  const call = (method, path, body) =>
    http.json(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });

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
  };
}
