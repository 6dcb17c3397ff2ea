/** The form of "What to do": steps drawn from the catalogue's JSON schemas, and the op_key that they make. */
/** @import { Operation } from "../darkroom/types.js" */
import { buildOpKey, parseOpKey } from "../darkroom.js";
import { byId, make } from "./dom.js";
import { faultOf } from "./fault.js";
import { chips } from "./recipes.js";

const COLOURS = ["white", "black", "gray", "silver", "beige", "ivory", "navy", "teal"];

const ABSENT = Symbol("a setting that the format does not have");

/**
 * What a parameter is when it is left out, which may depend on the format that is chosen.
 * @param {any} schema
 * @param {Record<string, any>} properties of the op, of which `format` may be one
 * @param {Record<string, any>} params of the step
 */
function defaultOf(schema, properties, params) {
  const byFormat = schema["x-defaults"];
  if (!byFormat) return schema.default;
  return byFormat[params.format ?? properties.format.default] ?? ABSENT;
}

/** @param {string} colour name or hex @returns {string} #rrggbb */
function toHex(colour) {
  const context = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  context.fillStyle = /^[0-9a-f]{3}([0-9a-f]{3})?$/.test(colour) ? `#${colour}` : colour;
  return String(context.fillStyle);
}

export class Chain extends EventTarget {
  /**
   * @param {Operation[]} operations
   * @param {(digest: string|undefined) => Promise<string|null|undefined>} askStrokes  the digest of strokes to use
   *   from here on; null: none; undefined: as it was
   */
  constructor(operations, askStrokes) {
    super();
    this.operations = operations;
    this.askStrokes = askStrokes;
    /** @type {{key: string, params: Record<string, any>}[]} */
    this.steps = [];
    this.input = byId("op-key");
    this.input.addEventListener("input", () => this.#read());
    this.input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter") return; // as in a field of one line
      event.preventDefault();
      if (!byId("run").disabled) this.input.form.requestSubmit();
    });
    new ResizeObserver(() => this.#fit()).observe(this.input.parentElement);
    byId("add-step").addEventListener("click", () => this.#add());
    byId("recipes").replaceChildren(...chips(operations));
    byId("recipes").addEventListener("click", (/** @type {Event} */ { target }) => {
      const { key } = /** @type {HTMLElement} */ (target).dataset;
      if (key) this.key = key;
    });
    this.key = byId("recipes").querySelector(".chip")?.dataset.key ?? operations[0].key;
  }

  /** The op_key as it stands in its field. */
  get key() {
    return this.input.value.replace(/\s+/g, "");
  }

  set key(key) {
    this.input.value = key;
    this.#read();
  }

  /** Field to forms. */
  #read() {
    const fault = faultOf(this.key, this.operations);
    if (!fault) {
      this.steps = parseOpKey(this.key, this.operations);
      this.#draw();
    }
    this.#tell(fault);
  }

  /** Forms to field. */
  #write() {
    this.input.value = this.steps
      .map(({ key, params }) => buildOpKey(this.#operation(key), params))
      .join("+");
    this.#tell("");
  }

  /** @param {string} fault of the key, a sentence or nothing */
  #tell(fault) {
    this.input.setAttribute("aria-invalid", String(fault !== ""));
    byId("op-key-fault").textContent = fault;
    this.#fit();
    for (const chip of byId("recipes").children)
      chip.setAttribute("aria-pressed", String(chip.dataset.key === this.key));
    this.dispatchEvent(new Event("change"));
  }

