/** @import { ImageMeta, Limits, PrecheckOptions } from "./types.js" */
/** @import { Peek, Size } from "./dimensions.js" */
import { ascii, DIMENSIONS } from "./dimensions.js";
import { drawingSize, looksLikeSvg, ROOT_BYTES, SVG } from "./drawing.js";
import { refuse } from "./errors.js";
import { MIB, readWhole } from "./platform.js";

/**
 * What the server allows unless configured otherwise; `ops()` tells the truth.
 * @type {Readonly<Limits>}
 */
export const DEFAULT_LIMITS = Object.freeze({
  max_bytes: 50 * MIB,
  max_side: 8192,
  max_pixels: 50_000_000,
  content_types: [
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/avif",
    "image/heic",
    "image/gif",
    "image/tiff",
    "image/bmp",
    SVG,
  ],
});

/** The type by magic bytes, or null. @param {DataView} head @returns {string|null} */
function sniff(head) {
  if (head.byteLength < 12) return null;
  const start = ascii(head, 0, 12);
  if (start.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (start.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (start.startsWith("RIFF") && start.endsWith("WEBP")) return "image/webp";
  if (/^GIF8[79]a/.test(start)) return "image/gif";
  if (/^(II[*+]\0|MM\0[*+])/.test(start)) return "image/tiff";
  if (
    start.startsWith("BM") &&
    head.byteLength > 18 &&
    [12, 16, 40, 52, 56, 64, 108, 124].includes(head.getUint32(14, true))
  )
    return "image/bmp";
  if (start.slice(4, 8) === "ftyp") {
    const brands = ascii(head, 8, Math.min(head.getUint32(0), 64) - 8);
    if (/avi[fs]/.test(brands)) return "image/avif";
    if (/hei[cxms]|hev[cx]|mif1|msf1/.test(brands)) return "image/heic";
  }
  return null;
}

const megabytes = (/** @type {number} */ bytes) => `${Number((bytes / MIB).toPrecision(3))} MB`;

/** @param {Peek} peek @param {Limits} limits @returns {Promise<string>} */
async function acceptedType(peek, limits) {
  const found = sniff(await peek(0, 4096)) ?? (looksLikeSvg(await peek(0, ROOT_BYTES)) ? SVG : null);
  if (found && limits.content_types.includes(found)) return found;
  if (found === SVG) {
    throw refuse(
      "unsupported_type",
      "SVG is not accepted here: it can carry scripts and outside references. Export it as PNG first.",
      415,
    );
  }
  const names = limits.content_types
    .map((type) => type.replace(/^image\/|\+xml$/g, "").toUpperCase())
    .join(", ");
  throw refuse("unsupported_type", `This is not a picture of a supported type (${names}).`, 415);
}

/** @param {Size} size @param {Limits} limits */
function checkPixels({ width, height }, { max_side, max_pixels = Infinity }) {
  if (Math.max(width, height) <= max_side && width * height <= max_pixels) return;
  const most = Number.isFinite(max_pixels) ? ` and ${max_pixels / 1e6} megapixels in all` : "";
  throw refuse(
    "too_many_pixels",
    `The picture is ${width} × ${height} pixels; at most ${max_side} a side${most} are accepted.`,
    413,
  );
}

/** @param {Blob} file @param {PrecheckOptions} [options] @returns {Promise<ImageMeta>} */
export async function examine(file, { limits = DEFAULT_LIMITS, signal } = {}) {
  signal?.throwIfAborted();
  if (file.size === 0) throw refuse("corrupt_image", "The file is empty.", 422);
  if (file.size > limits.max_bytes) {
    throw refuse(
      "too_large",
      `The file has ${megabytes(file.size)}; at most ${megabytes(limits.max_bytes)} are accepted.`,
      413,
    );
  }
  /** @type {Peek} */
  const peek = async (offset, length) => new DataView(await readWhole(file.slice(offset, offset + length)));
  const content_type = await acceptedType(peek, limits);
  const size =
    content_type === SVG ? measured(await peek(0, ROOT_BYTES), limits) : await pixels(content_type, peek, file);
  signal?.throwIfAborted();
  if (!size || size.width < 1 || size.height < 1)
    throw refuse("corrupt_image", "The picture's header is damaged or cut short.", 422);
  checkPixels(size, limits);
  return { content_type, ...size, size: file.size };
}

/** @param {DataView} head @param {Limits} limits @returns {Size} of a drawing */
function measured(head, limits) {
  const size = drawingSize(head, limits);
  if (size) return size;
  throw refuse("corrupt_image", "The drawing says neither its width and height nor a viewBox.", 422);
}

/** @param {string} type @param {Peek} peek @param {Blob} file @returns {Promise<Size|null>} */
async function pixels(type, peek, file) {
  const fromHeader = await DIMENSIONS[type](peek).catch((error) => {
    if (error instanceof RangeError) return null; // cut short
    throw error;
  });
  return fromHeader ?? decodedSize(file);
}

/** Last resort for headers we cannot read. @param {Blob} file @returns {Promise<Size|null>} */
async function decodedSize(file) {
  if (typeof createImageBitmap !== "function") return null;
  const bitmap = await createImageBitmap(file, { imageOrientation: "none" }).catch(() => null);
  if (!bitmap) return null;
  const size = { width: bitmap.width, height: bitmap.height };
  bitmap.close();
  return size;
}
