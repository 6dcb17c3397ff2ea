/** @import { ImageMeta, Limits } from "./types.js" */
/** @import { Peek, Size } from "./dimensions.js" */
import { ascii, DIMENSIONS } from "./dimensions.js";
import { refuse } from "./errors.js";
import { MIB, readWhole } from "./platform.js";

/** What the server allows unless configured otherwise; `ops()` tells the truth. @type {Readonly<Limits>} */
export const DEFAULT_LIMITS = Object.freeze({
  max_bytes: 20 * MIB,
  max_side: 6000,
  content_types: ["image/jpeg", "image/png", "image/webp", "image/avif", "image/heic", "image/gif", "image/tiff", "image/bmp"],
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
  if (start.startsWith("BM") && head.byteLength > 18 && [12, 40, 52, 56, 64, 108, 124].includes(head.getUint32(14, true))) return "image/bmp";
  if (start.slice(4, 8) === "ftyp") {
    const brands = ascii(head, 8, Math.min(head.getUint32(0), 64) - 8);
    if (/avi[fs]/.test(brands)) return "image/avif";
    if (/hei[cxms]|hev[cx]|mif1|msf1/.test(brands)) return "image/heic";
  }
  return null;
}

/** @param {DataView} head */
const looksLikeSvg = (head) => /^\s*(<\?xml|<!--|<!DOCTYPE svg|<svg)/i.test(ascii(head, 0, head.byteLength).replace(/^\xef\xbb\xbf/, ""))
  && /<svg[\s>]/i.test(ascii(head, 0, head.byteLength));

/**
 * @param {Blob} file @param {{limits?: Limits, signal?: AbortSignal}} [options]
 * @returns {Promise<ImageMeta>}
 */
export async function examine(file, { limits = DEFAULT_LIMITS, signal } = {}) {
  signal?.throwIfAborted();
  if (file.size === 0) throw refuse("corrupt_image", "The file is empty.", 422);
  if (file.size > limits.max_bytes) {
    throw refuse("too_large", `The file has ${(file.size / MIB).toFixed(1)} MB; at most ${(limits.max_bytes / MIB).toFixed(0)} MB are allowed.`, 413);
  }
  /** @type {Peek} */
  const peek = async (offset, length) => new DataView(await readWhole(file.slice(offset, offset + length)));
  const head = await peek(0, 4096);
  const content_type = sniff(head);
  if (!content_type && looksLikeSvg(head)) {
    throw refuse("unsupported_type", "SVG is not accepted: it can carry scripts and outside references. Export it as PNG first.", 415);
  }
  if (!content_type || !limits.content_types.includes(content_type)) {
    throw refuse("unsupported_type", `This is not a picture of a supported type (${limits.content_types.map((type) => type.slice(6).toUpperCase()).join(", ")}).`, 415);
  }
  const size = await DIMENSIONS[content_type](peek).catch((error) => {
    if (error instanceof RangeError) return null; // a header cut short
    throw error;
  }) ?? await decodedSize(file);
  signal?.throwIfAborted();
  if (!size || size.width < 1 || size.height < 1) throw refuse("corrupt_image", "The picture's header is damaged or cut short.", 422);
  if (Math.max(size.width, size.height) > limits.max_side) {
    throw refuse("too_many_pixels", `The picture is ${size.width} × ${size.height} pixels; at most ${limits.max_side} a side are allowed.`, 422);
  }
  return { content_type, ...size, size: file.size };
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
