/**
 * @import {
 *   BatchOutcome, ImageMeta, IntakeAnswer, IntakeHit, IntakeMiss, JobDocument, Problem, ProcessAllOptions,
 *   ProcessOptions, ProcessResult
 * } from "./types.js"
 */
/** @import { Darkroom } from "../darkroom.js" */
/** @typedef {Pick<Darkroom, "ops"|"precheck"|"hash"|"intake"|"batch"|"upload"|"uploaded"|"watch"|"cancel">} Steps */
import { DarkroomError } from "./errors.js";

/** Milliseconds by stage. */
class Timings {
  /** @param {Record<string, number>} [taken] already @param {number} [started] */
  constructor(taken = {}, started = performance.now()) {
    this.taken = { ...taken };
    this.started = started;
  }

  /** @template T @param {string} stage @param {Promise<T>} work @returns {Promise<T>} */
  async of(stage, work) {
    const from = performance.now();
    try {
      return await work;
    } finally {
      this.taken[stage] = performance.now() - from;
    }
  }
}

/**
 * @param {Steps} client
 * @param {Blob} file
 * @param {string} opKey
 * @param {ProcessOptions} options
 * @returns {Promise<ProcessResult>}
 */
export async function processFile(client, file, opKey, { onStage, wantsPersist = false, teamId, quoteId, filename, signal }) {
  const timings = new Timings();
  const { claim, meta } = await examined(client, file, timings, { onStage, wantsPersist, teamId, filename, signal });
  const request = { ...claim, op_key: opKey, ...(quoteId && { quote_id: quoteId }) };
  const answer = await timings.of("intake", client.intake(request, { signal }));
  onStage?.({ stage: "intake", answer });
  try {
    if (!answer.cached) await send(client, answer, file, meta, timings, { onStage, signal });
    const ended = answer.cached ? answer : await follow(client, answer, timings, { onStage, signal });
    const result = resultOf(answer.cached, ended, claim.sha256, meta, timings);
    onStage?.({ stage: "done", result });
    return result;
  } catch (error) {
    if (signal?.aborted && answer.job_id) client.cancel(answer.job_id).catch(() => {}); // else it expires by itself
    throw error;
  }
}

/**
 * Several results of one file by one upload. Rejects for what concerns all of them; what becomes of each op_key is
 * told apart.
 * @param {Steps} client
 * @param {Blob} file
 * @param {string[]} opKeys
 * @param {ProcessAllOptions} options
 * @returns {Promise<BatchOutcome[]>} in the order of opKeys
 */
export async function processAll(client, file, opKeys, { onStage, wantsPersist = false, teamId, filename, signal }) {
  const timings = new Timings();
  const { claim, meta } = await examined(client, file, timings, { onStage, wantsPersist, teamId, filename, signal });
  const { items } = await timings.of("intake", client.batch({ ...claim, op_keys: opKeys }, { signal }));
  const misses = items.flatMap(({ answer }) => (answer && !answer.cached ? [answer] : []));
  try {
    // Mostly one; a job that was under way before may wait for an upload of its own.
    const uploads = new Map(misses.filter((miss) => miss.upload_url).map((miss) => [miss.upload_path, miss]));
    for (const miss of uploads.values()) await send(client, miss, file, meta, timings, { onStage, signal });
  } catch (error) {
    if (signal?.aborted) cancelAll(client, misses);
    throw error;
  }
  const outcomes = await Promise.all(
    items.map(async ({ op_key, answer, problem }) => {
      try {
        if (!answer) throw new DarkroomError(/** @type {Problem} */ (problem), { source: "api" });
        const own = new Timings(timings.taken, timings.started);
        const ended = answer.cached
          ? answer
          : await follow(client, answer, own, { onStage: (stage) => onStage?.({ ...stage, op_key }), signal });
        const result = resultOf(answer.cached, ended, claim.sha256, meta, own);
        onStage?.({ stage: "done", result, op_key });
        return { op_key, result };
      } catch (error) {
        if (!(error instanceof DarkroomError)) throw error;
        return { op_key, error };
      }
    }),
  ).catch((error) => {
    if (signal?.aborted) cancelAll(client, misses);
    throw error;
  });
  return outcomes;
}

