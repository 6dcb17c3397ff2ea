/** Money, quotas and times in words. */

/** @param {number|null} cents @param {string} currency ISO 4217 */
export function price(cents, currency) {
  if (cents === null) return "By agreement";
  if (cents === 0) return "Free";
  return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(cents / 100);
}

/** @param {number} count */
export const credits = (count) => `${count.toLocaleString()} ${count === 1 ? "credit" : "credits"}`;

/** @param {number} bytes in units of a thousand, as plans count */
export function storage(bytes) {
  const [size, unit] = bytes < 1e9 ? [bytes / 1e6, "MB"] : [bytes / 1e9, "GB"];
  return `${size.toLocaleString(undefined, { maximumSignificantDigits: 3 })} ${unit}`;
}

/** @param {string} time ISO 8601 */
export const day = (time) => new Date(time).toLocaleDateString(undefined, { dateStyle: "medium" });

/** @param {string} date YYYY-MM-DD, of UTC */
export const shortDay = (date) =>
  new Date(`${date}T00:00:00Z`).toLocaleDateString(undefined, {
    day: "numeric",
    month: "short",
    timeZone: "UTC",
  });

/** What a quota counts, by its policy. @type {Record<string, string>} */
export const POLICY = {
  generations_per_day: "Pictures today",
  generations_per_month: "Pictures this month",
  high_res_exports_per_month: "High-resolution exports this month",
  failures_per_day: "Failures of yours today",
  storage_bytes: "Storage",
};

/** Where credits came from. @type {Record<string, string>} */
export const SOURCE = {
  signup_grant: "of your sign-up",
  subscription: "of your plan",
  purchase: "bought",
  admin_grant: "given",
  refund: "given back",
};
