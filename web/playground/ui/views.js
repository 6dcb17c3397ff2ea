/** The views of the page, one at a time, by the hash of its address. */
import { byId } from "./dom.js";

const FIRST = "develop";

export class Views extends EventTarget {
  /** @param {string[]} names ids of sections; all but the first need a session */
  constructor(names) {
    super();
    this.names = names;
    this.signedIn = false;
    this.current = FIRST;
    addEventListener("hashchange", () => this.#follow(true));
  }

  /** @param {boolean} signedIn */
  admit(signedIn) {
    this.signedIn = signedIn;
    byId("tabs").hidden = !signedIn;
    if (!signedIn && this.current !== FIRST) history.replaceState(null, "", " ");
    this.#follow(false);
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new CustomEvent("show", { detail: this.current }));
  }

  /** Goes where the address says; an address that names no view changes nothing. @param {boolean} moved by the user */
  #follow(moved) {
    const wanted = location.hash.slice(1) || FIRST;
    const known = this.names.includes(wanted) ? wanted : this.current;
    const name = this.signedIn ? known : FIRST;
    if (name === this.current && !byId(name).hidden) return;
    this.current = name;
    for (const one of this.names) byId(one).hidden = one !== name;
    for (const tab of byId("tabs").querySelectorAll("a")) {
      if (tab.hash === `#${name}`) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    const heading = byId(name).querySelector("h1");
    document.title = name === FIRST ? "Darkroom playground" : `${heading.textContent} · Darkroom`;
    if (!moved) return;
    for (const dialog of document.querySelectorAll("dialog[open]")) /** @type {HTMLDialogElement} */ (dialog).close();
    this.#tell();
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
}
