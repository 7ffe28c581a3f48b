// @ts-check
/** Reads the files of arrays that lie beside stream.json, as `wsign_jax/web/model_folder.py` writes them. */

/** @typedef {Record<string, Float32Array>} Arrays by their names */

/**
 * Returns a file's arrays.
 * @param {Uint8Array} content
 * @param {Record<string, number[]>} shapes by the arrays' names, in their order
 * @returns {Arrays | null} null if the file has another size
 */
export function readArrays(content, shapes) {
  // A copy begins at a multiple of four bytes, as floats must.
  const floats = new Float32Array(new Uint8Array(content).buffer, 0, Math.floor(content.length / 4));
  /** @type {Arrays} */
  const arrays = {};
  let begin = 0;
  for (const [name, shape] of Object.entries(shapes)) {
    const end = begin + shape.reduce((product, length) => product * length, 1);
    arrays[name] = floats.subarray(begin, end);
    begin = end;
  }
  return content.length === 4 * begin ? arrays : null;
}
