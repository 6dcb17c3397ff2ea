/** @import { JobDocument, WatchOptions } from "./types.js" */
/** @import { Http } from "./http.js" */
import { DarkroomError } from "./errors.js";
import { readEvents } from "./events.js";
import { backoff, pause } from "./time.js";

const TERMINAL = new Set(["done", "error", "expired", "canceled"]);
const SSE_ATTEMPTS = 2; // without one event in between; then polling takes over
const SSE_OPENING_MS = 5_000; // the stream opens with the present state: silence means that something holds it back
const SSE_SILENCE_MS = 40_000; // the server pings every 15 s
const POLL_ATTEMPTS = 8; // failures in a row, about a minute with the back-off
const POLL_MS = { least: 400, most: 5_000 };

/** @param {string} jobId */
export const jobPath = (jobId) => `/jobs/${encodeURIComponent(jobId)}`;

/**
 * @param {Http} http @param {string} jobId @param {WatchOptions} options
 * @returns {Promise<JobDocument>} in its terminal status
 */
export async function watchJob(http, jobId, options) {
  /** @type {{lastEventId?: string}} */
  const position = {};
  for (let failures = 0; failures < SSE_ATTEMPTS;) {
    const before = position.lastEventId;
    const outcome = await follow(http, jobId, position, options);
    if (typeof outcome === "object") return outcome;
    if (outcome === "useless") break;
    failures = position.lastEventId === before ? failures + 1 : 1;
    await pause(backoff(failures), options.signal);
  }
  return poll(http, jobId, options);
}

/**
 * One connection to the event stream.
 * @param {Http} http
 * @param {string} jobId
 * @param {{lastEventId?: string}} position
 * @param {WatchOptions} options
 * @returns {Promise<JobDocument|"broken"|"useless">}
 */
async function follow(http, jobId, position, { onEvent, signal }) {
  const silence = new AbortController();
  let heard = false;
  let timer = setTimeout(() => silence.abort(), SSE_OPENING_MS);
  const alive = () => {
    heard = true;
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SSE_SILENCE_MS);
  };
  try {
    const { body, headers } = await http.request(`${jobPath(jobId)}/events`, {
      headers: {
        Accept: "text/event-stream",
        ...(position.lastEventId && { "Last-Event-ID": position.lastEventId }),
      },
      signal: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal,
      cache: "no-store",
    });
    if (!body || !headers.get("content-type")?.startsWith("text/event-stream")) return "useless";
    for await (const { type, data, id } of readEvents(body, alive)) {
      position.lastEventId = id ?? position.lastEventId;
      /** @type {JobDocument} */
      const job = JSON.parse(data);
      onEvent?.(job, { type, id, via: "sse" });
      if (TERMINAL.has(job.status)) return job;
    }
    return "broken"; // closed before the end: a deploy, or a proxy's time limit
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof DarkroomError && !error.retryable) throw error;
    return silence.signal.aborted && !heard ? "useless" : "broken";
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {Http} http @param {string} jobId @param {WatchOptions} options
 * @returns {Promise<JobDocument>}
 */
async function poll(http, jobId, { onEvent, signal }) {
  let failures = 0,
    interval = POLL_MS.least,
    seen = "";
  for (;;) {
    let wait;
    try {
      /** @type {JobDocument} */
      const job = await http.json(jobPath(jobId), { signal });
      failures = 0;
      const news = JSON.stringify([job.status, job.ahead, job.waiting_for, job.progress, job.step]);
      interval = news === seen ? Math.min(interval * 1.5, POLL_MS.most) : POLL_MS.least;
      if (news !== seen) onEvent?.(job, { type: job.status, via: "poll" });
      seen = news;
      if (TERMINAL.has(job.status)) return job;
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof DarkroomError) || !error.retryable || ++failures === POLL_ATTEMPTS) throw error;
      wait = error.retryAfter ? error.retryAfter * 1000 : backoff(failures);
    }
    await pause(wait ?? interval, signal);
  }
}
