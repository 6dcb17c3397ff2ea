import { DarkroomError } from "./errors.js";

export const MIB = 1024 * 1024;
/** @type {any} Node's, without asking frontends for its types */
const { process: node, Buffer: NodeBuffer } = /** @type {any} */ (globalThis);
export const IN_NODE = Boolean(node?.versions?.node) && typeof document === "undefined";

/**
 * A built-in module of Node, by a way that no bundler follows.
 * @param {string} name
 * @returns {any}
 */
export const nodeModule = (name) => node.getBuiltinModule(name);

/** @param {ArrayBuffer} bytes @returns {any} a Buffer over the same memory */
export const nodeBuffer = (bytes) => NodeBuffer.from(bytes);

/**
 * The address of a file beside a module. By hand, since bundlers take `new URL(…, import.meta.url)` for an asset that
 * they must find, and these are there only where no bundler is.
 * @param {string} moduleUrl
 * @param {string} name
 */
export const beside = (moduleUrl, name) => moduleUrl.slice(0, moduleUrl.lastIndexOf("/") + 1) + name;

/** @param {Blob} file */
export const readWhole = (file) =>
  file.arrayBuffer().catch((cause) => {
    throw new DarkroomError(
      { code: "unreadable_file", detail: "The file could not be read; was it moved or changed?" },
      { cause },
    );
  });
