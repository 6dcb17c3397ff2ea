/** What is wrong with an op_key, as far as the catalogue tells. */
/** @import { Operation } from "../darkroom/types.js" */

/**
 * @param {string} opKey
 * @param {Operation[]} operations
 * @returns {string} a sentence about the first fault, or nothing
 */
export function faultOf(opKey, operations) {
  for (const step of opKey.split("+")) {
    const [key, ...pairs] = step.split(":");
    const operation = operations.find((known) => known.key === key);
    if (!operation) return key ? `There is no op "${key}" here.` : "A step is missing.";
    const properties = operation.parameters.properties ?? {};
    for (const pair of pairs) {
      const [, name, value] = /^([a-z]+)-(.+)$/.exec(pair) ?? [];
      if (!name) return `"${pair}" in ${key} is not written as parameter-value.`;
      const schema = properties[name];
      const said = schema ? faultOfValue(value, schema) : `is not one of ${Object.keys(properties).join(", ")}`;
      if (said) return `${name} of ${key} ${said}.`;
    }
  }
  return "";
}

/** @param {string} value @param {any} schema @returns {string} how the sentence ends, or nothing */
function faultOfValue(value, schema) {
  const types = [schema.type].flat();
  const number = Number(value);
  if (schema.enum)
    return schema.enum.some((/** @type {any} */ one) => String(one) === value || one === number)
      ? ""
      : `must be ${schema.enum.join(", ")}`.replace(/, (?=[^,]*$)/, " or ");
  if (schema.type === "boolean") return /^(true|false)$/.test(value) ? "" : "must be true or false";
  if (schema.format === "escaped-text") return "";
  const fits = schema.pattern && new RegExp(schema.pattern).test(value);
  if (!types.some((type) => type === "integer" || type === "number"))
    return fits || !schema.pattern ? "" : `cannot be "${value}"`;
  if (fits) return "";
  const { minimum = -Infinity, maximum = Infinity } = schema;
  const range = `must be a ${types.includes("integer") ? "whole number" : "number"} from ${minimum} to ${maximum}`;
  const whole = !types.includes("integer") || Number.isInteger(number);
  return whole && number >= minimum && number <= maximum ? "" : range;
}
