/** What the order on the bench would cost, told before it is given. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { ImageMeta } from "../darkroom/types.js" */
/** @import { Quote } from "../darkroom/account-types.js" */
import { credits } from "./account/words.js";
import { byId } from "./dom.js";

const SETTLED_MS = 400;

export class Price {
  /** @param {Darkroom} darkroom */
  constructor(darkroom) {
    this.darkroom = darkroom;
    /** @type {Quote|null} of the order as it stands */
    this.quote = null;
    this.order = "";
    this.timer = 0;
    this.asking = new AbortController();
  }

  /**
   * Asks once the order has settled.
   * @param {string} key
   * @param {File|null} file
   * @param {ImageMeta|null} meta null: not an order yet
   */
  of(key, file, meta) {
    const order = file && meta ? `${key}\n${file.name}\n${file.lastModified}\n${file.size}` : "";
    if (order === this.order) return;
    this.forget();
    this.order = order;
    if (order) this.timer = window.setTimeout(() => this.#ask(key, /** @type {File} */ (file), meta), SETTLED_MS);
  }

  /** The next order is asked for, even the same one: what it made is in the cache. */
  forget() {
    this.order = "";
    this.quote = null;
    clearTimeout(this.timer);
    this.asking.abort();
    byId("price").textContent = "";
  }

  /** @param {string} op_key @returns {string|undefined} of the quote that is shown, if it still holds */
  idFor(op_key) {
    const holds = this.quote && this.order.startsWith(`${op_key}\n`) && new Date(this.quote.expires_at) > new Date();
    return holds ? this.quote?.quote_id : undefined;
  }

  /** @param {string} op_key @param {File} file @param {ImageMeta|null} meta */
  async #ask(op_key, file, meta) {
    const { signal } = (this.asking = new AbortController());
    try {
      const sha256 = await this.darkroom.hash(file, { signal });
      const request = { op_key, sha256, size: meta?.size, width: meta?.width, height: meta?.height };
      const quote = await this.darkroom.quote(request, { signal });
      if (signal.aborted) return;
      this.quote = quote;
      byId("price").textContent = inWords(quote);
    } catch {
      // What is wrong with an order is said when it is given.
    }
  }
}

/** @param {Quote} quote */
function inWords({ price, cached, job_price, expected_seconds }) {
  const cost = price ? `Costs ${credits(price)}` : "Costs nothing";
  if (cached) return `${cost}: it is in the cache${job_price > price ? `, instead of ${credits(job_price)}` : ""}.`;
  const seconds = expected_seconds === null ? null : Math.max(1, Math.round(expected_seconds));
  return seconds === null ? `${cost}.` : `${cost}, takes about ${seconds} s.`;
}
