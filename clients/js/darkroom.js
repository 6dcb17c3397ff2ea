/**
 * darkroom.js: the browser client of Darkroom, an ES module without a build step.
 *
 *   import { createDarkroom } from "./darkroom.js";
 *   const darkroom = createDarkroom({ apiUrl: "https://images.example.com" });
 *   const result = await darkroom.process(file, "bgremove-v2+flatten-v1:color-white", {
 *     onStage: (stage) => console.log(stage.stage, stage),
 *   });
 *   img.src = result.output_urls[0];
 *
 * It runs in every current browser and, without the worker and canvas parts, in Node 22 and later. Fields that travel
 * over the wire keep their wire names (`job_id`, `output_urls`); what exists only here is camelCase. Every failure is
 * a {@link DarkroomError}; every call that waits takes an `AbortSignal` and rejects with its reason when aborted.
 *
 * This file is the whole public face; the modules in `darkroom/` are its rooms. Two libraries do what a library does
 * better and are loaded only when needed: hash-wasm (streaming SHA-256 of large files) and tus-js-client (resumable
 * uploads). Beside the playground they are in `vendor/`; a bundled frontend passes its own npm copies as `modules`.
 *
 * @module darkroom
 */
/**
 * @import {
 *   BatchAnswer, BatchOutcome, BatchRequest, Catalogue, DarkroomOptions, HashOptions, ImageMeta, IntakeAnswer,
 *   InputDocument, IntakeMiss, IntakeRequest, JobDocument, KeptInput, LocalResult, Modules, PrecheckOptions,
 *   ProcessAllOptions, ProcessOptions, ProcessResult, UploadOptions, WaitOptions, WatchOptions
 * } from "./darkroom/types.js"
 */
import { createAccount } from "./darkroom/account.js";
import { sha256 } from "./darkroom/hash.js";
import { createHttp } from "./darkroom/http.js";
import { createLibrary } from "./darkroom/library.js";
import { canDraw, drawLocally } from "./darkroom/local.js";
import { beside, IN_NODE } from "./darkroom/platform.js";
import { examine } from "./darkroom/precheck.js";
import { processAll, processFile } from "./darkroom/process.js";
import { createTeams } from "./darkroom/teams.js";
import { uploadFile } from "./darkroom/upload.js";
import { jobPath, watchJob } from "./darkroom/watch.js";

export { DarkroomError } from "./darkroom/errors.js";
export { HASH_THRESHOLD, serveHash } from "./darkroom/hash.js";
export { LOCAL_MAX_SIDE } from "./darkroom/local.js";
export { buildOpKey, parseOpKey } from "./darkroom/opkey.js";
export { DEFAULT_LIMITS } from "./darkroom/precheck.js";
export { TUS_THRESHOLD } from "./darkroom/upload.js";

/**
 * A client of one Darkroom. It holds no connection open, and there is nothing to close.
 * @param {DarkroomOptions} options
 */
