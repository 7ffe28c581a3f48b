// @ts-check
/** From the times of pictures to a constant frame rate; a port of `wsign_jax/keypoints/resample.py`. */

/** @typedef {import("./settings.js").TrackerSettings} TrackerSettings */

/**
 * Counts the times before `time`, or also those equal to it; `times` increase.
 * @param {number[]} times
 * @param {number} time
 * @param {boolean} [equal]
 */
export function countBefore(times, time, equal = false) {
  let count = times.length;
  while (count > 0 && (equal ? times[count - 1] > time : times[count - 1] >= time)) count--;
  return count;
}

/**
 * Finds the samples that make a hand's frame at `time`: [i, j, w] for (1 - w) * s[i] + w * s[j].
 * @param {number[]} times of the samples, increasing seconds
 * @param {number} known how many of them count
 * @param {number} time
 * @param {number} fps
 * @param {TrackerSettings} settings
 * @returns {[number, number, number] | null} null if the hand is absent
 */
export function findSamples(times, known, time, fps, settings) {
  const { max_gap, rounding } = settings;
  const after = Math.min(countBefore(times, time), known);
  const before = after - 1;
  const near = [before, after].filter((index) => index >= 0 && index < known);
  if (!near.length) return null;
  const away = near.map((index) => Math.abs(times[index] - time));
  const nearest = away.length > 1 && away[1] < away[0] ? near[1] : near[0];
  const distance = Math.min(...away);
  if (distance <= rounding) return [nearest, nearest, 0];
  if (near.length === 2 && times[after] - times[before] <= max_gap + rounding) {
    return [before, after, (time - times[before]) / (times[after] - times[before])];
  }
  return distance <= 0.5 / fps + rounding ? [nearest, nearest, 0] : null;
}

/**
 * Counts the frames of a video whose last picture is `seconds` after its first.
 * @param {number} seconds
 * @param {number} fps
 */
export function frameCount(seconds, fps) {
  const exact = seconds * fps;
  const low = Math.floor(exact);
  // A half goes to the even number, as in Python.
  const up = exact - low > 0.5 || (exact - low === 0.5 && low % 2 === 1);
  return low + (up ? 1 : 0) + 1;
}
