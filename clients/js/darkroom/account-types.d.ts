/** What an account has: keys, credits, plan, usage. Times are ISO 8601, money in the currency's smallest unit. */

export type Scope = "intake" | "jobs:read" | "library:read" | "library:write" | "usage:read";

export interface ApiKeyRequest {
  /** For its owner's eyes. */
  name: string;
  scopes: Scope[];
  /** null: until it is revoked. */
  expires_at?: string | null;
  /** Requests a minute; null: what user and address may. */
  rate_per_minute?: number | null;
  /** Credits in a UTC month; null: all there are. */
  spend_cap?: number | null;
}

export interface ApiKey {
  key_id: string;
  name: string;
  /** How the key begins. */
  prefix: string;
  scopes: Scope[];
  status: "active" | "revoked" | "expired";
  rate_per_minute: number | null;
  spend_cap: number | null;
  /** Credits in this UTC month, until `resets_at`. */
  spent: number;
  resets_at: string;
  created_at: string;
  expires_at: string | null;
  rotated_at: string | null;
  /** Until when the secret before this one works, too. */
  overlap_ends_at: string | null;
  last_used_at: string | null;
  revoked_at: string | null;
}

export interface NewApiKey extends ApiKey {
  /** Told this once. */
  key: string;
}

/** What a plan costs and allows; null is unlimited, of `price_cents` by agreement. */
export interface PlanOffer {
  id: string;
  name: string;
  /** More is an upgrade. */
  rank: number;
  description: string;
  /** Lines for a page of prices. */
  features: string[];
  /** A month, in hundredths of the currency. */
  price_cents: number | null;
  /** ISO 4217, lower case. */
  currency: string;
  /** Whether it can be bought online. */
  on_sale: boolean;
  monthly_credits: number;
  generations_per_day: number | null;
  storage_bytes: number | null;
  api_access: boolean;
  persistent: boolean;
  seats: number;
}

export interface QuoteRequest {
  op_key: string;
  /** With `size`, `width` and `height` it tells whether the result is there already. */
  sha256?: string;
  /** Bytes. */
  size?: number;
  width?: number;
  height?: number;
}

export interface Quote {
  op_key: string;
  /** Credits that it would cost now. */
  price: number;
  cached: boolean;
  job_price: number;
  hit_price: number;
  /** null: nobody knows. */
  expected_seconds: number | null;
  /** For the intake, within ten minutes. */
  quote_id: string;
  expires_at: string;
}

export interface Counts {
  jobs: number;
  generations: number;
  high_res_exports: number;
  /** Jobs that ended by the caller's doing. */
  failures: number;
  cache_hits: number;
  credits: number;
  saved_credits: number;
  /** Millionths of a US dollar. */
  vendor_cost_micros: number;
  saved_vendor_cost_micros: number;
  bytes_stored: number;
  bytes_served: number;
}

export interface UsageDay extends Counts {
  /** A UTC day, YYYY-MM-DD. */
  day: string;
}

export interface Quota {
  policy:
    | "generations_per_day"
    | "generations_per_month"
    | "high_res_exports_per_month"
    | "failures_per_day"
    | "storage_bytes";
  /** null: unlimited. */
  limit: number | null;
  used: number;
  resets_at: string | null;
}

export interface Usage {
  from: string;
  to: string;
  /** Those with any usage, oldest first. */
  days: UsageDay[];
  total: Counts;
  /** Different pictures. */
  designs: number;
  quotas: Quota[];
  library: { read_only: boolean; over_quota_since: string | null; kept_until: string | null };
}

export interface Savings {
  from: string;
  to: string;
  cache_hits: number;
  generations: number;
  /** Of all pictures that were asked for; null: none were. */
  hit_ratio: number | null;
  saved_credits: number;
  saved_vendor_cost_micros: number;
}

/** UTC days, YYYY-MM-DD. */
export interface Period {
  from?: string;
  to?: string;
}

export interface Subscription {
  plan_id: string;
  /** Stripe's: active, past_due, canceled … */
  status: string;
  /** It gives its plan. */
  entitled: boolean;
  current_period_start: string;
  current_period_end: string;
  /** It ends with the period, unless it is resumed. */
  cancel_at_period_end: boolean;
  ended_at: string | null;
  /** A payment has failed: until when the plan holds. */
  grace_until: string | null;
  created_at: string;
}

/** Credits for sale; they do not expire. */
export interface Pack {
  pack_id: string;
  name: string;
  credits: number;
  price_cents: number;
  currency: string;
}

export interface Balance {
  /** Credits that can be spent. */
  balance: number;
  /** Of running jobs; taken from the balance already. */
  held: number;
  /** Paid from the next credits. */
  debt: number;
  /** Soonest first. */
  expiring: { amount: number; expires_at: string }[];
  /** signup_grant, subscription, purchase, admin_grant, refund. */
  by_source: Record<string, number>;
}

/** A change of the balance, or the end of a hold. */
export interface Movement {
  /** signup_grant, subscription, purchase, admin_grant, refund, hold, capture, release, expiry, clawback, debt … */
  reason: string;
  delta: number;
  debt: number;
  balance_after: number;
  /** What it was for. */
  reference: string;
  job_id: string | null;
  created_at: string;
  /** Where the credits came from or went to; they add up to `delta`. */
  grants: { grant_id: number; source: string; reference: string; delta: number; expires_at: string | null }[];
}
