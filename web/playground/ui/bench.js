/** The bench: a picture is chosen, an operation runs on it, the result is compared and downloaded. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { ImageMeta, Operation, ProcessResult, StepReport } from "../darkroom/types.js" */
import { Brush } from "./brush.js";
import { Chain } from "./chain.js";
import { when } from "./dialogs.js";
import { announce, byId, duration, fileSize, make, typeName } from "./dom.js";
import { Price } from "./price.js";
import { hideProblem, showProblem } from "./problem.js";
import { showReport } from "./report.js";
import { failStages, resetStages, showStage } from "./stages.js";
import { toast } from "./toast.js";
import { Viewer } from "./viewer.js";

/** Chains whose result is the cut alone, of the shape of the picture. */
const CUT = /^bgremove-v\d+(?!.*:trim-true)[^+]*$/;
/** Ops after which a place in the picture is another one. */
const RESHAPES = /^(crop|smartcrop|trim|pad|compose|shadow)-/;

/**
 * @typedef {object} Around
 * @property {(result: ProcessResult) => void} onDone  something was developed on the server
 * @property {() => void} signIn
 * @property {() => string|undefined} teamId  of the team whose library results are kept in
 */

export class Bench {
  /** @param {Darkroom} darkroom @param {Around} around */
  constructor(darkroom, around) {
    this.darkroom = darkroom;
    this.around = around;
    this.viewer = new Viewer(byId("frame"));
    this.price = new Price(darkroom);
    this.brush = new Brush(darkroom);
    /** @type {File|null} */
    this.file = null;
    this.resultKey = ""; // what was asked for last
    /** @type {ImageMeta|null} null until the file is checked */
    this.meta = null;
    /** @type {Chain|null} */
    this.chain = null;
    /** @type {AbortController|null} */
    this.running = null;
    this.url = "";
    this.signedIn = false;
    resetStages();
    this.#wireChoosing();
    byId("order").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.run();
    });
    byId("cancel").addEventListener("click", () => this.running?.abort());
    byId("local").addEventListener("change", () => this.update());
    for (const radio of document.querySelectorAll("input[name=view]"))
      radio.addEventListener("change", () => this.viewer.draw(/** @type {any} */ (radio).value));
  }

  /** @param {Operation[]} operations */
  offer(operations) {
    this.chain = new Chain(operations, (digest) => this.#askStrokes(digest));
    this.chain.addEventListener("change", () => this.update());
    this.update();
  }

  /** @param {boolean} signedIn */
  admit(signedIn) {
    this.signedIn = signedIn;
    this.price.forget(); // it was another caller's
    this.update();
  }

  // ---------------------------------------------------------------------------------------- choosing

  /** @param {File} file */
  async choose(file) {
    this.running?.abort();
    hideProblem();
    resetStages();
    byId("result").hidden = true;
    this.file = file;
    this.meta = null;
    if (/:strokes-/.test(this.chain?.key ?? "")) this.chain?.forgetStrokes();
    URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(file);
    byId("file-label").textContent = file.name || "Pasted picture";
    byId("drop-hint").hidden = true;
    byId("drop").dataset.state = "chosen";
    try {
      const { limits } = await this.darkroom.ops();
      const meta = await this.darkroom.precheck(file, { limits });
      if (this.file !== file) return; // another one has been chosen meanwhile
      await this.viewer.showOriginal(this.url, "The original");
      if (this.file !== file) return;
      this.meta = meta;
      byId("file-facts").textContent = `${this.#size(meta)}, ${fileSize(meta.size)}, ${typeName(meta.content_type)}`;
      byId("chosen-thumb").src = this.url;
      byId("chosen-thumb").hidden = byId("frame").querySelector("img") === null;
      announce(`${file.name}, ${byId("file-facts").textContent}`);
    } catch (error) {
      if (this.file !== file) return;
      byId("file-facts").textContent = fileSize(file.size);
      byId("chosen-thumb").hidden = true;
      byId("frame").dataset.state = "empty";
      byId("frame").replaceChildren(make("p", { className: "empty" }, "Nothing to show"));
      showProblem(error);
    }
    this.update();
  }

  /** Width and height as the picture is shown: a phone's photo may lie on its side in the file. @param {ImageMeta} meta */
  #size({ width, height }) {
    const { before } = this.viewer;
    const turned = before && before.naturalWidth === height && before.naturalHeight === width;
    return turned ? `${height} × ${width}` : `${width} × ${height}`;
  }

  /** Strokes over the chosen picture, and over what was cut out of it last. @param {string|undefined} digest */
  async #askStrokes(digest) {
    const refusal = this.#noStrokes();
    const { before, after } = this.viewer;
    if (refusal || !before) {
      toast(refusal);
      return undefined;
    }
    // Of other results it is not seen what was cut away.
    const cut = !byId("result").hidden && CUT.test(this.resultKey) ? after : null;
    return this.brush.ask(before, cut, digest);
  }

  /** Why strokes cannot be drawn now, a sentence or nothing. */
  #noStrokes() {
    if (!this.meta) return "Choose a picture first: strokes are drawn over it.";
    if (!this.viewer.before) return "This browser cannot show this kind of picture, so nothing can be drawn over it.";
    const steps = this.chain?.steps ?? [];
    const earlier = steps.slice(0, steps.findIndex(({ key }) => key === "bgremove-v2"));
    return earlier.some(({ key, params }) => RESHAPES.test(key) || /^(cover|contain)$/.test(params.fit) || params.trim)
      ? "Strokes are drawn over the whole picture: remove the background before the step that crops it or changes its canvas."
      : "";
  }

  #wireChoosing() {
    byId("file").addEventListener("change", () => {
      if (byId("file").files[0]) void this.choose(byId("file").files[0]);
    });
    byId("sample").addEventListener("click", async () => {
      const response = await fetch("static/sample.jpg");
      await this.choose(new File([await response.blob()], "sample.jpg", { type: "image/jpeg" }));
    });
    document.addEventListener("paste", ({ clipboardData }) => this.#take(clipboardData));
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.dataset.dragging = "";
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) delete document.body.dataset.dragging;
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      delete document.body.dataset.dragging;
      this.#take(event.dataTransfer);
    });
  }

  /** A picture that was dropped or pasted on whichever view. @param {DataTransfer|null} data */
  #take(data) {
    if (!data?.files[0]) return;
    if (byId("develop").hidden) location.hash = "#develop";
    void this.choose(data.files[0]);
  }

  /** What can be pressed now. */
  update() {
    const key = this.chain?.key ?? "";
    const local = this.meta && this.darkroom.canRunLocally(key, this.meta);
    byId("local-row").hidden = !local;
    byId("persist-row").hidden = !this.signedIn;
    byId("run").disabled = !this.meta || !key || Boolean(this.running);
    byId("cancel").hidden = !this.running;
    byId("order").setAttribute("aria-busy", String(Boolean(this.running)));
    if (!this.running) this.price.of(key, this.file, this.#onDevice ? null : this.meta);
  }

  /** Whether the order shall be done here, and can be. */
  get #onDevice() {
    return byId("local").checked && !byId("local-row").hidden;
  }

  // ---------------------------------------------------------------------------------------- running

  async run() {
    const { file, chain } = this;
    if (!file || !chain || this.running) return;
    const controller = (this.running = new AbortController());
    this.resultKey = chain.key;
    hideProblem();
    resetStages();
    byId("result").hidden = true;
    this.update();
    try {
      await (this.#onDevice
        ? this.#runLocally(file, chain.key, controller.signal)
        : this.#runRemotely(file, chain.key, controller.signal));
    } catch (error) {
      failStages();
      if (controller.signal.aborted) announce("Cancelled.");
      else showProblem(error, () => this.run());
    } finally {
      if (this.running === controller) this.running = null;
      this.price.forget();
      this.update();
    }
  }

  /** @param {File} file @param {string} key @param {AbortSignal} signal */
  async #runRemotely(file, key, signal) {
    const result = await this.darkroom.process(file, key, {
      onStage: showStage,
      wantsPersist: this.signedIn && byId("persist").checked,
      teamId: this.signedIn && byId("persist").checked ? this.around.teamId() : undefined,
      quoteId: this.price.idFor(key),
      signal,
    });
    const [url] = result.output_urls;
    const badge = result.cached
      ? `Cache hit in ${duration(result.timings.total)}: nothing to upload, nothing to compute`
      : `Developed in ${duration(result.timings.total)}`;
    this.#tellKept(result);
    await this.#showDone(url, result.output, badge, result.cached ? "hit" : "fresh", result);
    const extension = result.output?.content_type.split("/")[1] ?? "webp";
    byId("download").href = `${url}&download=${encodeURIComponent(baseName(file))}.${extension}`;
    byId("download").removeAttribute("download");
    this.around.onDone(result);
  }

  /** How long the result is there, and what can be done about it. @param {ProcessResult} result */
  #tellKept({ expires_at }) {
    const until = expires_at ? `Kept until ${when(expires_at)}. ` : "Kept in your library. ";
    byId("kept").replaceChildren(
      until,
      this.signedIn
        ? make("a", { href: "#library" }, "Open the library")
        : make(
            "button",
            { type: "button", className: "link", id: "keep-it", onclick: () => this.around.signIn() },
            "Sign in to keep it",
          ),
    );
  }

  /** @param {File} file @param {string} key @param {AbortSignal} signal */
  async #runLocally(file, key, signal) {
    const started = performance.now();
    const { blob, ...facts } = await this.darkroom.local(file, key, { signal });
    const url = URL.createObjectURL(blob);
    const output = { ...facts, size: blob.size };
    byId("kept").replaceChildren();
    await this.#showDone(
      url,
      output,
      `On this device in ${duration(performance.now() - started)}: nothing was sent`,
      "local",
      { op_key: key, output },
    );
    byId("download").href = url;
    byId("download").download = `${baseName(file)}.${facts.content_type.split("/")[1]}`;
  }

  /**
   * @param {string} url
   * @param {{width: number, height: number, size: number, content_type: string, report?: StepReport[]}|null} output
   * @param {string} badge @param {string} kind @param {object} answer
   */
  async #showDone(url, output, badge, kind, answer) {
    const view = await this.viewer.showResult(url, "The result");
    /** @type {HTMLInputElement} */ (document.querySelector(`input[name=view][value=${view}]`)).checked = true;
    byId("badge").textContent = badge;
    byId("badge").dataset.kind = kind;
    const { meta } = this;
    byId("facts").replaceChildren(
      ...(output && meta
        ? [
            `${this.#size(meta)}, ${fileSize(meta.size)} ${typeName(meta.content_type)}`,
            make("span", { "aria-label": "became", role: "img" }, " → "),
            make(
              "strong",
              {},
              `${output.width} × ${output.height}, ${fileSize(output.size)} ${typeName(output.content_type)}`,
            ),
          ]
        : []),
    );
    showReport(byId("report"), output);
    byId("answer").textContent = JSON.stringify(answer, null, 2);
    byId("result").hidden = false;
    byId("result").scrollIntoView({ block: "nearest" });
    announce(`${badge}. ${byId("facts").textContent}`);
  }
}

/** @param {File} file */
const baseName = (file) => `${(file.name || "picture").replace(/\.[^.]+$/, "")}-darkroom`;
