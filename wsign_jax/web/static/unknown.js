// @ts-check
/**
 * Tells signs that a model does not know; a port of `wsign_jax/decode/unknown.py`, which explains it.
 */

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./settings.js").UnknownSettings} UnknownSettings */
/** @typedef {import("./arrays.js").Arrays} Arrays */
/** @typedef {import("./streaming.js").PatchRun} PatchRun */

/** The looks of spans of all glosses, and the rule: a gloss is unknown if its span is not familiar enough. */
export class UnknownRule {
  /**
   * @param {UnknownSettings} settings
   * @param {Arrays} arrays
   */
  constructor({ below, seen }, { means, center, within, around }) {
    this.below = below;
    this.seen = seen;
    this.means = means;
    this.center = center;
    this.within = within;
    this.around = around;
  }

  /**
   * Returns how familiar a vector is as the span of a gloss; see `Familiarity.scores` in Python.
   * @param {Float64Array} vector mean log posteriors
   * @param {number} id
   */
  score(vector, id) {
    if (vector.some(Number.isNaN)) return -Infinity;
    if (!this.seen[id]) return Infinity;
    const mean = this.means.subarray(id * vector.length, (id + 1) * vector.length);
    const own = square(minus(vector, mean), this.within);
    return square(minus(vector, this.center), this.around) - own;
  }
}

/** Finds a stream's unknown glosses as the rule does with the whole recording. */
export class StreamedUnknown {
  /**
   * Begins before the first patch.
   * @param {Settings} settings
   * @param {UnknownSettings} unknown
   * @param {Arrays} arrays
   */
  constructor(settings, unknown, arrays) {
    this.rule = new UnknownRule(unknown, arrays);
    this.labels = settings.labels.length;
    this.least = unknown.least;
    this.longest = unknown.longest;
    this.room = settings.chunk + unknown.longest; // a gloss that has just ended is in the last chunk
    /** @type {{number: number, logProbs: Float32Array}[]} The latest patches. */
    this.patches = [];
  }

  /**
   * Takes the log posteriors of the next patches.
   * @param {number} first the number of the first of them
   * @param {Float32Array} logProbs of patches, one after the other
   */
  see(first, logProbs) {
    const count = logProbs.length / this.labels;
    for (let i = 0; i < count; i++) {
      const row = logProbs.slice(i * this.labels, (i + 1) * this.labels);
      this.patches.push({ number: first + i, logProbs: row });
    }
    this.patches.splice(0, this.patches.length - this.room);
  }

  /**
   * Tells whether a gloss is unknown.
   * @param {PatchRun} run
   */
  isUnknown({ id, start, end }) {
    return this.rule.score(this.spanVector(start, end), id) < this.rule.below;
  }

  /**
   * Returns the mean log posteriors of a span; NaN if it is empty.
   * @param {number} start its first patch
   * @param {number} end the patch after its last
   */
  spanVector(start, end) {
    const inside = this.patches.filter(({ number }) => start <= number && number < end);
    const span = inside.slice(-this.longest);
    const vector = new Float64Array(this.labels);
    for (const { logProbs } of span) {
      for (let id = 0; id < this.labels; id++) vector[id] += Math.max(logProbs[id], this.least);
    }
    return vector.map((sum) => sum / span.length);
  }
}

/**
 * @param {Float64Array} vector
 * @param {Float32Array} other
 */
function minus(vector, other) {
  return vector.map((number, i) => number - other[i]);
}

/**
 * Returns v M v.
 * @param {Float64Array} vector
 * @param {Float32Array} matrix
 */
function square(vector, matrix) {
  const size = vector.length;
  let sum = 0;
  for (let row = 0; row < size; row++) {
    let product = 0;
    for (let i = 0; i < size; i++) product += matrix[row * size + i] * vector[i];
    sum += vector[row] * product;
  }
  return sum;
}
