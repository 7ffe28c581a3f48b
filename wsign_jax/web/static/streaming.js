// @ts-check
/** Greedy decoding of posteriors that arrive chunk by chunk; a port of `wsign_jax/decode/streaming.py`. */

export const BLANK = 0;

/**
 * Neighboring patches with the same best label: a gloss, unless it is the blank. `end` is the patch after
 * the last so far, `logProb` the highest log posterior of the label.
 * @typedef {{id: number, start: number, end: number, logProb: number}} PatchRun
 */

/** @type {PatchRun} Before the first patch. */
export const NO_RUN = { id: BLANK, start: 0, end: 0, logProb: 0 };

/**
 * Returns each patch's best label and its log posterior; of equal ones the first.
 * @param {Float32Array} logProbs of patches, one after the other
 * @param {number} labels of one patch
 * @returns {{id: number, logProb: number}[]}
 */
export function bestLabels(logProbs, labels) {
  const found = [];
  for (let begin = 0; begin < logProbs.length; begin += labels) {
    let best = begin;
    for (let i = begin + 1; i < begin + labels; i++) if (logProbs[i] > logProbs[best]) best = i;
    found.push({ id: best - begin, logProb: logProbs[best] });
  }
  return found;
}

/**
 * Takes the next patches, the first of which has the number `first`.
 * @param {PatchRun} run that may go on
 * @param {{id: number, logProb: number}[]} best
 * @param {number} first
 * @returns {{ended: PatchRun[], run: PatchRun}} the glosses that have ended, and the run that may go on
 */
export function extendRun(run, best, first) {
  const ended = [];
  for (const [i, { id, logProb }] of best.entries()) {
    const end = first + i + 1;
    if (id === run.id) {
      run = { ...run, end, logProb: Math.max(run.logProb, logProb) };
    } else {
      if (run.id !== BLANK) ended.push(run);
      run = { id, start: end - 1, end, logProb };
    }
  }
  return { ended, run };
}

/**
 * Returns sigmoid(logit(confidence) / temperature), as `wsign_jax/decode/confidence.py` does.
 * @param {number} confidence
 * @param {number} temperature
 */
export function calibrate(confidence, temperature) {
  const right = confidence ** (1 / temperature);
  const wrong = (1 - confidence) ** (1 / temperature);
  return right / (right + wrong);
}
