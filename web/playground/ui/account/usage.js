/** What was made lately, what it cost, and what the cache saved. */
/** @import { Darkroom } from "../../darkroom.js" */
/** @import { Quota, Savings, Usage } from "../../darkroom/account-types.js" */
import { explain, when } from "../dialogs.js";
import { byId, make } from "../dom.js";
import { chart } from "./chart.js";
import { day, POLICY, storage } from "./words.js";

const NEARLY = 0.8;

export class UsageCard {
  /** @param {Darkroom} darkroom */
  constructor(darkroom) {
    this.darkroom = darkroom;
    byId("usage-csv").addEventListener("click", () => this.#save());
  }

  /** Somebody else is there. */
  clear() {
    byId("quotas").replaceChildren();
    byId("usage").replaceChildren();
    byId("library-note").hidden = true;
  }

  async load() {
    byId("usage-problem").textContent = "";
    try {
      const [usage, savings] = await Promise.all([this.darkroom.usage(), this.darkroom.savings()]);
      this.#draw(usage, savings);
    } catch (error) {
      byId("usage-problem").textContent = explain(error);
    }
  }

  /** @param {Usage} usage @param {Savings} savings */
  #draw(usage, savings) {
    const { read_only, kept_until } = usage.library;
    byId("library-note").hidden = !read_only;
    byId("library-note").textContent =
      `Your library holds more than your plan allows and takes nothing new. Nothing is deleted${
        kept_until ? ` before ${day(kept_until)}` : ""
      }: make room or choose a larger plan.`;
    byId("quotas").replaceChildren(...usage.quotas.map(quota));
    const { generations, cache_hits, credits } = usage.total;
    const ratio = savings.hit_ratio === null ? "" : `, ${Math.round(savings.hit_ratio * 100)} %`;
    byId("usage").replaceChildren(
      make(
        "dl",
        { className: "figures" },
        figure("Pictures made", generations.toLocaleString()),
        figure("From the cache", `${cache_hits.toLocaleString()}${ratio}`),
        figure("Credits spent", credits.toLocaleString()),
        figure("Credits saved by the cache", savings.saved_credits.toLocaleString()),
      ),
      chart(usage),
    );
  }

  async #save() {
    byId("usage-problem").textContent = "";
    try {
      const url = URL.createObjectURL(await this.darkroom.usageCsv());
      make("a", { href: url, download: "darkroom-usage.csv" }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch (error) {
      byId("usage-problem").textContent = explain(error);
    }
  }
}

/** @param {string} name @param {string} value */
const figure = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));

/** How much of a quota is used. @param {Quota} quota */
function quota({ policy, limit, used, resets_at }) {
  const name = POLICY[policy] ?? policy;
  const amount = (/** @type {number} */ count) =>
    policy === "storage_bytes" ? storage(count) : count.toLocaleString();
  const says =
    limit === null
      ? `${amount(used)}, no limit`
      : limit === 0
        ? "not in this plan"
        : `${amount(used)} of ${amount(limit)}`;
  const part = limit ? used / limit : 0;
  const full = part >= 1 ? "full" : part >= NEARLY ? "nearly" : "";
  return make(
    "li",
    { "data-policy": policy, "data-full": full },
    make("p", {}, make("span", {}, name), " ", make("strong", {}, says)),
    !limit ? "" : make("progress", { max: 1, value: Math.min(1, part), "aria-label": `${name}: ${says}` }),
    resets_at && used > 0 ? make("p", { className: "hint" }, `Begins anew ${when(resets_at)}.`) : "",
  );
}
