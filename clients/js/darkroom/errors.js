/** @import { Problem } from "./types.js" */

/** The one error of this module: a problem document as an `Error`. */
export class DarkroomError extends Error {
  /**
   * @param {Partial<Problem> & {code: string, detail: string}} problem
   * @param {{source?: "client"|"api"|"storage"|"network"|"job", cause?: unknown, retryAfter?: number|null}} [extra]
   */
  constructor(problem, { source = "client", cause, retryAfter = null } = {}) {
    super(problem.detail, { cause });
    this.name = "DarkroomError";
    /** @type {Problem} */
    this.problem = {
      type: "about:blank",
      title: problem.code.replaceAll("_", " "),
      status: 0,
      retryable: false,
      charged: 0,
      request_id: null,
      ...problem,
    };
    /** Who refused: this module, the API, the storage, the network, or the worker that ran the job. */
    this.source = source;
    /** Seconds to wait before another try, where the server said so. @type {number|null} */
    this.retryAfter = retryAfter;
  }
  get code() {
    return this.problem.code;
  }
  get status() {
    return this.problem.status;
  }
  get detail() {
    return this.problem.detail;
  }
  get retryable() {
    return this.problem.retryable;
  }
}

/** @param {string} code @param {string} detail @param {number} [status] */
export const refuse = (code, detail, status = 0) => new DarkroomError({ code, detail, status });

/** @param {unknown} cause @param {string} what */
export const networkError = (cause, what) =>
  new DarkroomError(
    {
      code: "network",
      title: "Network error",
      detail: `${what} could not be reached. Check the connection.`,
      retryable: true,
    },
    { source: "network", cause },
  );
