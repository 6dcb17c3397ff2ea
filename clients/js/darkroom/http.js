/** @import { DarkroomOptions } from "./types.js" */
import { DarkroomError, networkError } from "./errors.js";
import { backoff, pause } from "./time.js";

const MUTATING = new Set(["POST", "PUT", "PATCH", "DELETE"]);
/** Longer than the API lets a call that has died keep its key. */
const REPEAT_MS = 30_000;

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
    const mutating = MUTATING.has(init.method ?? "GET");
    if (mutating && !headers.has("Idempotency-Key")) headers.set("Idempotency-Key", randomKey());
    const ask = async () => {
      const response = await fetch(base + path, { ...init, headers });
      return mutating ? whole(response) : response;
    };
    const response = await ask().catch(async (cause) => {
      init.signal?.throwIfAborted();
      if (!mutating) throw networkError(cause, "Darkroom");
      // The answer was lost, and perhaps the request with it: under the same key it has its effect once.
      await pause(backoff(1), init.signal ?? undefined);
      return repeated(ask, init.signal ?? undefined);
    });
    if (!response.ok) throw await errorOf(response);
    return response;
  }

  return { request, json: async (path, init) => (await request(path, init)).json(), fetch, base };
}

/**
 * The answer to a call that was made before: once that has ended, where it is still under way.
 * @param {() => Promise<Response>} ask @param {AbortSignal} [signal] @returns {Promise<Response>}
 */
async function repeated(ask, signal) {
  for (const end = Date.now() + REPEAT_MS; ; ) {
    const response = await ask().catch((cause) => {
      signal?.throwIfAborted();
      throw networkError(cause, "Darkroom");
    });
    if (response.status !== 409 || Date.now() > end) return response;
    /** @type {any} */
    const body = await response.clone().json().catch(() => ({}));
    if (body.code !== "idempotency_in_progress") return response;
    await pause(Number(response.headers.get("retry-after") ?? 1) * 1000, signal);
  }
}

/** With its body, which is lost as easily as the rest. @param {Response} response */
async function whole(response) {
  const body = await response.arrayBuffer();
  const { status, statusText, headers } = response;
  return new Response(status === 204 ? null : body, { status, statusText, headers });
}

/** A UUID, also on pages without HTTPS, where `crypto.randomUUID` is missing. */
function randomKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
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
