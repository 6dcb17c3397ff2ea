/** @import { ImageMeta, IntakeAnswer, IntakeHit, IntakeMiss, JobDocument, ProcessOptions, ProcessResult } from "./types.js" */
/** @import { Darkroom } from "../darkroom.js" */
/** @typedef {Pick<Darkroom, "ops"|"precheck"|"hash"|"intake"|"upload"|"uploaded"|"watch"|"cancel">} Steps */
import { DarkroomError } from "./errors.js";

/** Milliseconds by stage. */
class Timings {
  /** @type {Record<string, number>} */
  taken = {};
  started = performance.now();

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
  const { limits } = await client.ops();
  const meta = await timings.of("precheck", client.precheck(file, { limits, signal }));
  onStage?.({ stage: "precheck", meta });
  const sha256 = await timings.of(
    "hash",
    client.hash(file, { onProgress: (progress) => onStage?.({ stage: "hash", progress }), signal }),
  );
  onStage?.({ stage: "hash", progress: 1, sha256 });
  onStage?.({ stage: "intake" });
  const request = {
    sha256,
    filename: label(filename || /** @type {File} */ (file).name),
    op_key: opKey,
    wants_persist: wantsPersist,
    ...(teamId && { team_id: teamId }),
    ...(quoteId && { quote_id: quoteId }),
    ...meta,
  };
  const answer = await timings.of("intake", client.intake(request, { signal }));
  onStage?.({ stage: "intake", answer });
  try {
    const ended = answer.cached
      ? answer
      : await runJob(client, answer, file, meta, timings, { onStage, signal });
    const { job_id, op_key, output_urls, thumbnail_url, output, expires_at, charged } = ended;
    timings.taken.total = performance.now() - timings.started;
    const result = {
      cached: answer.cached,
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
    onStage?.({ stage: "done", result });
    return result;
  } catch (error) {
    if (signal?.aborted && answer.job_id) client.cancel(answer.job_id).catch(() => {}); // else it expires by itself
    throw error;
  }
}

/** A name that the API takes. @param {string|undefined} name */
const label = (name) =>
  (name ?? "")
    .replace(/[\x00-\x1f\x7f]/g, " ")
    .trim()
    .slice(-255) || "image";

/**
 * Uploads where wanted and waits for the end.
 * @param {Steps} client
 * @param {IntakeMiss} answer
 * @param {Blob} file
 * @param {ImageMeta} meta
 * @param {Timings} timings @param {Pick<ProcessOptions, "onStage"|"signal">} options
 * @returns {Promise<JobDocument>} done
 */
async function runJob(client, answer, file, meta, timings, { onStage, signal }) {
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
  const waiting = performance.now();
  const ended = await client.watch(answer.job_id, {
    signal,
    onEvent: (job) => {
      if (job.status === "queued" || job.status === "awaiting_upload")
        onStage?.({ stage: "queued", queue_position: job.queue_position, job });
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
