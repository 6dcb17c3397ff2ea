/** @import { Modules } from "./types.js" */
import { DarkroomError, refuse } from "./errors.js";
import { beside, IN_NODE, MIB, nodeModule, readWhole } from "./platform.js";

/** Up to here WebCrypto is quickest, but it needs the whole file in memory; larger files are streamed. */
export const HASH_THRESHOLD = 8 * MIB;

/** @param {ArrayBuffer|Uint8Array} bytes */
const hex = (bytes) =>
  Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * The worker's side of hashing: answers `{file}` with `{progress}`… and `{sha256}`. A worker module of a bundled
 * frontend is `import { createSHA256 } from "hash-wasm"; serveHash(createSHA256);`.
 * @param {() => Promise<{init(): any, update(data: Uint8Array): any, digest(): string}>} createSHA256
 */
export function serveHash(createSHA256) {
  addEventListener("message", async ({ data: { file } }) => {
    try {
      const hasher = await createSHA256();
      hasher.init();
      await readChunks(file, (chunk, progress) => {
        hasher.update(chunk);
        postMessage({ progress });
      });
      postMessage({ sha256: hasher.digest() });
    } catch (error) {
      postMessage({ error: String(error) });
    }
  });
}

/**
 * @param {Blob} file
 * @param {(chunk: Uint8Array, progress: number) => void} take
 * @param {AbortSignal} [signal]
 */
async function readChunks(file, take, signal) {
  const reader = file.stream().getReader();
  let read = 0;
  for (;;) {
    signal?.throwIfAborted();
    const { done, value } = await reader.read();
    if (done) return;
    read += value.byteLength;
    take(value, read / file.size);
  }
}

/** @type {string|null} */
let workerScript = null;

/** @param {Modules} modules @returns {Worker} */
function startHashWorker(modules) {
  if (modules.hashWorker) return modules.hashWorker();
  const url = beside(import.meta.url, "hash-worker.js");
  // A worker's script must be of the page's origin; one that imports it need not be.
  workerScript ??=
    new URL(url).origin === location.origin
      ? url
      : URL.createObjectURL(new Blob([`import ${JSON.stringify(url)};`], { type: "text/javascript" }));
  return new Worker(workerScript, { type: "module", name: "darkroom-hash" });
}

/**
 * @param {Blob} file @param {Modules} modules
 * @param {{onProgress?: (fraction: number) => void, signal?: AbortSignal}} options
 * @returns {Promise<string|null>} null when no worker could be started here
 */
function hashInWorker(file, modules, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    let worker;
    try {
      worker = startHashWorker(modules);
    } catch {
      resolve(null);
      return;
    }
    const end = (/** @type {() => void} */ settle) => {
      worker.terminate();
      signal?.removeEventListener("abort", abort);
      settle();
    };
    const abort = () => end(() => reject(signal?.reason));
    signal?.addEventListener("abort", abort, { once: true });
    worker.onerror = (event) => {
      event.preventDefault?.();
      end(() => resolve(null));
    };
    worker.onmessage = ({ data }) => {
      if (data.progress !== undefined) onProgress?.(data.progress);
      else if (data.sha256) end(() => resolve(data.sha256));
      else if (data.error)
        end(() => reject(refuse("unreadable_file", `The file could not be read: ${data.error}`)));
    };
    worker.postMessage({ file });
  });
}

/**
 * @param {Blob} file
 * @param {{onProgress?: (fraction: number) => void, signal?: AbortSignal, modules?: Modules}} [options]
 * @returns {Promise<string>} 64 hex digits
 */
export async function sha256(file, { onProgress, signal, modules = {} } = {}) {
  signal?.throwIfAborted();
  if (IN_NODE) {
    const hasher = nodeModule("node:crypto").createHash("sha256");
    await readChunks(
      file,
      (chunk, progress) => {
        hasher.update(chunk);
        onProgress?.(progress);
      },
      signal,
    );
    return hasher.digest("hex");
  }
  const subtle = globalThis.crypto?.subtle; // absent on plain http other than localhost
  if (!subtle || file.size > HASH_THRESHOLD) {
    const digest = await hashInWorker(file, modules, { onProgress, signal });
    if (digest) return digest;
    if (!subtle)
      throw refuse(
        "hash_unavailable",
        "This page can compute no SHA-256: it needs https, or the hash worker.",
      );
  }
  const digest = hex(await subtle.digest("SHA-256", await readWhole(file)));
  signal?.throwIfAborted();
  onProgress?.(1);
  return digest;
}