export function createDarkroom(options) {
  const { modules = {} } = options;
  const http = createHttp(options);
  const loadTus = once(() => findTus(modules));
  const client = {
    /**
     * What the server can do, and its limits. Fetched once; a failure is not remembered.
     * @type {() => Promise<Catalogue>}
     */
    ops: once(() => http.json("/ops")),

    /**
     * SHA-256 of a file, 64 hex digits: by WebCrypto up to 8 MiB, streamed through hash-wasm in a Web Worker above.
     * @param {Blob} file
     * @param {HashOptions} [options]
     * @returns {Promise<string>}
     */
    hash: (file, options) => sha256(file, { ...options, modules }),

    /**
     * Refuses early what the server would refuse: type by magic bytes, size, dimensions by the header. Nothing is
     * decoded. Throws `unsupported_type`, `too_large`, `too_many_pixels` or `corrupt_image`.
     * @param {Blob} file
     * @param {PrecheckOptions} [options]
     * @returns {Promise<ImageMeta>}
     */
    precheck: (file, options) => examine(file, options),

    /**
     * Keeps what an op takes that is too long for its key, as brush strokes: its `digest` stands in the op_key from
     * then on, `bgremove-v2:strokes-{digest}`. The same document twice is kept once.
     * @param {InputDocument} document
     * @param {WaitOptions} [options]
     * @returns {Promise<KeptInput>}
     */
    keepInput: (document, { signal } = {}) =>
      http.json("/inputs", { method: "POST", body: JSON.stringify(document), signal }),

    /**
     * A document that was kept, as to draw its strokes again. Throws `input_not_found`.
     * @param {string} digest
     * @param {WaitOptions} [options]
     * @returns {Promise<KeptInput>}
     */
    input: (digest, { signal } = {}) => http.json(`/inputs/${encodeURIComponent(digest)}`, { signal }),

    /**
     * Asks for a result: it exists (`cached: true`), or there is a job now and perhaps an upload to make.
     * Safe to repeat: a signed-in caller gets the same unfinished job again.
     * @param {IntakeRequest} request
     * @param {WaitOptions} [options]
     * @returns {Promise<IntakeAnswer>}
     */
    intake: (request, { signal } = {}) =>
      http.json("/intake", { method: "POST", body: JSON.stringify(request), signal }),

    /**
     * Asks for up to eight results of one file: for each op_key an answer as of `intake`, or a problem. Jobs that wait
     * for the file share one upload: send it once for each `upload_path`. Credits are held for all or for none.
     * @param {BatchRequest} request
     * @param {WaitOptions} [options]
     * @returns {Promise<BatchAnswer>}
     */
    batch: (request, { signal } = {}) =>
      http.json("/intake/batch", { method: "POST", body: JSON.stringify(request), signal }),

    /**
     * Sends the bytes straight to the storage: one PUT, or TUS above 6 MiB, which survives a broken connection and
     * even a reload of the page. Does not tell Darkroom; `uploaded` does.
     * @param {IntakeMiss} answer of `intake`
     * @param {Blob} file
     * @param {UploadOptions} [options]
     * @returns {Promise<{method: "put"|"tus"}>}
     */
    upload: (answer, file, options = {}) => uploadFile(http, loadTus, answer, file, options),

    /**
     * Says that the upload is complete, so that the job starts at once. Without it the job starts a little later.
     * @param {string} jobId
     * @param {WaitOptions} [options]
     * @returns {Promise<JobDocument>}
     */
    uploaded: (jobId, { signal } = {}) => http.json(`${jobPath(jobId)}/uploaded`, { method: "POST", signal }),

    /**
     * The job as it is now.
     * @param {string} jobId
     * @param {WaitOptions} [options]
     * @returns {Promise<JobDocument>}
     */
    job: (jobId, { signal } = {}) => http.json(jobPath(jobId), { signal }),

    /**
     * Follows a job to its end: by server-sent events, and by polling where those do not get through. Resolves to the
     * job in its terminal status, whichever that is.
     * @param {string} jobId
     * @param {WatchOptions} [options]
     * @returns {Promise<JobDocument>}
     */
    watch: (jobId, options = {}) => watchJob(http, jobId, options),

    /**
     * Cancels a job; it costs nothing then. Throws 409 when it has ended already.
     * @param {string} jobId
     * @param {WaitOptions} [options]
     * @returns {Promise<JobDocument>}
     */
    cancel: (jobId, { signal } = {}) => http.json(jobPath(jobId), { method: "DELETE", signal }),

    /**
     * Whether `local` can do this: resize and convert of pictures up to 2048 pixels a side that browsers decode.
     * @param {string} opKey
     * @param {Pick<ImageMeta, "content_type"|"width"|"height">} meta of `precheck`
     * @returns {boolean}
     */
    canRunLocally: canDraw,

    /**
     * A small op on the client: nothing is sent, nothing stored. Orientation is baked in, EXIF and GPS are gone;
     * pixels may differ from the server's by the browser's own resampling and encoder. Throws `not_local` when it
     * cannot. `convert-v1` alone strips the metadata.
     * @param {Blob} file
     * @param {string} opKey e.g. `resize-v1:width-800+convert-v1:format-jpeg`
     * @param {WaitOptions} [options]
     * @returns {Promise<LocalResult>}
     */
    local: (file, opKey, { signal } = {}) => drawLocally(file, opKey, signal),
  };
  return {
    ...client,

    // What the signed-in user keeps: images(), image(id), rerun(), promote(), collections(), share() …
    ...createLibrary(http),

    // … and what they have: apiKeys(), createApiKey() …
    ...createAccount(http),

    // … and whom they share with: teams(), invite() …
    ...createTeams(http),

    /**
     * The whole: precheck, hash, intake, upload, wait. Throws a DarkroomError when any of it is refused or the job
     * fails, and `signal.reason` when aborted; the server's job is cancelled then.
     * @param {Blob} file
     * @param {string} opKey e.g. `bgremove-v2+flatten-v1:color-white`
     * @param {ProcessOptions} [options]
     * @returns {Promise<ProcessResult>}
     */
    process: (file, opKey, options = {}) => processFile(client, file, opKey, options),

    /**
     * Several results of one file by one upload: a catalogue from a product photo. Throws a DarkroomError for what
     * concerns all of them, and `signal.reason` when aborted; what becomes of each op_key is told apart.
     * @param {Blob} file
     * @param {string[]} opKeys up to eight
     * @param {ProcessAllOptions} [options]
     * @returns {Promise<BatchOutcome[]>} in the order of opKeys
     */
    processAll: (file, opKeys, options = {}) => processAll(client, file, opKeys, options),
  };
}

/** @typedef {ReturnType<typeof createDarkroom>} Darkroom */

/**
 * Remembers what a successful call gave. @template T @param {() => Promise<T>} call @returns {() => Promise<T>}
 */
function once(call) {
  /** @type {Promise<T>|null} */
  let result = null;
  return () => {
    result ??= call().catch((error) => {
      result = null;
      throw error;
    });
    return result;
  };
}

/**
 * tus-js-client, or null where there is none: a plain PUT does then.
 * @param {Modules} modules
 * @returns {Promise<any>}
 */
async function findTus(modules) {
  if (!modules.tus && IN_NODE) return null;
  const vendored = beside(import.meta.url, "vendor/tus.js");
  const load =
    modules.tus ??
    (() => import(/* webpackIgnore: true */ /* turbopackIgnore: true */ /* @vite-ignore */ vendored));
  const module = await load().catch(() => null);
  return module?.Upload ? module : (module?.default ?? /** @type {any} */ (globalThis).tus ?? null);
}
