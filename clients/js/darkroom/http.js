/** @import { DarkroomOptions } from "./types.js" */
import { DarkroomError, networkError } from "./errors.js";

/**
 * @typedef {object} Http  the way to one Darkroom API
 * @property {(path: string, init?: RequestInit) => Promise<Response>} request  throws a DarkroomError unless 2xx
 * @property {(path: string, init?: RequestInit) => Promise<any>} json
 * @property {typeof globalThis.fetch} fetch  as it is, for other origins
 * @property {string} base  of the API, without a slash at its end
 */

/** @param {DarkroomOptions} options @returns {Http} */
export function createHttp({ apiUrl, getAccessToken, fetch: fetcher = globalThis.fetch }) {
  const base = apiUrl.replace(/\/+$/, "");
  const fetch = fetcher.bind(globalThis);

  /** @param {string} path @param {RequestInit} [init] */
  async function request(path, init = {}) {
    const token = await getAccessToken?.();
    const headers = new Headers(init.headers);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    if (init.body) headers.set("Content-Type", "application/json");
    const response = await fetch(base + path, { ...init, headers }).catch((cause) => {
      init.signal?.throwIfAborted();
      throw networkError(cause, "Darkroom");
    });
    if (!response.ok) throw await errorOf(response);
    return response;
  }

  return { request, json: async (path, init) => (await request(path, init)).json(), fetch, base };
}

/** @param {Response} response @returns {Promise<DarkroomError>} */
async function errorOf(response) {
  const after = Number(response.headers.get("retry-after"));
  /** @type {any} */
  const body = await response.json().catch(() => ({}));
  return new DarkroomError(
    {
      ...body,
      code: body.code ?? "http_error",
      title: body.title ?? response.statusText,
      detail: body.detail ?? body.message ?? `The server answered ${response.status}.`,
      status: response.status,
      retryable: body.retryable ?? (response.status === 429 || response.status >= 500),
      request_id: body.request_id ?? response.headers.get("x-request-id"),
    },
    { source: "api", retryAfter: after > 0 ? after : null },
  );
}
