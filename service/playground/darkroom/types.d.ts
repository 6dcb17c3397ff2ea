/** The documents that Darkroom speaks. Fields that travel over the wire keep their wire names. */

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
  /** One per invalid field. */
  errors?: { loc: (string | number)[]; msg: string; type: string }[];
}

export interface Output {
  output_id: string;
  /** Pixels. */
  width: number;
  height: number;
  content_type: string;
  /** Bytes. */
  size: number;
  /** 64 hex digits. */
  sha256: string;
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
}

/** The result exists already. */
export interface IntakeHit {
  cached: true;
  job_id: string | null;
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

export interface JobDocument {
  job_id: string;
  status: JobStatus;
  op_key: string;
  /** 0 is next; null unless queued. */
  queue_position: number | null;
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
  | { stage: "queued"; queue_position: number | null; job: JobDocument }
  | { stage: "running"; progress: number; step: string | null; job: JobDocument }
  | { stage: "done"; result: ProcessResult };

export interface ProcessResult {
  /** Nothing was uploaded or computed. */
  cached: boolean;
  job_id: string | null;
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
  /** Of the file; `file.name` otherwise. */
  filename?: string;
}