  /** As high as its text, all of which is seen. */
  #fit() {
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight + 2}px`;
  }

  /** @param {string} key @returns {Operation} */
  #operation(key) {
    return /** @type {Operation} */ (this.operations.find((operation) => operation.key === key));
  }

  /** The first example of an op is a sensible start. @param {string} key */
  #start(key) {
    const example = this.#operation(key).examples.find(
      (text) => text.split(":")[0] === key && !text.includes("+"),
    );
    return parseOpKey(example ?? key, this.operations)[0];
  }

  #add() {
    const used = new Set(this.steps.map((step) => step.key));
    const next =
      ["flatten-v1", "resize-v1", "convert-v1"].find((key) => !used.has(key) && this.#operation(key)) ??
      this.operations[0].key;
    this.steps.push(this.#start(next));
    this.#draw();
    this.#write();
    byId("steps").lastElementChild.querySelector("select").focus();
  }

  #draw() {
    byId("steps").replaceChildren(...this.steps.map((step, index) => this.#drawStep(step, index)));
  }

  /** @param {{key: string, params: Record<string, any>}} step @param {number} index */
  #drawStep(step, index) {
    const operation = this.#operation(step.key);
    const name = this.steps.length > 1 ? `Step ${index + 1}` : "Operation";
    const select = make(
      "select",
      {
        "aria-label": name,
        onchange: () => {
          this.steps[index] = this.#start(select.value);
          this.#draw();
          this.#write();
          /** @type {HTMLElement} */ (byId("steps").children[index].querySelector("select")).focus();
        },
      },
      ...this.operations.map(({ key, title }) =>
        make("option", { value: key, selected: key === step.key }, title),
      ),
    );
    const head = make("div", { className: "step-head" }, select);
    if (this.steps.length > 1) {
      head.append(
        make(
          "button",
          {
            type: "button",
            className: "quiet icon",
            "aria-label": `Remove step ${index + 1}, ${operation.title}`,
            onclick: () => {
              this.steps.splice(index, 1);
              this.#draw();
              this.#write();
              byId("add-step").focus();
            },
          },
          "×",
        ),
      );
    }
    const properties = operation.parameters.properties ?? {};
    const drawn = Object.entries(properties).flatMap(([parameter, schema]) => {
      const fallback = defaultOf(schema, properties, step.params);
      if (fallback === ABSENT) return [];
      const id = `p-${index}-${parameter}`;
      const field = this.#drawField(id, { ...schema, default: fallback }, step.params[parameter], (value) => {
        step.params[parameter] = value;
        if (parameter === "format") this.#reformat(index, id);
        this.#write();
      });
      return [{ schema, field }];
    });
    const of = (/** @type {boolean} */ switches) =>
      drawn.filter(({ schema }) => (schema.type === "boolean") === switches).map(({ field }) => field);
    return make(
      "fieldset",
      { className: "step" },
      make("legend", { className: "hidden" }, `${name}: ${operation.title}`),
      head,
      make("p", { className: "hint" }, operation.description),
      make("div", { className: "fields" }, ...of(false), make("div", { className: "switches" }, ...of(true))),
    );
  }

  /** Another format has other settings. @param {number} index of the step @param {string} id to go back to */
  #reformat(index, id) {
    const { key, params } = this.steps[index];
    const properties = this.#operation(key).parameters.properties ?? {};
    for (const [name, schema] of Object.entries(properties))
      if (defaultOf(schema, properties, params) === ABSENT) delete params[name];
    this.#draw();
    byId(id).focus();
  }

  /** @param {string} id @param {any} schema @param {any} value @param {(value: any) => void} set */
  #drawField(id, schema, value, set) {
    const about = { id, title: schema.description ?? "" };
    // Where the default goes by the format, an empty field shows it and means it.
    const current = value ?? (schema["x-defaults"] && schema.type !== "boolean" ? undefined : schema.default);
    if (schema.type === "boolean") {
      const box = make("input", {
        ...about,
        type: "checkbox",
        checked: Boolean(current),
        onchange: () => set(box.checked === Boolean(schema.default) ? undefined : box.checked),
      });
      return make(
        "label",
        { className: "switch field", for: id, title: about.title },
        box,
        ` ${schema.title}`,
      );
    }
    const control = this.#drawControl(about, schema, current, set);
    const label = make(
      "label",
      { for: id },
      schema.title,
      schema["x-unit"] ? make("i", {}, ` ${schema["x-unit"]}`) : "",
    );
    return make("div", { className: "field", title: about.title }, label, control);
  }

  /**
   * @param {{id: string, title: string}} about
   * @param {any} schema
   * @param {any} current
   * @param {(value: any) => void} set
   */
  #drawControl(about, schema, current, set) {
    if (schema.enum) {
      const numeric = typeof schema.enum[0] === "number";
      const select = make(
        "select",
        { ...about, onchange: () => set(numeric ? Number(select.value) : select.value) },
        ...schema.enum.map((/** @type {any} */ option) =>
          make("option", { value: option, selected: option === current }, String(option)),
        ),
      );
      return select;
    }
    if (schema.format === "input-document") return this.#drawDocument(about, current, set);
    if (schema.format === "color") return this.#drawColour(about, schema, current, set);
    const number = schema.type === "integer" || schema.type === "number";
    const box = make("input", {
      ...about,
      type: number ? "number" : "text",
      value: current ?? "",
      placeholder: String(schema.default ?? "auto"),
      min: schema.minimum,
      max: schema.maximum,
      step: schema.multipleOf ?? (number ? 1 : undefined),
      autocomplete: "off",
      maxLength: schema.maxLength,
      inputMode: number ? "decimal" : undefined,
      oninput: () => {
        if (box.validity.valid) set(box.value === "" ? undefined : number ? Number(box.value) : box.value);
      },
    });
    if (!schema.examples?.length) return box;
    box.setAttribute("list", `${about.id}-list`);
    return make(
      "span",
      {},
      box,
      make(
        "datalist",
        { id: `${about.id}-list` },
        ...schema.examples.map((/** @type {string} */ value) => make("option", { value })),
      ),
    );
  }

  /**
   * @param {{id: string, title: string}} about
   * @param {string|undefined} current digest
   * @param {(value: any) => void} set
   */
  #drawDocument(about, current, set) {
    return make(
      "button",
      {
        ...about,
        type: "button",
        className: "quiet small",
        onclick: async () => {
          const digest = await this.askStrokes(current);
          if (digest === undefined) return;
          set(digest ?? undefined);
          this.#draw();
          byId(about.id).focus();
        },
      },
      current ? "Change…" : "Draw…",
    );
  }

  /** Takes strokes out of the key: they were drawn over another picture. */
  forgetStrokes() {
    for (const { params } of this.steps) delete params.strokes;
    this.#draw();
    this.#write();
  }

  /**
   * @param {{id: string, title: string}} about
   * @param {any} schema
   * @param {string|undefined} current
   * @param {(value: any) => void} set
   */
  #drawColour(about, schema, current, set) {
    const well = make("input", {
      type: "color",
      value: toHex(current ?? "silver"),
      "aria-label": "Pick the colour",
      oninput: () => {
        text.value = well.value.slice(1);
        set(text.value);
      },
    });
    const text = make("input", {
      ...about,
      type: "text",
      value: current ?? "",
      placeholder: schema.default ?? "auto",
      autocomplete: "off",
      list: `${about.id}-list`,
      oninput: () => {
        if (text.value) well.value = toHex(text.value.toLowerCase());
        set(text.value.toLowerCase().replace("#", "") || undefined);
      },
    });
    return make(
      "span",
      { className: "colour" },
      well,
      text,
      make("datalist", { id: `${about.id}-list` }, ...COLOURS.map((value) => make("option", { value }))),
    );
  }
}
