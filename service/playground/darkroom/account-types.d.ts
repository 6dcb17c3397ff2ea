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
