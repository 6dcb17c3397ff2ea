/** A dialog in which brush strokes are drawn over a picture: what to keep and what to erase of a cut-out. */
/** @import { Darkroom } from "../darkroom.js" */
/** @import { Stroke } from "../darkroom/types.js" */
import { explain } from "./dialogs.js";
import { announce, byId } from "./dom.js";

const MAX_STROKES = 200;
const MAX_POINTS = 2000;
const NEAR = 0.003; // of a side, between two points of a stroke
const SIDE = 1600; // pixels of the canvas, at most
const COLOURS = { keep: "#2563ebb3", erase: "#dc2626b3" }; // blue and red: told apart without seeing green

export class Brush {
  /** @param {Darkroom} darkroom */
  constructor(darkroom) {
    this.darkroom = darkroom;
    /** @type {Stroke[]} */
    this.strokes = [];
    /** @type {Stroke|null} the one that is being drawn */
    this.drawing = null;
    /** @type {[number, number]|null} where the mouse is */
    this.hover = null;
    this.canvas = byId("brush-canvas");
    this.ground = document.createElement("canvas"); // what is drawn on
    this.#wire();
  }

  /**
   * @param {HTMLImageElement} picture  upright
   * @param {HTMLImageElement|null} cut  what is cut out of it so far, of the same shape
   * @param {string|undefined} digest  of strokes to go on with
   * @returns {Promise<string|null|undefined>} the digest of the strokes; null: none; undefined: as it was
   */
  async ask(picture, cut, digest) {
    const scale = Math.min(1, SIDE / Math.max(picture.naturalWidth, picture.naturalHeight));
    this.canvas.width = Math.max(1, Math.round(picture.naturalWidth * scale));
    this.canvas.height = Math.max(1, Math.round(picture.naturalHeight * scale));
    this.#drawGround(picture, cut && sameShape(picture, cut) ? cut : null);
    this.strokes = [];
    this.drawing = this.hover = null;
    byId("brush-problem").textContent = "";
    if (digest) {
      try {
        this.strokes = (await this.darkroom.input(digest)).document.strokes;
      } catch (error) {
        byId("brush-problem").textContent = explain(error);
      }
    }
    this.#draw();
    const dialog = byId("brush");
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      /** @type {string|null|undefined} */
      let answer;
      const life = new AbortController();
      byId("brush-form").addEventListener(
        "submit",
        async (/** @type {Event} */ event) => {
          event.preventDefault();
          try {
            answer = this.strokes.length
              ? (await this.darkroom.keepInput({ kind: "strokes", strokes: this.strokes })).digest
              : null;
            dialog.close();
          } catch (error) {
            byId("brush-problem").textContent = explain(error);
          }
        },
        { signal: life.signal },
      );
      dialog.addEventListener(
        "close",
        () => {
          life.abort();
          resolve(answer);
        },
        { once: true },
      );
    });
  }

  #wire() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      if (event.button !== 0 || !event.isPrimary) return; // a second finger is no stroke
      canvas.setPointerCapture(event.pointerId);
      if (this.strokes.length >= MAX_STROKES) return this.#full();
      this.drawing = { mode: mode(), width: brushWidth(), points: [] };
      this.#add(event);
      this.#draw();
    });
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
      if (!event.isPrimary) return;
      this.hover = event.pointerType === "mouse" ? this.#place(event) : null;
      if (this.drawing) for (const each of event.getCoalescedEvents?.() ?? [event]) this.#add(each);
      this.#draw();
    });
    canvas.addEventListener("pointerleave", () => {
      this.hover = null;
      this.#draw();
    });
    for (const end of ["pointerup", "pointercancel"])
      canvas.addEventListener(end, (/** @type {PointerEvent} */ event) => {
        if (!event.isPrimary || !this.drawing) return;
        this.drawing = null;
        this.#tell();
      });
    byId("brush-undo").addEventListener("click", () => this.#shorten(this.strokes.slice(0, -1)));
    byId("brush-clear").addEventListener("click", () => this.#shorten([]));
    byId("brush").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "z" || event.shiftKey || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      if (!this.drawing) this.#shorten(this.strokes.slice(0, -1));
    });
  }

  /** After Undo or Clear. @param {Stroke[]} strokes */
  #shorten(strokes) {
    this.strokes = strokes;
    byId("brush-problem").textContent = "";
    this.#draw();
    this.#tell();
  }

  #tell() {
    const { length } = this.strokes;
    announce(length === 1 ? "1 stroke" : `${length} strokes`);
  }

  /** In parts of the picture. @param {PointerEvent} event @returns {[number, number]} */
  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [part(event.clientX - box.left, box.width), part(event.clientY - box.top, box.height)];
  }

  /** @param {PointerEvent} event */
  #add(event) {
    const { drawing } = this;
    if (!drawing) return;
    const point = this.#place(event);
    const last = drawing.points.at(-1);
    if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAR) return;
    if (this.strokes.reduce((sum, { points }) => sum + points.length, 0) >= MAX_POINTS) return this.#full();
    drawing.points.push(point);
    if (!last) this.strokes.push(drawing); // one of no points is none
  }

  #full() {
    this.drawing = null;
    byId("brush-problem").textContent = "That is as much as can be drawn: undo a stroke first.";
  }

  /**
   * What was cut away is pale. Large pictures are scaled once, not with every move.
   * @param {HTMLImageElement} picture
   * @param {HTMLImageElement|null} cut
   */
  #drawGround(picture, cut) {
    const { width, height } = Object.assign(this.ground, { width: this.canvas.width, height: this.canvas.height });
    const pen = /** @type {CanvasRenderingContext2D} */ (this.ground.getContext("2d"));
    pen.globalAlpha = cut ? 0.3 : 1;
    pen.drawImage(picture, 0, 0, width, height);
    pen.globalAlpha = 1;
    if (cut) pen.drawImage(cut, 0, 0, width, height);
  }

  #draw() {
    const { canvas } = this;
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(this.ground, 0, 0);
    pen.lineCap = pen.lineJoin = "round";
    for (const { mode, width, points } of this.strokes) {
      pen.strokeStyle = COLOURS[mode];
      pen.lineWidth = Math.max(2, width * Math.max(canvas.width, canvas.height));
      pen.beginPath();
      const [first, ...others] = points.map(([x, y]) => [x * canvas.width, y * canvas.height]);
      pen.moveTo(first[0], first[1]);
      pen.lineTo(first[0] + 0.01, first[1]); // a single point is a dot
      for (const [x, y] of others) pen.lineTo(x, y);
      pen.stroke();
    }
    if (this.hover) this.#drawBrush(pen, this.hover);
    byId("brush-undo").disabled = byId("brush-clear").disabled = this.strokes.length === 0;
  }

  /** How large the brush is, around the mouse. @param {CanvasRenderingContext2D} pen @param {[number, number]} place */
  #drawBrush(pen, [x, y]) {
    const { width, height } = this.canvas;
    for (const [colour, line] of /** @type {[string, number][]} */ ([["#000", 5], ["#fff", 2.5]])) {
      pen.strokeStyle = colour;
      pen.lineWidth = line;
      pen.beginPath();
      pen.arc(x * width, y * height, (brushWidth() / 2) * Math.max(width, height), 0, 2 * Math.PI);
      pen.stroke();
    }
  }
}

const mode = () => (document.querySelector("input[name=brush-mode][value=erase]:checked") ? "erase" : "keep");

const brushWidth = () => Number(byId("brush-width").value) / 100;

/** @param {number} value @param {number} whole */
const part = (value, whole) => Math.round(Math.min(1, Math.max(0, value / whole)) * 10_000) / 10_000;

/** @param {HTMLImageElement} one @param {HTMLImageElement} other */
const sameShape = (one, other) =>
  Math.abs(one.naturalWidth / one.naturalHeight - other.naturalWidth / other.naturalHeight) < 0.01;
