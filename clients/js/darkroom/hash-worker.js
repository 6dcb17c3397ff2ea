// The worker of the playground; a bundled frontend writes its own with hash-wasm from npm (docs/frontend.md).
import "../vendor/hash-wasm.js";
import { serveHash } from "./hash.js";

serveHash(globalThis.hashwasm.createSHA256);
