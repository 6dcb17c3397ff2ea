/** @import { ImageMeta, LocalResult } from "./types.js" */
/** @import { Size } from "./dimensions.js" */
import { DarkroomError, refuse } from "./errors.js";
import { parseOpKey } from "./opkey.js";

/** Longest side, in pixels, of a picture that is processed on the client. */
export const LOCAL_MAX_SIDE = 2048;
const DECODABLE = new Set(["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/avif"]);
const ENCODABLE = new Set(["webp", "jpeg", "png"]);

/**
 * Turns resize and convert steps into one drawing, or null when the canvas does not suffice.
 * @param {string} opKey @param {Size} source upright
 */
function planDrawing(opKey, source) {
  let canvas = { ...source };
  let picture = { x: 0, y: 0, ...source }; // where on the canvas the whole picture is drawn
  let encoding = { format: "webp", quality: 85 };
  for (const [index, { key, params }] of parseOpKey(opKey).entries()) {
    if (key === "resize-v1" && index === 0) {
      const placed = placeResized(source, params);
      if (!placed) return null;
      ({ canvas, picture } = placed);
    } else if (key === "convert-v1") {
      const { format = "webp", quality, lossless = "false", ...unknown } = params;
      if (!ENCODABLE.has(format) || lossless !== "false" || Object.keys(unknown).length) return null;
      encoding = { format, quality: Number(quality ?? 85) };
    } else return null;
  }
  return Math.max(canvas.width, canvas.height) <= LOCAL_MAX_SIDE ? { canvas, picture, encoding } : null;
}

/** @param {Size} source @param {Record<string, string>} params of resize-v1, as text */
function placeResized({ width, height }, { width: boxWidth, height: boxHeight, fit = "inside", upscale = "false", ...unknown }) {
  const box = { width: Number(boxWidth ?? NaN), height: Number(boxHeight ?? NaN) };
  const scales = [box.width / width, box.height / height].filter((scale) => scale > 0);
  if (!scales.length || Object.keys(unknown).length) return null;
  const single = scales.length === 1; // with one side given, every fit keeps the aspect ratio
  let scale = fit === "cover" ? Math.max(...scales) : Math.min(...scales);
  if (upscale !== "true" && scale > 1) {
    if (!single && fit !== "inside") return null; // what the other fits do then is the server's business
    scale = 1;
  }
  const side = (/** @type {number} */ length) => Math.max(1, Math.round(length * scale));
  const scaled = { width: side(width), height: side(height) };
  if (single || fit === "inside") return { canvas: scaled, picture: { x: 0, y: 0, ...scaled } };
  if (fit === "fill") {
    if (upscale !== "true" && (box.width > width || box.height > height)) return null;
    return { canvas: box, picture: { x: 0, y: 0, ...box } };
  }
  if (fit !== "cover" && fit !== "contain") return null;
  const x = Math.round((box.width - scaled.width) / 2), y = Math.round((box.height - scaled.height) / 2);
  return { canvas: box, picture: { x, y, ...scaled } };
}

/** @param {Blob} file @param {string} opKey @param {AbortSignal} [signal] @returns {Promise<LocalResult>} */
export async function drawLocally(file, opKey, signal) {
  signal?.throwIfAborted();
  if (typeof OffscreenCanvas !== "function") throw refuse("not_local", "There is no canvas here: this needs a browser.");
  const bitmap = await createImageBitmap(file).catch((cause) => { // upright, and in sRGB once drawn
    throw new DarkroomError({ code: "corrupt_image", detail: "The browser cannot decode this picture.", status: 422 }, { cause });
  });
  try {
    signal?.throwIfAborted();
    const plan = planDrawing(opKey, bitmap);
    if (!plan || Math.max(bitmap.width, bitmap.height) > LOCAL_MAX_SIDE) {
      throw refuse("not_local", `${opKey} of a picture of ${bitmap.width} × ${bitmap.height} pixels is work for the server.`);
    }
    const { canvas: { width, height }, picture, encoding } = plan;
    const canvas = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: encoding.format !== "jpeg" }));
    if (encoding.format === "jpeg") { context.fillStyle = "white"; context.fillRect(0, 0, width, height); }
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, picture.x, picture.y, picture.width, picture.height);
    const content_type = `image/${encoding.format}`;
    const blob = await canvas.convertToBlob({ type: content_type, quality: encoding.quality / 100 });
    signal?.throwIfAborted();
    // A browser that cannot write a format silently writes PNG instead (Safari and WebP).
    if (blob.type !== content_type) throw refuse("not_local", `This browser cannot write ${encoding.format}.`);
    return { blob, width, height, content_type };
  } finally {
    bitmap.close();
  }
}

/**
 * @param {string} opKey @param {Pick<ImageMeta, "content_type"|"width"|"height">} meta
 * @returns {boolean}
 */
export const canDraw = (opKey, meta) =>
  typeof OffscreenCanvas === "function" && DECODABLE.has(meta.content_type)
  && Math.max(meta.width, meta.height) <= LOCAL_MAX_SIDE && planDrawing(opKey, meta) !== null;
