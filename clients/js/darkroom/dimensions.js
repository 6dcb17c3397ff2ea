/**
 * Width and height from the headers of picture files; no pixel is decoded.
 *
 * @typedef {(offset: number, length: number) => Promise<DataView>} Peek  short at the end of the file
 * @typedef {{width: number, height: number}} Size
 */
import { MIB } from "./platform.js";

/** @param {DataView} view @param {number} offset @param {number} length */
export const ascii = (view, offset, length) =>
  String.fromCharCode(
    ...new Uint8Array(
      view.buffer,
      view.byteOffset + offset,
      Math.max(0, Math.min(length, view.byteLength - offset)),
    ),
  );

/**
 * Header dimensions by type; each throws RangeError when the header is cut short.
 * @type {Record<string, (peek: Peek) => Promise<Size|null>>}
 */
export const DIMENSIONS = {
  async "image/png"(peek) {
    const view = await peek(16, 8);
    return { width: view.getUint32(0), height: view.getUint32(4) };
  },
  async "image/gif"(peek) {
    const view = await peek(6, 4);
    return { width: view.getUint16(0, true), height: view.getUint16(2, true) };
  },
  async "image/bmp"(peek) {
    const view = await peek(14, 12);
    if (view.getUint32(0, true) === 12)
      return { width: view.getUint16(4, true), height: view.getUint16(6, true) };
    return { width: view.getInt32(4, true), height: Math.abs(view.getInt32(8, true)) }; // negative: rows from the top
  },
  async "image/webp"(peek) {
    const view = await peek(12, 18);
    const u24 = (/** @type {number} */ at) => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    switch (ascii(view, 0, 4)) {
      case "VP8X":
        return { width: u24(12) + 1, height: u24(15) + 1 };
      case "VP8 ":
        return { width: view.getUint16(14, true) & 0x3fff, height: view.getUint16(16, true) & 0x3fff };
      case "VP8L": {
        const bits = view.getUint32(9, true);
        return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
      }
      default:
        return null;
    }
  },
  async "image/jpeg"(peek) {
    for (let at = 2; ;) {
      const view = await peek(at, 9);
      if (view.getUint8(0) !== 0xff) return null;
      const marker = view.getUint8(1);
      if (marker === 0xff) {
        at += 1;
        continue;
      } // fill byte
      if (marker === 0xda || marker === 0xd9) return null; // picture data before any frame header
      // C0..CF are frame headers, save for the tables C4, C8 and CC.
      if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
        return { width: view.getUint16(7), height: view.getUint16(5) };
      }
      at += 2 + view.getUint16(2);
    }
  },
  async "image/tiff"(peek) {
    const head = await peek(0, 16);
    const little = head.getUint8(0) === 0x49;
    const big = head.getUint16(2, little) === 43; // BigTIFF: 64-bit offsets
    const ifd = big ? Number(head.getBigUint64(8, little)) : head.getUint32(4, little);
    const count = big
      ? Number((await peek(ifd, 8)).getBigUint64(0, little))
      : (await peek(ifd, 2)).getUint16(0, little);
    const [first, step, valueAt] = big ? [8, 20, 12] : [2, 12, 8];
    const entries = await peek(ifd + first, Math.min(count, 512) * step);
    const found = { width: 0, height: 0 };
    for (let at = 0; at + step <= entries.byteLength; at += step) {
      const tag = entries.getUint16(at, little);
      const value =
        entries.getUint16(at + 2, little) === 3
          ? entries.getUint16(at + valueAt, little)
          : entries.getUint32(at + valueAt, little);
      if (tag === 256) found.width = value;
      if (tag === 257) found.height = value;
    }
    return found.width && found.height ? found : null;
  },
  "image/avif": (peek) => heifDimensions(peek, false),
  "image/heic": (peek) => heifDimensions(peek, true), // decoders of HEIC crop and rotate by themselves
};

/** @param {DataView} view @param {number} from @param {number} to */
function* boxes(view, from, to) {
  for (let at = from; at + 8 <= to;) {
    const size = view.getUint32(at) || to - at;
    if (size < 8) return;
    yield { type: ascii(view, at + 4, 4), body: at + 8, end: Math.min(at + size, to) };
    at += size;
  }
}

/**
 * Size of the primary item of an ISO base media file (AVIF, HEIC): the `ispe` property that `ipma` ties to it.
 * @param {Peek} peek
 * @param {boolean} transform apply the item's crop (`clap`) and rotation (`irot`)
 * @returns {Promise<Size|null>}
 */
async function heifDimensions(peek, transform) {
  let at = 0,
    size = 0;
  for (; ; at += size) {
    const head = await peek(at, 16);
    size = head.getUint32(0) === 1 ? Number(head.getBigUint64(8)) : head.getUint32(0);
    if (ascii(head, 4, 4) === "meta") break;
    if (size < 8) return null;
  }
  const meta = await peek(at, Math.min(size, 4 * MIB));
  let primary = 0;
  /** @type {{type: string, body: number}[]} */
  let properties = [];
  /** @type {Map<number, number[]>} */
  let associations = new Map();
  for (const box of boxes(meta, 12, meta.byteLength)) {
    if (box.type === "pitm")
      primary = meta.getUint8(box.body) ? meta.getUint32(box.body + 4) : meta.getUint16(box.body + 4);
    if (box.type !== "iprp") continue;
    for (const part of boxes(meta, box.body, box.end)) {
      if (part.type === "ipco") properties = [...boxes(meta, part.body, part.end)];
      if (part.type === "ipma") associations = readAssociations(meta, part.body);
    }
  }
  const own = (associations.get(primary) ?? []).map((index) => properties[index - 1]).filter(Boolean);
  const extent = own.find((property) => property.type === "ispe");
  if (!extent) return null;
  const found = { width: meta.getUint32(extent.body + 4), height: meta.getUint32(extent.body + 8) };
  if (!transform) return found;
  const crop = own.find((property) => property.type === "clap")?.body; // codecs pad to even sizes and crop again
  if (crop) {
    found.width = Math.round(meta.getUint32(crop) / meta.getUint32(crop + 4));
    found.height = Math.round(meta.getUint32(crop + 8) / meta.getUint32(crop + 12));
  }
  const turn = own.find((property) => property.type === "irot")?.body;
  return turn && meta.getUint8(turn) & 1 ? { width: found.height, height: found.width } : found;
}

/**
 * @param {DataView} meta
 * @param {number} body
 * @returns {Map<number, number[]>} property indices (from 1) by item
 */
function readAssociations(meta, body) {
  const found = new Map();
  const wideItems = meta.getUint8(body) > 0,
    wideIndices = meta.getUint8(body + 3) & 1;
  let at = body + 8;
  for (let left = meta.getUint32(body + 4); left > 0; left--) {
    const item = wideItems ? meta.getUint32(at) : meta.getUint16(at);
    at += wideItems ? 4 : 2;
    const indices = [];
    for (let count = meta.getUint8(at++); count > 0; count--) {
      indices.push(wideIndices ? meta.getUint16(at) & 0x7fff : meta.getUint8(at) & 0x7f); // the top bit says "essential"
      at += wideIndices ? 2 : 1;
    }
    found.set(item, indices);
  }
  return found;
}
