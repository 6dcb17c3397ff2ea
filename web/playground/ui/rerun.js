/** Other operations on an original that is kept: what they would cost, and their jobs followed to the end. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { ImageDocument } from "../darkroom/types.js" */
import { credits } from "./account/words.js";
import { ask } from "./dialogs.js";

/**
 * Names the price and asks, where there is one.
 * @param {Darkroom} darkroom
 * @param {ImageDocument} image
 * @param {string[]} keys
 * @returns {Promise<boolean>} whether to go on
 */
export async function affordable(darkroom, { sha256, width, height }, keys) {
  // An op that cannot be quoted is refused by itself, beside the others.
  const quotes = await Promise.allSettled(
    keys.map((op_key) => darkroom.quote({ op_key, sha256, width, height })),
  );
  const price = quotes.reduce((sum, quote) => sum + (quote.status === "fulfilled" ? quote.value.price : 0), 0);
  if (price === 0) return true;
  const { balance } = await darkroom.balance();
  return ask(`Spend ${credits(price)}?`, `You have ${credits(balance)}. What fails costs nothing.`, "Run");
}

/**
 * Names the price of keeping a result, and asks, where the plan has one.
 * @param {Darkroom} darkroom
 * @returns {Promise<boolean>} whether to go on
 */
export async function worthKeeping(darkroom) {
  const { plan, credits: balance } = await darkroom.me();
  if (plan.promote_price === 0) return true;
  return ask(`Spend ${credits(plan.promote_price)}?`, `You have ${credits(balance)}. It is paid once.`, "Keep it");
}

/**
 * @param {Darkroom} darkroom
 * @param {ImageDocument} image
 * @param {string[]} keys
 * @param {{signal: AbortSignal, tell: (text: string) => void}} how
 * @returns {Promise<{made: string[], failures: string[]}>} output ids; sentences
 */
export async function rerun(darkroom, { image_id }, keys, { signal, tell }) {
  tell("Starting…");
  const results = await darkroom.rerun(image_id, keys);
  const ends = await Promise.all(
    results.map(async ({ op_key, answer, error }) => {
      if (!answer) return { error, output: null };
      if (answer.cached) return { error: null, output: answer.output };
      const job = await darkroom.watch(answer.job_id, {
        signal,
        onEvent: ({ status, progress }) =>
          tell(status === "running" ? `${op_key}: ${Math.round(progress * 100)} %` : `${op_key}: ${status}`),
      });
      return { error: job.error, output: job.output };
    }),
  );
  return {
    made: ends.flatMap(({ output }) => (output ? [output.output_id] : [])),
    failures: ends.flatMap(({ error }) => (error ? [error.detail] : [])),
  };
}
