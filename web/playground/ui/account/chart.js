/** A month of days as bars. */
/** @import { UsageDay } from "../../darkroom/account-types.js" */
import { draw, make } from "../dom.js";
import { shortDay } from "./words.js";

const [WIDTH, HEIGHT] = [720, 140];
const DAY_MS = 86_400_000;

/** @param {string} from @param {string} to @returns {string[]} both included */
function daysBetween(from, to) {
  const [first, last] = [Date.parse(from), Date.parse(to)];
  return Array.from({ length: Math.round((last - first) / DAY_MS) + 1 }, (_, index) =>
    new Date(first + index * DAY_MS).toISOString().slice(0, 10),
  );
}

/**
 * Pictures by day: made, and from the cache on top of them.
 * @param {{from: string, to: string, days: UsageDay[]}} usage
 */
export function chart({ from, to, days }) {
  const known = new Map(days.map((day) => [day.day, day]));
  const all = daysBetween(from, to).map((day) => ({
    day,
    made: known.get(day)?.generations ?? 0,
    hits: known.get(day)?.cache_hits ?? 0,
  }));
  const most = Math.max(4, ...all.map(({ made, hits }) => made + hits));
  const step = WIDTH / all.length;
  const height = (/** @type {number} */ count) => (count / most) * (HEIGHT - 12);
  /** @param {number} index @param {number} base @param {number} count @param {string} kind */
  const bar = (index, base, count, kind) =>
    draw("rect", {
      class: kind,
      x: (index * step + step * 0.16).toFixed(1),
      y: (HEIGHT - height(base + count)).toFixed(1),
      width: (step * 0.68).toFixed(1),
      height: height(count).toFixed(1),
    });
  const line = (/** @type {number} */ y, /** @type {string} */ kind) =>
    draw("line", { x1: 0, x2: WIDTH, y1: y, y2: y, class: kind, "vector-effect": "non-scaling-stroke" });
  const total = (/** @type {"made"|"hits"} */ what) => all.reduce((sum, day) => sum + day[what], 0);
  const drawing = draw(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      class: "chart",
      role: "img",
      "aria-label": `Pictures by day from ${shortDay(from)} to ${shortDay(to)}: ${total("made")} made, ${total("hits")} from the cache.`,
    },
    ...[0.5, 1].map((part) => line(HEIGHT - height(most * part), "grid")),
    line(HEIGHT, "axis"),
    ...all.flatMap(({ day, made, hits }, index) =>
      made + hits === 0
        ? []
        : [
            draw(
              "g",
              {},
              draw("title", {}, `${shortDay(day)}: ${made} made, ${hits} from the cache`),
              bar(index, 0, made, "bar-made"),
              bar(index, made, hits, "bar-hits"),
            ),
          ],
    ),
  );
  return make(
    "figure",
    { className: "days" },
    make("p", { className: "hint most" }, String(most)),
    drawing,
    make(
      "p",
      { className: "hint span" },
      make("span", {}, shortDay(from)),
      make("span", { className: "key-made" }, "made"),
      make("span", { className: "key-hits" }, "from the cache"),
      make("span", {}, shortDay(to)),
    ),
  );
}
