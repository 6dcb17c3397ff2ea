/** The documents that Darkroom speaks. Fields that travel over the wire keep their wire names. */

import type { DarkroomError } from "./errors.js";

export type JobStatus = "awaiting_upload" | "queued" | "running" | "done" | "error" | "expired" | "canceled";

/** An RFC 9457 problem document. */
export interface Problem {
  /** URI that names the kind of problem. */
  type: string;
  /** Short, and constant for its kind. */
  title: string;
  /** HTTP status; 0 when no server answered. */
  status: number;
  /** What happened this time, for a person. */
  detail: string;
  /** Stable machine name, e.g. `too_large`. */
  code: string;
  /** Whether the same request may succeed later. */
  retryable: boolean;
  /** Credits that this failure cost. */
  charged: number;
  /** Quote it when asking for help. */
  request_id: string | null;
  /** Of a quota or a plan: what refused, e.g. `generations_per_day`. */
  violated_policies?: string[];
  limit?: number;
  used?: number;
  /** When `used` begins anew (ISO 8601). */
  resets_at?: string | null;
  /** The id of the cheapest plan that allows it; null: none on sale does. */
  plan_required?: string | null;
  /** Of credits that are lacking: what it would cost, and what there is. */
  price?: number;
  balance?: number;
  /** One per invalid field. */
  errors?: { loc: (string | number)[]; msg: string; type: string }[];
}

export interface Output {
  output_id: string;
  /** The original it was made from; null for visitors. */
  image_id: string | null;
  /** Counts the versions in the library; null for an ephemeral one. */
  version: number | null;
  /** Pixels. */
  width: number;
  height: number;
  content_type: string;
  /** Bytes. */
  size: number;
  /** 64 hex digits. */
  sha256: string;
  /** What steps of the chain say of their results, in its order; not every step says something. */
  report: StepReport[];
  /** null for a picture of before they were measured. */
  features: Features | null;
  /** `review`: the picture is yours alone until an operator has decided. */
  moderation?: "none" | "clean" | "review" | "approved";
}

/** What a step of the chain says of its result. */
export interface StepReport {
  /** e.g. `bgremove-v2`. */
  op: string;
  /** Which way it went. */
  method: string;
  /** 0..1; null: it does not tell. */
  confidence: number | null;
  /** Sentences to show to whoever asked for the picture. */
  warnings: string[];
}

/** What was measured on a picture; what each number means stands in docs/api.md. */
export interface Features {
  /** base64 of a ThumbHash: a blurred placeholder while the picture loads. */
  thumbhash: string;
  /** At most five, the largest share (0..1) first; `hex` as `#rrggbb`. */
  colours: { hex: string; share: number }[];
  /** 0..1. */
  sharpness: number;
  /** 0 black..1 white. */
  exposure: number;
  /** 16 hex digits. */
  perceptual_hash: string;
}

export interface IntakeRequest {
  /** 64 hex digits, of the whole file. */
  sha256: string;
  filename: string;
  /** Bytes. */
  size: number;
  content_type?: string;
  /** Pixels, as the file's header says. */
  width: number;
  height: number;
  /** e.g. `resize-v1:width-1024`. */
  op_key: string;
  /** Keep the result in the signed-in user's library. */
  wants_persist?: boolean;
  /** A team to make it for: the result is kept in its library. */
  team_id?: string;
  /** Of `quote`: its prices hold. */
  quote_id?: string;
}

/** A line drawn with a round brush, in parts of the picture, upright. */
export interface Stroke {
  /** `keep`: what it covers belongs to the subject; `erase`: it does not. */
  mode: "keep" | "erase";
  /** Of the brush, in parts of the longer side. */
  width: number;
  /** x and y from the upper left corner, in parts of width and height. */
  points: [number, number][];
}

/** What an op takes that is too long for its key. */
export interface InputDocument {
  kind: "strokes";
  strokes: Stroke[];
}

export interface KeptInput {
  /** 64 hex digits: what an op_key names it by. */
  digest: string;
  kind: string;
  /** Its canonical form. */
  document: InputDocument;
  created_at: string;
  /** When it goes unless it is used before. */
  expires_at: string;
}

