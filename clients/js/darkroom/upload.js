/** @import { HashOptions, IntakeMiss, UploadOptions } from "./types.js" */
/** @import { Http } from "./http.js" */
import { DarkroomError, networkError, refuse } from "./errors.js";
import { IN_NODE, MIB, nodeBuffer } from "./platform.js";
import { backoff, pause } from "./time.js";

/** Above this a plain PUT gives way to TUS. Supabase also demands exactly this size of every TUS chunk but the last. */
export const TUS_THRESHOLD = 6 * MIB;
const PUT_ATTEMPTS = 4;

/** @typedef {{status: number, text: string}} RawAnswer */

/**
 * @param {Http} http @param {() => Promise<any>} loadTus resolves to tus-js-client or null
 * @param {IntakeMiss} answer @param {Blob} file @param {UploadOptions} options
 * @returns {Promise<{method: "put"|"tus"}>}
 */
export async function uploadFile(
  http,
  loadTus,
  answer,
  file,
  { contentType = file.type, onProgress, signal },
) {
  const type = contentType || "application/octet-stream";
  if (!answer.upload_url) throw refuse("nothing_to_upload", "This job wants no upload.");
  const tus = file.size > TUS_THRESHOLD && answer.resumable_url ? await loadTus() : null;
  if (tus) {
    await uploadByTus(tus, answer, file, type, {
      onProgress: (fraction) => onProgress?.(fraction, "tus"),
      signal,
    });
    return { method: "tus" };
  }
  const put = typeof XMLHttpRequest === "function" ? putByXhr : putByFetch.bind(null, http);
  for (let attempt = 1; ; attempt++) {
    try {
      const raw = await put(answer.upload_url, file, type, {
        onProgress: (fraction) => onProgress?.(fraction, "put"),
        signal,
      });
      const refused = storageError(raw);
      if (refused) throw refused;
      onProgress?.(1, "put");
      return { method: "put" };
    } catch (error) {
      // a repeated PUT is harmless: upsert is off
      signal?.throwIfAborted();
      if (!(error instanceof DarkroomError) || !error.retryable || attempt === PUT_ATTEMPTS) throw error;
      await pause(backoff(attempt), signal);
    }
  }
}

/**
 * By XMLHttpRequest, since fetch reports no progress of an upload.
 * @param {string} url @param {Blob} file @param {string} type @param {HashOptions} options
 * @returns {Promise<RawAnswer>}
 */
function putByXhr(url, file, type, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const xhr = new XMLHttpRequest();
    const abort = () => xhr.abort();
    signal?.addEventListener("abort", abort, { once: true });
    xhr.open("PUT", url);
    xhr.setRequestHeader("Content-Type", type);
    xhr.upload.onprogress = ({ loaded, total }) => onProgress?.(total ? loaded / total : 0);
    xhr.onload = () => resolve({ status: xhr.status, text: xhr.responseText });
    xhr.onerror = () => reject(networkError(undefined, "The storage"));
    xhr.onabort = () => reject(signal?.reason);
    xhr.onloadend = () => signal?.removeEventListener("abort", abort);
    xhr.send(file);
  });
}

/**
 * @param {Http} http
 * @param {string} url
 * @param {Blob} file
 * @param {string} type
 * @param {HashOptions} options
 * @returns {Promise<RawAnswer>}
 */
async function putByFetch(http, url, file, type, { signal }) {
  const init = { method: "PUT", body: file, headers: { "Content-Type": type }, signal };
  const response = await http.fetch(url, init).catch((cause) => {
    signal?.throwIfAborted();
    throw networkError(cause, "The storage");
  });
  return { status: response.status, text: await response.text() };
}

/** @param {RawAnswer} answer @returns {DarkroomError|null} null when the bytes are there */
function storageError({ status, text }) {
  if (status >= 200 && status < 300) return null;
  /** @type {{statusCode?: string, error?: string, message?: string}} */
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    /* not every proxy answers in JSON */
  }
  const real = Number(body.statusCode) || status; // Supabase Storage says 400 and means the code inside
  if (real === 409) return null; // already uploaded: an earlier try arrived although its answer did not
  const expired = /jwt|signature/i.test(`${body.error} ${body.message}`);
  return new DarkroomError(
    {
      code: real === 413 ? "too_large" : expired ? "upload_expired" : "upload_failed",
      status: real,
      detail: `The storage refused the upload: ${body.message ?? `HTTP ${status}`}.`,
      retryable: status === 429 || status >= 500,
    },
    { source: "storage" },
  );
}

/**
 * Resumes by itself after a broken connection, and after a reload of the page.
 * @param {any} tus
 * @param {IntakeMiss} answer
 * @param {Blob} file
 * @param {string} type
 * @param {HashOptions} options
 * @returns {Promise<void>}
 */
async function uploadByTus(tus, answer, file, type, { onProgress, signal }) {
  signal?.throwIfAborted();
  const source = IN_NODE ? nodeBuffer(await file.arrayBuffer()) : file;
  /** @type {PromiseWithResolvers<void>} */
  const { promise, resolve, reject } = Promise.withResolvers();
  const upload = new tus.Upload(source, {
    endpoint: answer.resumable_url,
    headers: { "x-signature": answer.upload_token },
    metadata: { bucketName: answer.upload_bucket, objectName: answer.upload_path, contentType: type },
    chunkSize: TUS_THRESHOLD,
    retryDelays: [0, 500, 1000, 2000, 4000, 8000, 16000], // begins anew whenever bytes have got through
    fingerprint: async () => `darkroom-${answer.job_id}-${file.size}`,
    removeFingerprintOnSuccess: true,
    onShouldRetry: mayRetry,
    onProgress: (/** @type {number} */ sent, /** @type {number} */ total) =>
      onProgress?.(total ? sent / total : 0),
    onSuccess: resolve,
    onError: (/** @type {any} */ error) => {
      const status = statusOf(error);
      if (status === 0 && globalThis.navigator?.onLine === false) {
        addEventListener("online", start, { once: true });
        return;
      }
      const refused = status
        ? storageError({ status, text: error.originalResponse.getBody() ?? "" })
        : networkError(error, "The storage");
      if (refused) reject(refused);
      else resolve();
    },
  });
  const start = () => {
    if (!signal?.aborted) upload.start();
  };
  const abort = () => {
    void upload.abort();
    reject(signal?.reason);
  };
  signal?.addEventListener("abort", abort, { once: true });
  const [previous] = await upload.findPreviousUploads();
  if (previous) upload.resumeFromPreviousUpload(previous);
  start();
  await promise.finally(() => signal?.removeEventListener("abort", abort));
}

/** @param {any} error of tus-js-client @returns {number} 0 when no answer came */
const statusOf = (error) => error.originalResponse?.getStatus() ?? 0;

/**
 * A 409 to PATCH is an offset to ask for again; a 409 to POST is an object that exists.
 * @param {any} error
 */
function mayRetry(error) {
  const status = statusOf(error);
  return (
    status === 0 ||
    status >= 500 ||
    status === 423 ||
    status === 429 ||
    (status === 409 && error.originalRequest.getMethod() === "PATCH")
  );
}
