/**
 * Waits, but not past an abort.
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/**
 * Exponential, with jitter so that many clients do not return together.
 * @param {number} attempt from 1
 */
export const backoff = (attempt) => Math.min(500 * 2 ** (attempt - 1), 15_000) * (0.5 + Math.random() / 2);