/** Several results of one file. */
export interface BatchRequest extends Omit<IntakeRequest, "op_key" | "quote_id"> {
  /** One to eight. */
  op_keys: string[];
}

/** In the order of `op_keys`: an answer or a problem for each. */
export interface BatchAnswer {
  items: { op_key: string; answer: IntakeAnswer | null; problem: Problem | null }[];
  /** Credits, of all hits together. */
  charged: number;
}

/** What has become of one op_key of `processAll`. */
export type BatchOutcome =
  | { op_key: string; result: ProcessResult; error?: undefined }
  | { op_key: string; error: DarkroomError; result?: undefined };

/** The result exists already. */
export interface IntakeHit {
  cached: true;
  /** A job of the caller's; visitors who get the same hit share one. */
  job_id: string;
  /** Canonical. */
  op_key: string;
  status: "done";
  /** Signed, short-lived. */
  output_urls: string[];
  thumbnail_url: string | null;
  output: Output;
  /** When the stored result ends (ISO 8601); null: never. */
  expires_at: string | null;
  charged: number;
}

/** A job exists and may want the file. */
export interface IntakeMiss {
  cached: false;
  job_id: string;
  op_key: string;
  status: JobStatus;
  /** null when the server still holds this original. */
  upload_url: string | null;
  upload_token: string | null;
  upload_path: string;
  upload_bucket: string;
  /** The signed TUS endpoint of Supabase Storage. */
  resumable_url: string | null;
  upload_expires_at: string | null;
  expires_at: string | null;
  charged: number;
}

export type IntakeAnswer = IntakeHit | IntakeMiss;

/** Your own jobs that run, others' jobs, a vendor's limit, or an operator. */
export type WaitingFor = "own_concurrency" | "others_ahead" | "vendor_limit" | "paused";

export interface JobDocument {
  job_id: string;
  status: JobStatus;
  op_key: string;
  /** About how many jobs start before it: 0 is next; null unless queued. */
  ahead: number | null;
  /** ISO 8601; null unless queued, or where nothing tells. */
  expected_start_at: string | null;
  /** null unless queued, or when it is next. */
  waiting_for: WaitingFor | null;
  /** 0..1. */
  progress: number;
  /** What the worker is doing. */
  step: string | null;
  attempts: number;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  expires_at: string | null;
  output_urls: string[];
  thumbnail_url: string | null;
  output: Output | null;
  error: Problem | null;
  charged: number;
}

/** One entry of the catalogue, `GET /ops`. */
export interface Operation {
  name: string;
  version: string | number;
  /** e.g. `resize-v1`. */
  key: string;
  title: string;
  description: string;
  /** JSON schema of an object, enough to draw a form. */
  parameters: Record<string, any>;
  /** Credits. */
  price: number;
  cacheable: "always" | "by_seed" | "never";
  /** Whether a paid vendor does the work. */
  vendor: boolean;
  /** Op keys. */
  examples: string[];
}

export interface Limits {
  max_bytes: number;
  /** Pixels. */
  max_side: number;
  /** Width times height. */
  max_pixels?: number;
  content_types: string[];
}

export interface Catalogue {
  ops: Operation[];
  limits: Limits;
  /** Whether a model looks at what pictures show. */
  moderation?: { active: boolean; required: boolean };
}

/** What a precheck learns from the file's own bytes. */
export interface ImageMeta {
  content_type: string;
  /** Pixels, before any EXIF rotation. */
  width: number;
  height: number;
  /** Bytes. */
  size: number;
}

/** How far `process` has come. Stages arrive in this order; queued and running come again after a retry. */
export type Stage =
  | { stage: "precheck"; meta: ImageMeta }
  | { stage: "hash"; progress: number; sha256?: string }
  | { stage: "intake"; answer?: IntakeAnswer }
  | { stage: "upload"; progress: number; method: "put" | "tus" }
  | {
      stage: "queued";
      ahead: number | null;
      expected_start_at: string | null;
      waiting_for: WaitingFor | null;
      job: JobDocument;
    }
  | { stage: "running"; progress: number; step: string | null; job: JobDocument }
  | { stage: "done"; result: ProcessResult };

