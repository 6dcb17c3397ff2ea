/** Calls of /admin/api under the session of whoever is signed in. */
import { accessToken, connect } from "./shared.js";

/** A refusal of the API, in its own words. */
export class Refusal extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @type {any} */
let client = null;

/** @returns {Promise<any>} a supabase-js client */
export async function open() {
  const answer = await fetch("config.json");
  client = connect(await answer.json());
  return client;
}

/**
 * @param {string} path under /admin/api
 * @param {object} [body] makes it a POST
 * @returns {Promise<any>}
 */
export async function call(path, body) {
  const token = await accessToken(client);
  const headers = new Headers(token ? { Authorization: `Bearer ${token}` } : {});
  if (body) headers.set("Content-Type", "application/json");
  const answer = await fetch(`admin/api${path}`, {
    method: body ? "POST" : "GET",
    headers,
    body: body && JSON.stringify(body),
  });
  const document = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) return document;
  const said = document?.errors?.map((/** @type {any} */ { loc, msg }) => `${loc.at(-1)}: ${msg}`).join("; ");
  throw new Refusal(
    answer.status,
    document?.code ?? "",
    said || document?.detail || `The service answered ${answer.status}.`,
  );
}

/** A query without what is empty. @param {Record<string, any>} values */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(Object.fromEntries(given))}` : "";
}
