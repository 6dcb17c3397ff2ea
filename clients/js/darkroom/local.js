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
  const { width, height } = source;
  let canvas = { width, height };
  let picture = { x: 0, y: 0, width, height }; // where on the canvas the whole picture is drawn
  let encoding = { format: "webp", quality: 85 };
  for (const [index, { key, params }] of parseOpKey(opKey).entries()) {
    if (key === "resize-v1" && index === 0) {
      const placed = placeResized(source, params);
      if (!placed) return null;
      ({ canvas, picture } = placed);
    } else if (key === "convert-v1") {
      const { format = "webp", quality, lossless = "false", ...unknown } = params;
      if (!ENCODABLE.has(format) || quality === "auto" || lossless !== "false" || Object.keys(unknown).length) return null;
      encoding = { format, quality: Number(quality ?? 85) };
    } else return null;
  }
  return Math.max(canvas.width, canvas.height) <= LOCAL_MAX_SIDE ? { canvas, picture, encoding } : null;
}

/** Halves go to the even side, as the server rounds. @param {number} value */
const round = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));

/** @param {Size} size @param {number} across @param {number} [down] @returns {Size} */
const scaled = ({ width, height }, across, down = across) => ({
  width: Math.max(1, round(width * across)),
  height: Math.max(1, round(height * down)),
});

/**
 * What resize-v1 does on the server: the size of the canvas, and where on it the whole picture goes.
 * @param {Size} source @param {Record<string, string>} params as text
 * @returns {{canvas: Size, picture: Size & {x: number, y: number}}|null} null for parameters it does not know
 */
function placeResized(source, { width, height, fit = "inside", upscale = "false", ...unknown }) {
  const capped = (/** @type {number} */ scale) => (upscale === "true" ? scale : Math.min(scale, 1));
  const across = width ? Number(width) / source.width : null,
    down = height ? Number(height) / source.height : null;
  if (
    Object.keys(unknown).length ||
    !(across ?? down) ||
    !["inside", "contain", "cover", "fill"].includes(fit)
  )
    return null;
  let picture, canvas;
  if (!across || !down) {
    picture = scaled(source, capped(/** @type {number} */ (across ?? down)));
  } else if (fit === "fill") {
    picture = scaled(source, capped(across), capped(down));
  } else {
    const scale = fit === "cover" ? Math.max(across, down) : Math.min(across, down);
    picture = scaled(source, capped(scale));
    canvas = { width: Number(width), height: Number(height) };
    if (fit === "inside") canvas = picture;
    if (fit === "cover") {
      if (capped(scale) < scale) canvas = scaled(canvas, 1 / scale); // the largest part that has the shape of the box
      canvas = {
        width: Math.min(canvas.width, picture.width),
        height: Math.min(canvas.height, picture.height),
      };
    }
  }
  canvas ??= picture;
  const x = -Math.floor((picture.width - canvas.width) / 2),
    y = -Math.floor((picture.height - canvas.height) / 2);
  return { canvas, picture: { ...picture, x, y } };
}

/**
 * @param {Blob} file
 * @param {string} opKey
 * @param {AbortSignal} [signal]
 * @returns {Promise<LocalResult>}
 */
export async function drawLocally(file, opKey, signal) {
  signal?.throwIfAborted();
  if (typeof OffscreenCanvas !== "function")
    throw refuse("not_local", "There is no canvas here: this needs a browser.");
  const bitmap = await createImageBitmap(file).catch((cause) => {
    // upright, and in sRGB once drawn
    throw new DarkroomError(
      { code: "corrupt_image", detail: "The browser cannot decode this picture.", status: 422 },
      { cause },
    );
  });
  try {
    signal?.throwIfAborted();
    const plan = planDrawing(opKey, bitmap);
    if (!plan || Math.max(bitmap.width, bitmap.height) > LOCAL_MAX_SIDE) {
      throw refuse(
        "not_local",
        `${opKey} of a picture of ${bitmap.width} × ${bitmap.height} pixels is work for the server.`,
      );
    }
    const {
      canvas: { width, height },
      picture,
      encoding,
    } = plan;
    const canvas = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
      canvas.getContext("2d", { alpha: encoding.format !== "jpeg" })
    );
    if (encoding.format === "jpeg") {
      context.fillStyle = "white";
      context.fillRect(0, 0, width, height);
    }
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, picture.x, picture.y, picture.width, picture.height);
    const content_type = `image/${encoding.format}`;
    const blob = await canvas.convertToBlob({ type: content_type, quality: encoding.quality / 100 });
    signal?.throwIfAborted();
    // A browser that cannot write a format silently writes PNG instead (Safari and WebP).
    if (blob.type !== content_type)
      throw refuse("not_local", `This browser cannot write ${encoding.format}.`);
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
  typeof OffscreenCanvas === "function" &&
  DECODABLE.has(meta.content_type) &&
  Math.max(meta.width, meta.height) <= LOCAL_MAX_SIDE &&
  planDrawing(opKey, meta) !== null;
