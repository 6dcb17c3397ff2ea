/** What a signed-in user keeps: images, versions, collections, links, and all of it at once. */
/**
 * @import {
 *   BulkAnswer, BulkRequest, Collection, Deletion, Export, ImageDocument, ImageFilter, ImagePage, Me, NewShare,
 *   OutputDocument, PromoteRequest, RerunResult, Settings, Share, ShareRequest, WaitOptions
 * } from "./types.js"
 */
/** @import { Http } from "./http.js" */
import { pause } from "./time.js";

const POLL_MS = 1000;

/** @param {string} id */
const enc = (id) => encodeURIComponent(id);

/** @param {Http} http */
export function createLibrary(http) {
  /** @param {string} method @param {string} path @param {unknown} [body] @param {WaitOptions} [options] */
  const call = (method, path, body, { signal } = {}) =>
    http.json(path, { method, body: body === undefined ? undefined : JSON.stringify(body), signal });
  /** @param {string} method @param {string} path @returns {Promise<void>} */
  const tell = async (method, path) => {
    await http.request(path, { method });
  };

  /** A link with its whole address. @param {NewShare} made @returns {NewShare} */
  const absolute = (made) => ({ ...made, url: made.url.startsWith("/") ? http.base + made.url : made.url });

  return {
    /**
     * Plan, settings and credits of the caller.
     * @returns {Promise<Me>}
     */
    me: () => call("GET", "/me"),

    /**
     * Changes settings; what is left out stays.
     * @param {Partial<Settings>} settings
     * @returns {Promise<Me>}
     */
    updateSettings: (settings) => call("PATCH", "/me", settings),

    /**
     * A page of the caller's images, newest first, with signed thumbnails. The next page: the same filter with
     * `cursor` set to `next_cursor`, until that is null.
     * @param {ImageFilter} [filter]
     * @param {WaitOptions} [options]
     * @returns {Promise<ImagePage>}
     */
    images(filter = {}, { signal } = {}) {
      const query = new URLSearchParams();
      for (const [name, value] of Object.entries(filter))
        if (value !== undefined && value !== null && value !== "") query.set(name, String(value));
      return http.json(`/images?${query}`, { signal });
    },

    /**
     * An image with all its versions and URLs, signed for minutes.
     * @param {string} imageId
     * @param {WaitOptions} [options]
     * @returns {Promise<ImageDocument>}
     */
    image: (imageId, options) => call("GET", `/images/${enc(imageId)}`, undefined, options),

    /**
     * Deletes an image: its original and every version. Their links end.
     * @param {string} imageId
     */
    deleteImage: (imageId) => tell("DELETE", `/images/${enc(imageId)}`),

    /**
     * Takes an image out of lists, or brings it back. Its bytes stay.
     * @param {string} imageId
     * @param {boolean} [archived]
     */
    archive: (imageId, archived = true) =>
      tell("POST", `/images/${enc(imageId)}/${archived ? "archive" : "unarchive"}`),

    /**
     * Deletes, moves, archives or unarchives up to 100 images in one transaction.
     * @param {BulkRequest} request
     * @returns {Promise<BulkAnswer>}
     */
    changeImages: (request) => call("POST", "/images/bulk", request),

    /**
     * Other ops on the same original, without an upload; several are for comparing. Each is a hit or a job, which
     * `watch` follows, or was refused.
     * @param {string} imageId
     * @param {string|string[]} opKeys
     * @returns {Promise<RerunResult[]>}
     */
    rerun: async (imageId, opKeys) =>
      (await call("POST", `/images/${enc(imageId)}/rerun`, { op_keys: [opKeys].flat() })).results,

    /**
     * Moves a finished output into the library. Repeating it gives the same and costs nothing more.
     * Throws `plan_required` where the plan keeps nothing, `output_expired` when it is too late.
     * @param {PromoteRequest} request
     * @returns {Promise<OutputDocument>}
     */
    promote: (request) => call("POST", "/outputs/promote", request),

    /**
     * One output of the caller's or of a team of theirs, with URLs signed anew.
     * @param {string} outputId
     * @param {WaitOptions} [options]
     * @returns {Promise<OutputDocument>}
     */
    output: (outputId, options) => call("GET", `/outputs/${enc(outputId)}`, undefined, options),

    /**
     * Keeps an ephemeral output for some days from now.
     * @param {string} outputId
     * @param {number} days
     * @returns {Promise<OutputDocument>}
     */
    keep: (outputId, days) => call("PATCH", `/outputs/${enc(outputId)}`, { keep_for_days: days }),

    /**
     * Makes an earlier version the one that its image shows.
     * @param {string} outputId
     * @returns {Promise<OutputDocument>}
     */
    restore: (outputId) => call("POST", `/outputs/${enc(outputId)}/restore`),

    /**
     * Deletes one version; the newest one left is shown in its place.
     * @param {string} outputId
     */
    deleteOutput: (outputId) => tell("DELETE", `/outputs/${enc(outputId)}`),

    /**
     * Takes over jobs that were made without signing in, also those of hits. The ids of the jobs that are the caller's now:
     * for a hit that visitors share, another one than was presented.
     * @param {string[]} jobIds
     * @returns {Promise<string[]>}
     */
    claim: async (jobIds) => (await call("POST", "/jobs/claim", { job_ids: jobIds })).job_ids,

    /**
     * All collections, by name.
     * @param {string|null} [teamId] of a team, in place of the caller's own
     * @returns {Promise<Collection[]>}
     */
    collections: async (teamId) =>
      (await call("GET", teamId ? `/collections?team_id=${enc(teamId)}` : "/collections")).collections,

    /**
     * @param {{name: string, parent_id?: string|null, team_id?: string|null}} collection nested one level at most
     * @returns {Promise<Collection>}
     */
    createCollection: (collection) => call("POST", "/collections", collection),

    /**
     * Renames a collection, or moves it into another (`parent_id`) or out of one (null).
     * @param {string} collectionId
     * @param {{name?: string, parent_id?: string|null}} change
     * @returns {Promise<Collection>}
     */
    updateCollection: (collectionId, change) => call("PATCH", `/collections/${enc(collectionId)}`, change),

    /**
     * Deletes a collection and those in it. Their images stay.
     * @param {string} collectionId
     */
    deleteCollection: (collectionId) => tell("DELETE", `/collections/${enc(collectionId)}`),

    /** @param {string} collectionId @param {string} imageId */
    addToCollection: (collectionId, imageId) =>
      tell("PUT", `/collections/${enc(collectionId)}/images/${enc(imageId)}`),

    /** @param {string} collectionId @param {string} imageId */
    removeFromCollection: (collectionId, imageId) =>
      tell("DELETE", `/collections/${enc(collectionId)}/images/${enc(imageId)}`),

    /**
     * A link to an output, for whoever has it. Its `url` is told here and never again.
     * @param {string} outputId
     * @param {ShareRequest} request
     * @returns {Promise<NewShare>} with an absolute `url`
     */
    share: async (outputId, request) => absolute(await call("POST", `/outputs/${enc(outputId)}/share`, request)),

    /**
     * The links of an output, newest first, with their views.
     * @param {string} outputId
     * @returns {Promise<Share[]>}
     */
    shares: async (outputId) => (await call("GET", `/outputs/${enc(outputId)}/shares`)).shares,

    /**
     * Gives a link another address, with the same password and end; the one before leads nowhere from then on.
     * @param {string} shareId
     * @returns {Promise<NewShare>} with an absolute `url`
     */
    renewShare: async (shareId) => absolute(await call("POST", `/shares/${enc(shareId)}/renew`)),

    /**
     * Ends a link at once.
     * @param {string} shareId
     * @returns {Promise<Share>}
     */
    revokeShare: (shareId) => call("DELETE", `/shares/${enc(shareId)}`),

    /**
     * Deletes everything of the caller's; `confirm` is what the user typed and must be "delete my data". A worker
     * does it. `onProgress` hears of every step; resolves to the end of it, with the receipt. Aborting stops waiting,
     * not the deletion.
     * @param {{confirm: string, delete_account?: boolean}} request
     * @param {WaitOptions & {onProgress?: (deletion: Deletion) => void}} [options]
     * @returns {Promise<Deletion>} `done`, or `error`
     */
    async deleteMyData(request, { signal, onProgress } = {}) {
      const deletion = await call("DELETE", "/me/data", request, { signal });
      const path = `/me/data/${enc(deletion.request_id)}`;
      return until(deletion, () => call("GET", path, undefined, { signal }), onProgress, signal);
    },

    /**
     * A zip of everything that is the caller's, made by a worker: the one there is, or a new one. `renew`: not older
     * than a day.
     * @param {WaitOptions & {renew?: boolean, onProgress?: (made: Export) => void}} [options]
     * @returns {Promise<Export>} `done` with a `url`, or `error`
     */
    async exportMyData({ renew = false, signal, onProgress } = {}) {
      const made = await call(renew ? "POST" : "GET", "/me/export", undefined, { signal });
      return until(made, () => call("GET", "/me/export", undefined, { signal }), onProgress, signal);
    },
  };
}

/**
 * Asks again until a request has ended.
 * @template {Deletion|Export} T
 * @param {T} request
 * @param {() => Promise<T>} ask
 * @param {((request: T) => void)|undefined} onProgress
 * @param {AbortSignal|undefined} signal
 * @returns {Promise<T>}
 */
async function until(request, ask, onProgress, signal) {
  onProgress?.(request);
  while (request.status === "queued" || request.status === "running") {
    await pause(POLL_MS, signal);
    request = await ask();
    onProgress?.(request);
  }
  return request;
}