/** They would expire by themselves. @param {Steps} client @param {IntakeMiss[]} misses */
function cancelAll(client, misses) {
  for (const { job_id } of misses) client.cancel(job_id).catch(() => {});
}

/**
 * What a claim says of a file, by the file itself.
 * @param {Steps} client
 * @param {Blob} file
 * @param {Timings} timings
 * @param {ProcessOptions} options
 */
async function examined(client, file, timings, { onStage, wantsPersist = false, teamId, filename, signal }) {
  const { limits } = await client.ops();
  const meta = await timings.of("precheck", client.precheck(file, { limits, signal }));
  onStage?.({ stage: "precheck", meta });
  const sha256 = await timings.of(
    "hash",
    client.hash(file, { onProgress: (progress) => onStage?.({ stage: "hash", progress }), signal }),
  );
  onStage?.({ stage: "hash", progress: 1, sha256 });
  onStage?.({ stage: "intake" });
  const claim = {
    sha256,
    filename: label(filename || /** @type {File} */ (file).name),
    wants_persist: wantsPersist,
    ...(teamId && { team_id: teamId }),
    ...meta,
  };
  return { claim, meta };
}

/**
 * @param {boolean} cached @param {IntakeHit|JobDocument} ended @param {string} sha256
 * @param {ImageMeta} meta @param {Timings} timings
 * @returns {ProcessResult}
 */
function resultOf(cached, ended, sha256, meta, timings) {
  const { job_id, op_key, output_urls, thumbnail_url, output, expires_at, charged } = ended;
  timings.taken.total = performance.now() - timings.started;
  return {
    cached,
    job_id,
    op_key,
    sha256,
    meta,
    output_urls,
    thumbnail_url,
    output,
    expires_at,
    charged,
    timings: timings.taken,
  };
}

/** A name that the API takes. @param {string|undefined} name */
const label = (name) =>
  (name ?? "")
    .replace(/[\x00-\x1f\x7f]/g, " ")
    .trim()
    .slice(-255) || "image";

/**
 * Uploads where wanted, and says so.
 * @param {Steps} client
 * @param {IntakeMiss} answer
 * @param {Blob} file
 * @param {ImageMeta} meta
 * @param {Timings} timings @param {Pick<ProcessOptions, "onStage"|"signal">} options
 */
async function send(client, answer, file, meta, timings, { onStage, signal }) {
  if (answer.upload_url && answer.status === "awaiting_upload") {
    onStage?.({ stage: "upload", progress: 0, method: "put" });
    await timings.of(
      "upload",
      client.upload(answer, file, {
        contentType: meta.content_type,
        onProgress: (progress, method) => onStage?.({ stage: "upload", progress, method }),
        signal,
      }),
    );
    await client.uploaded(answer.job_id, { signal }).catch((error) => {
      signal?.throwIfAborted(); // else harmless: the storage tells Darkroom by itself, and watch() sees what is wrong
      if (!(error instanceof DarkroomError)) throw error;
    });
  }
}

/**
 * Waits for the end of a job.
 * @param {Steps} client
 * @param {IntakeMiss} answer
 * @param {Timings} timings @param {Pick<ProcessOptions, "onStage"|"signal">} options
 * @returns {Promise<JobDocument>} done
 */
async function follow(client, answer, timings, { onStage, signal }) {
  const waiting = performance.now();
  const ended = await client.watch(answer.job_id, {
    signal,
    onEvent: (job) => {
      if (job.status === "queued" || job.status === "awaiting_upload")
        onStage?.({
          stage: "queued",
          ahead: job.ahead,
          expected_start_at: job.expected_start_at,
          waiting_for: job.waiting_for,
          job,
        });
      if (job.status !== "running") return;
      timings.taken.queue ??= performance.now() - waiting;
      onStage?.({ stage: "running", progress: job.progress, step: job.step, job });
    },
  });
  timings.taken.run = performance.now() - waiting - (timings.taken.queue ?? 0);
  if (ended.status === "done") return ended;
  const detail = `The job ended as ${ended.status}.`;
  throw new DarkroomError(
    ended.error ?? { code: `job_${ended.status}`, detail, retryable: ended.status === "expired" },
    { source: "job" },
  );
}