export interface ProcessResult {
  /** Nothing was uploaded or computed. */
  cached: boolean;
  /** For `job` and, after signing up, `claim`. */
  job_id: string;
  op_key: string;
  /** Of the original. */
  sha256: string;
  /** Of the original. */
  meta: ImageMeta;
  output_urls: string[];
  thumbnail_url: string | null;
  output: Output | null;
  expires_at: string | null;
  charged: number;
  /** Milliseconds: precheck, hash, intake, upload, queue, run (as far as they took place) and total. */
  timings: Record<string, number>;
}

export interface LocalResult {
  blob: Blob;
  width: number;
  height: number;
  content_type: string;
}

/** For bundled frontends; each is called when first needed. */
export interface Modules {
  /** tus-js-client, e.g. `() => import("tus-js-client")`. */
  tus?: () => Promise<any>;
  /** A module worker that calls `serveHash`. */
  hashWorker?: () => Worker;
}

export interface DarkroomOptions {
  /** Origin, and path prefix if any, of the Darkroom API. */
  apiUrl: string;
  /** The Supabase access token of the signed-in user; nothing for an anonymous caller. */
  getAccessToken?: () => string | null | undefined | Promise<string | null | undefined>;
  fetch?: typeof globalThis.fetch;
  modules?: Modules;
}

export interface WaitOptions {
  signal?: AbortSignal;
}

export interface HashOptions extends WaitOptions {
  /** 0..1. */
  onProgress?: (fraction: number) => void;
}

export interface PrecheckOptions extends WaitOptions {
  /** Of `ops()`; the server's defaults otherwise. */
  limits?: Limits;
}

export interface UploadOptions extends WaitOptions {
  /** Type by precheck; the file's own label otherwise. */
  contentType?: string;
  onProgress?: (fraction: number, method: "put" | "tus") => void;
}

export interface WatchOptions extends WaitOptions {
  onEvent?: (job: JobDocument, event: { type: string; id?: string; via: "sse" | "poll" }) => void;
}

export interface ProcessOptions extends WaitOptions {
  onStage?: (stage: Stage) => void;
  wantsPersist?: boolean;
  /** Keep the result in the library of this team. */
  teamId?: string;
  /** Of `quote`, for the same op_key: its prices hold. */
  quoteId?: string;
  /** Of the file; `file.name` otherwise. */
  filename?: string;
}

export interface ProcessAllOptions extends Omit<ProcessOptions, "onStage" | "quoteId"> {
  /** Stages of one job carry its `op_key`. */
  onStage?: (stage: Stage & { op_key?: string }) => void;
}

/** The caller, `GET /me`. */
export interface Me {
  user_id: string;
  plan: {
    id: string;
    name: string;
    /** Whether results can be kept in the library. */
    persistent: boolean;
    /** Pixels, where `keep_full_res` is off. */
    working_side: number;
    /** Credits for each promoted output. */
    promote_price: number;
    /** Whether results are previews with a watermark. */
    watermark: boolean;
    max_running: number;
    max_pending: number;
    /** null: unlimited. `usage()` tells what is used. */
    generations_per_day: number | null;
    generations_per_month: number | null;
    /** With 0, all work is done at `working_side`. */
    high_res_exports_per_month: number | null;
    storage_bytes: number | null;
    api_access: boolean;
    /** Largest `versions_to_keep`. */
    versions: number;
  };
  settings: Settings;
  /** Balance. */
  credits: number;
  /** Read-only: more is stored than the plan allows. */
  library: { read_only: boolean; over_quota_since: string | null; kept_until: string | null };
}

export interface Settings {
  keep_original: boolean;
  keep_full_res: boolean;
  /** 1 to 200. */
  versions_to_keep: number;
  /** null: never. */
  archive_after_days: number | null;
}

/** All of it must hold. Times are ISO 8601. */
export interface ImageFilter {
  /** Images on a page, 1 to 100; 24 otherwise. */
  limit?: number;
  /** `next_cursor` of the page before. */
  cursor?: string | null;
  archived?: "false" | "true" | "all";
  /** The library of a team, in place of the caller's own. */
  team_id?: string;
  /** Name of an op in the chain of any version, e.g. `bgremove`. */
  op?: string;
  collection_id?: string;
  created_after?: string;
  created_before?: string;
  /** Words of filename or prompt, or parts of words. */
  q?: string;
}

