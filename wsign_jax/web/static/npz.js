// @ts-check
/** Writes numpy's .npy and .npz, and zip files without compression. */

/** @typedef {{descr: string, shape: number[], data: Uint8Array}} NpyArray */

/**
 * @param {Float32Array} data
 * @param {number[]} shape
 * @returns {NpyArray}
 */
export function floats(data, shape) {
  return { descr: "<f4", shape, data: bytesOf(data) };
}

/**
 * @param {Uint8Array} data
 * @param {number[]} shape
 * @returns {NpyArray}
 */
export function bytes(data, shape) {
  return { descr: "|u1", shape, data };
}

/**
 * An array of one text, as numpy keeps text: four bytes a letter.
 * @param {string} text
 * @returns {NpyArray}
 */
export function oneText(text) {
  const letters = Uint32Array.from([...text].map((letter) => letter.codePointAt(0) ?? 0));
  const data = letters.length ? letters : new Uint32Array(1); // numpy has no texts of no letters
  return { descr: `<U${data.length}`, shape: [1], data: bytesOf(data) };
}

/**
 * Returns the content of a .npz.
 * @param {Record<string, NpyArray>} arrays by their names
 */
export function npz(arrays) {
  return zip(Object.entries(arrays).map(([name, array]) => [`${name}.npy`, npy(array)]));
}

/** @param {NpyArray} array */
function npy({ descr, shape, data }) {
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const padded = text + " ".repeat(63 - ((10 + text.length) % 64)) + "\n"; // data begin at a multiple of 64
  const head = [0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, padded.length & 255, padded.length >> 8];
  return join([Uint8Array.from(head), new TextEncoder().encode(padded), data]);
}

/**
 * Returns a zip file of some files, stored as they are.
 * @param {[string, Uint8Array][]} files
 */
export function zip(files) {
  /** @type {Uint8Array[]} */
  const parts = [];
  /** @type {Uint8Array[]} */
  const directory = [];
  let offset = 0;
  for (const [name, content] of files) {
    const encoded = new TextEncoder().encode(name);
    const utf8 = 0x800;
    // Version, flags, method, time and date (1980-01-01), checksum, sizes, length of the name.
    const common = [[20, 2], [utf8, 2], [0, 2], [0, 2], [33, 2], [crc32(content), 4],
      [content.length, 4], [content.length, 4], [encoded.length, 2], [0, 2]];
    const local = numbers([[0x04034b50, 4], ...common]);
    directory.push(
      numbers([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]),
      encoded,
    );
    parts.push(local, encoded, content);
    offset += local.length + encoded.length + content.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = files.length;
  const end = [[0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [offset, 4], [0, 2]];
  return join([...parts, ...directory, numbers(end)]);
}

/**
 * Little-endian numbers of so many bytes each.
 * @param {number[][]} fields
 */
function numbers(fields) {
  return Uint8Array.from(
    fields.flatMap(([value, size]) => Array.from({ length: size }, (_, n) => (value >>> (8 * n)) & 255)),
  );
}

const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** @param {Uint8Array} content */
function crc32(content) {
  let crc = 0xffffffff;
  for (const byte of content) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** @param {ArrayBufferView} view */
function bytesOf(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** @param {Uint8Array[]} parts */
function join(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}
