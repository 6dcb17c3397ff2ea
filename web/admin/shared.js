/** What the playground has already, by the path that the browser knows. */
// @ts-ignore
export { announce, byId, fileSize, make } from "../../static/ui/dom.js";
// @ts-ignore
export { accessToken, connect } from "../../static/ui/signing.js";