/** A finished picture of an image. */
export interface ImageVersion extends Output {
  op_key: string;
  /** null in `output` where others of a team have made it. */
  job_id: string | null;
  created_at: string;
  /** null: kept until it is deleted. */
  expires_at: string | null;
}

/** With URLs, signed for minutes. */
export interface SignedVersion extends ImageVersion {
  url: string;
  /** Saves it under a name made from the file's own and the ops. */
  download_url: string;
  thumbnail_url: string;
}

export interface OutputDocument extends SignedVersion {
  image_id: string;
  /** Whether its image shows this version. */
  current: boolean;
}

/** An original that a worker has verified, and the version of it that is shown. */
export interface LibraryImage {
  image_id: string;
  filename: string;
  prompt: string | null;
  /** Of the original, like the five that follow. */
  sha256: string;
  content_type: string;
  width: number;
  height: number;
  size: number;
  created_at: string;
  archived_at: string | null;
  /** Whether the original itself is in the library. */
  original_kept: boolean;
  /** How many there are. */
  versions: number;
  collection_ids: string[];
  /** null when no finished picture is left. */
  current: ImageVersion | null;
  thumbnail_url: string | null;
}

export interface ImagePage {
  images: LibraryImage[];
  /** null on the last page. */
  next_cursor: string | null;
}

export interface ImageDocument extends LibraryImage {
  /** Newest first. */
  outputs: SignedVersion[];
  /** Signed for two minutes; null where the original is not kept. */
  original_url: string | null;
}

export type BulkRequest =
  | { action: "delete" | "archive" | "unarchive"; image_ids: string[] }
  | { action: "move"; image_ids: string[]; collection_id: string | null };

export interface BulkAnswer {
  results: { image_id: string; done: boolean; code: "image_not_found" | null }[];
}

/** What to take into the library. */
export type PromoteRequest = ({ output_id: string } | { job_id: string }) & {
  collection_id?: string | null;
  /** A team to give the image to. */
  team_id?: string | null;
};

export interface RerunResult {
  /** Canonical. */
  op_key: string;
  answer: IntakeAnswer | null;
  error: Problem | null;
}

export interface Collection {
  collection_id: string;
  parent_id: string | null;
  name: string;
  /** How many a list of it shows. */
  images: number;
  created_at: string;
  updated_at: string;
}

export interface ShareRequest {
  /** Seconds, 60 to 30 days. */
  expires_in: number;
  max_views?: number | null;
  /** 8 to 128 characters. */
  password?: string | null;
}

export interface Share {
  share_id: string;
  /** null once the output is deleted. */
  output_id: string | null;
  /** `active`, or the code that opening the link answers with. */
  status: string;
  has_password: boolean;
  expires_at: string;
  max_views: number | null;
  views: number;
  last_viewed_at: string | null;
  revoked_at: string | null;
  created_at: string;
  output_expires_at: string | null;
  /** Until when no password is taken, since too many wrong ones were tried. */
  locked_until: string | null;
}

export interface NewShare extends Share {
  url: string;
}

/** Work on all data of the caller. */
export interface DataRequest {
  request_id: string;
  status: "queued" | "running" | "done" | "error";
  /** 0..1. */
  progress: number;
  step: string | null;
  error: Problem | null;
  created_at: string;
  finished_at: string | null;
  expires_at: string | null;
}

export interface Deletion extends DataRequest {
  receipt: {
    /** Deleted rows by table. */
    rows: Record<string, number>;
    /** Removed objects by bucket. */
    objects: Record<string, number>;
    kept: { what: string; rows: number; why: string }[];
    account: "kept" | "deleted" | "operator";
  } | null;
}

export interface Export extends DataRequest {
  receipt: { files: number; bytes: number; left_out: number; rows: Record<string, number> } | null;
  /** Bytes of the file. */
  size: number | null;
  /** Signed for minutes. */
  url: string | null;
}
