/** @import { Operation } from "./types.js" */

/**
 * Writes an op_key of one step from its catalogue entry and the values of a form. Values that are empty or equal to
 * the default are left out, the others sorted by name; the server still has the last word on the canonical spelling.
 * @param {Pick<Operation, "key"|"parameters">} operation
 * @param {Record<string, string|number|boolean|null|undefined>} values
 * @returns {string} e.g. `resize-v1:fit-cover:width-800`
 */
export function buildOpKey(operation, values) {
  const properties = operation.parameters.properties ?? {};
  const given = Object.keys(values)
    .sort()
    .flatMap((name) => {
      const value = values[name],
        schema = properties[name] ?? {};
      if (value === null || value === undefined || value === "" || value === schema.default) return [];
      return [
        `${name}-${schema.format === "escaped-text" ? escapeText(String(value)) : String(value).toLowerCase()}`,
      ];
    });
  return [operation.key, ...given].join(":");
}

/**
 * Capitals as `_a`, a space as `__`, anything else beyond `a-z0-9.-` as `_.hex.`.
 * @param {string} text
 */
function escapeText(text) {
  return Array.from(text, (character) => {
    if (/[a-z0-9.-]/.test(character)) return character;
    if (/[A-Z]/.test(character)) return `_${character.toLowerCase()}`;
    return character === " " ? "__" : `_.${/** @type {number} */ (character.codePointAt(0)).toString(16)}.`;
  }).join("");
}

/** @param {string} text the inverse of escapeText */
const unescapeText = (text) =>
  text.replace(/__|_\.([0-9a-f]+)\.|_([a-z])/g, (match, code, capital) =>
    code ? String.fromCodePoint(parseInt(code, 16)) : capital ? capital.toUpperCase() : " ",
  );

/**
 * Reads an op_key into its steps. With the catalogue, values take the types that the schema gives them.
 * @param {string} opKey
 * @param {Operation[]} [operations]
 * @returns {{key: string, params: Record<string, any>}[]}
 */
export function parseOpKey(opKey, operations = []) {
  return opKey.split("+").map((step) => {
    const [key, ...pairs] = step.split(":");
    const schemas = operations.find((operation) => operation.key === key)?.parameters.properties ?? {};
    return {
      key,
      params: Object.fromEntries(
        pairs.map((pair) => {
          const cut = pair.indexOf("-");
          const name = pair.slice(0, cut),
            value = pair.slice(cut + 1),
            schema = schemas[name] ?? {};
          if (schema.type === "integer" || schema.type === "number" || typeof schema.enum?.[0] === "number")
            return [name, Number(value)];
          if (schema.type === "boolean") return [name, value === "true"];
          return [name, schema.format === "escaped-text" ? unescapeText(value) : value];
        }),
      ),
    };
  });
}
