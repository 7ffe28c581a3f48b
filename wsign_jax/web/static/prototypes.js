// @ts-check
/**
 * Finds enrolled signs by the directions of the hands' bones, compared with recordings; a port of
 * `wsign_jax/decode/prototypes.py`, which explains it.
 */

import { Frames } from "./frames.js";
import { moves, norm } from "./track.js";

const HANDS = [0, 1];
const SMALLEST = 1e-6; // length that is divided by

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./settings.js").EnrolledSettings} EnrolledSettings */
/** @typedef {import("./arrays.js").Arrays} Arrays */
/**
 * An enrolled sign in frames from `begin` to before `end`; `isAlone`: hands are out of sight before and
 * after.
 * @typedef {{sign: number, begin: number, end: number, confidence: number, isAlone: boolean}} Sighting
 */
/**
 * What is remembered of a frame: the directions of its bones, as they are and mirrored, how far each wrist
 * goes, whether a hand is seen, and whether one moves.
 * @typedef {{directions: Float32Array, ways: number[], isSeen: boolean, moves: boolean}} Look
 */

/** Finds sightings in frames as they come; how they are cut into pushes changes nothing. */
export class Spotter {
  /**
   * Begins before the first frame.
   * @param {Settings} settings
   * @param {EnrolledSettings} known
   * @param {Arrays} arrays
   */
  constructor(settings, known, { vectors }) {
    this.settings = settings;
    this.known = known;
    this.vectors = vectors;
    /** @type {Look[]} Of the latest frames. */
    this.latest = [];
    this.before = Frames.empty(known.step, settings.hand.joints);
    this.total = 0; // frames that came
    this.end = 0; // frames that a window ended with
    this.free = 0; // the first frame after the last sighting
    /** @type {Sighting | null} */
    this.best = null;
    // While hands are in sight: since when, until when, and what was found as long as it may be one sign
    // as a whole.
    /** @type {number | null} */
    this.begin = null;
    this.until = 0;
    this.isShort = false;
    /** @type {Sighting[]} */
    this.held = [];
  }

  /** The frame before which no sighting begins that is not known yet. */
  get settled() {
    let earliest = Math.max(this.free, this.end + 1 - Math.max(...this.known.lengths));
    if (this.best) earliest = Math.min(earliest, this.best.begin);
    if (this.begin !== null && this.isShort) earliest = Math.min(earliest, this.begin);
    return earliest;
  }

  /**
   * Takes the next frames, and returns the sightings that are sure now.
   * @param {Frames} frames
   */
  see(frames) {
    const { hop, step, longest_alone, pause } = this.known;
    const known = Frames.concatenate(this.before, frames);
    this.before = known.between(frames.count);
    for (let frame = step; frame < known.count; frame++) {
      this.latest.push({
        directions: boneDirections(known, frame, this.known, this.settings),
        ways: wristWays(known, frame, this.known, this.settings),
        isSeen: known.isSeen(frame),
        moves: moves(known, frame - 1, this.settings), // the last one's speed is not known yet
      });
    }
    this.total += frames.count;
    const found = [];
    while (this.end + hop <= this.total) found.push(...this.compare(this.end + hop));
    this.latest.splice(0, this.latest.length - longest_alone - pause - 2 * hop);
    return found;
  }

  /** Ends the recording, and returns the sightings that become sure by that. */
  finish() {
    const found = this.total > this.end ? this.compare(this.total) : [];
    return [...found, ...this.settle(), ...this.endOfHands()];
  }

  /**
   * Compares the windows that end before a frame.
   * @param {number} end
   */
  compare(end) {
    this.lookForHands(end);
    const lengths = this.known.lengths.filter((length) => length <= end - this.free);
    const next = this.nearest(lengths, end, false);
    const found = [];
    if (next) {
      if (this.best && next.begin >= this.best.end) found.push(...this.settle());
      if (!this.best || next.confidence > this.best.confidence) this.best = next;
    }
    const { best } = this;
    if (best && 2 * (end - best.end) >= best.end - best.begin) found.push(...this.settle());
    if (this.begin !== null && this.until - this.begin > this.known.longest_alone) {
      this.isShort = false;
      found.unshift(...this.held.splice(0));
    }
    if (this.begin !== null && end - this.until >= this.known.pause) {
      found.push(...this.settle(), ...this.endOfHands());
    }
    return found;
  }

  /** @param {number} end of the next frames in which hands may be in sight */
  lookForHands(end) {
    const first = this.total - this.latest.length;
    for (let frame = this.end; frame < end; frame++) {
      if (!this.latest[frame - first].isSeen) continue;
      if (this.begin === null) {
        this.begin = frame;
        this.isShort = true;
      }
      this.until = frame + 1;
    }
    this.end = end;
  }

  /**
   * Returns the best of the windows that end before a frame; null if none fits a sign.
   * @param {number[]} lengths
   * @param {number} end
   * @param {boolean} isAlone whether hands are out of sight before the window and after
   * @returns {Sighting | null}
   */
  nearest(lengths, end, isAlone) {
    const { known } = this;
    const ease = isAlone ? known.alone : 0;
    const looks = this.latest.slice(0, this.latest.length - this.total + end);
    if (!looks.some(({ isSeen }) => isSeen)) return null;
    let best = { excess: -Infinity, recording: -1, length: 0 };
    for (const length of lengths) {
      if (length > looks.length) continue;
      const window = looks.slice(-length);
      const recordings = this.recordingsLike(window, isAlone ? known.least_alone : known.least);
      if (!recordings.length) continue;
      const both = embed(window, known.points);
      for (const recording of recordings) {
        const threshold = known.thresholds[known.signs[recording]];
        const excess = this.cosine(both, recording) - threshold + ease;
        if (excess > best.excess) best = { excess, recording, length };
      }
    }
    if (best.excess < 0) return null;
    const softness = isAlone ? known.softness_alone : known.softness;
    const confidence = 1 / (1 + Math.exp(-best.excess / softness));
    return { sign: known.signs[best.recording], begin: end - best.length, end, confidence, isAlone };
  }

  /**
   * Returns the recordings that last about as long as a window, and whose wrists go about as far.
   * @param {Look[]} window
   * @param {number} least multiple of either's length
   */
  recordingsLike(window, least) {
    const { frames, ways, farther, still } = this.known;
    const sums = HANDS.map((hand) => window.reduce((sum, look) => sum + look.ways[hand], 0));
    const way = Math.max(...sums) + still;
    return [...frames.keys()].filter((recording) => {
      const longer = window.length / frames[recording];
      const far = way / (ways[recording] + still);
      return longer >= least && longer <= 1 / least && far >= 1 / farther && far <= farther;
    });
  }

  /**
   * Returns the cosine of a window and a recording, or that of the mirrored window if it is larger.
   * @param {Float32Array[]} both embeddings
   * @param {number} recording
   */
  cosine(both, recording) {
    const products = both.map((vector) => {
      const begin = recording * vector.length;
      let sum = 0;
      for (let i = 0; i < vector.length; i++) sum += vector[i] * this.vectors[begin + i];
      return sum;
    });
    return Math.max(...products);
  }

  /** Ends the wait for a better window than the best. */
  settle() {
    const { best } = this;
    this.best = null;
    if (!best) return [];
    this.free = best.end;
    if (this.begin === null || !this.isShort) return [best];
    this.held.push(best);
    return [];
  }

  /** Ends the time for which hands were in sight: it is one sign as a whole, or what was held. */
  endOfHands() {
    const held = this.held.splice(0);
    const { begin, until } = this;
    this.begin = null;
    if (begin === null || !this.isShort) return held;
    const { margin } = this.known;
    const offset = this.total - this.latest.length;
    const moving = this.latest.slice(begin - offset, until - offset).map((look) => look.moves);
    let [first, last] = [begin, until];
    if (moving.includes(true)) {
      first = Math.max(begin, begin + moving.indexOf(true) - 1 - margin);
      last = Math.min(last, begin + moving.lastIndexOf(true) + margin);
    }
    const whole = last - first > 1 ? this.nearest([last - first], last, true) : null;
    if (!whole) return held;
    this.free = until;
    return [{ ...whole, begin, end: until }];
  }
}

/**
 * Returns the directions of a frame's bones, less the average hand's: as they are, and mirrored.
 * @param {Frames} frames
 * @param {number} frame
 * @param {EnrolledSettings} known
 * @param {Settings} settings
 */
function boneDirections(frames, frame, { bones, average_hand }, { hand }) {
  const size = 3 * HANDS.length * bones.length;
  const found = new Float32Array(2 * size);
  for (const side of HANDS) {
    if (!isHandSeen(frames, frame, side)) continue;
    const turn = side ? 1 : -1; // the average hand is a right one
    bones.forEach(([from, to], bone) => {
      const first = frame * HANDS.length * hand.joints + side * hand.joints;
      const [x, y, z] = difference(frames, first + to, first + from);
      const length = Math.max(norm(x, y, z), SMALLEST);
      const average = average_hand[bone];
      const direction = [x / length - turn * average[0], y / length - average[1], z / length - average[2]];
      found.set(direction, 3 * (side * bones.length + bone));
      direction[0] *= -1;
      found.set(direction, size + 3 * ((1 - side) * bones.length + bone));
    });
  }
  return found;
}

/**
 * Returns how far each wrist goes in a frame, in lengths of the hand; 0 unless the hand is seen, and was
 * some frames before.
 * @param {Frames} frames
 * @param {number} frame
 * @param {EnrolledSettings} known
 * @param {Settings} settings
 */
function wristWays(frames, frame, { step }, { hand, tracker }) {
  const joints = HANDS.length * hand.joints;
  return HANDS.map((side) => {
    if (!isHandSeen(frames, frame, side) || !isHandSeen(frames, frame - step, side)) return 0;
    const first = frame * joints + side * hand.joints;
    const wrist = first + hand.wrist;
    const palm = difference(frames, first + hand.middle_knuckle, wrist);
    const way = difference(frames, wrist, wrist - step * joints);
    const size = Math.max(norm(palm[0], palm[1], palm[2]), tracker.smallest_hand);
    return norm(way[0], way[1], way[2]) / step / size;
  });
}

/**
 * @param {Frames} frames
 * @param {number} frame
 * @param {number} side
 */
function isHandSeen({ confidence }, frame, side) {
  return confidence[HANDS.length * frame + side] > 0;
}

/**
 * Returns one joint's place less another's; joints are counted through all frames.
 * @param {Frames} frames
 * @param {number} joint
 * @param {number} other
 */
function difference({ positions }, joint, other) {
  return [0, 1, 2].map((i) => positions[3 * joint + i] - positions[3 * other + i]);
}

/**
 * Embeds a window of two frames or more: a unit vector as it is, and one mirrored.
 * @param {Look[]} window
 * @param {number} points
 */
function embed(window, points) {
  const size = window[0].directions.length / 2;
  return [0, 1].map((version) => {
    const vector = new Float32Array(points * size);
    let squares = 0;
    for (let point = 0; point < points; point++) {
      const at = (point / (points - 1)) * (window.length - 1);
      const before = Math.min(Math.floor(at), window.length - 2);
      const weight = at - before;
      const [a, b] = [window[before].directions, window[before + 1].directions];
      for (let i = 0; i < size; i++) {
        const number = (1 - weight) * a[version * size + i] + weight * b[version * size + i];
        vector[point * size + i] = number;
        squares += number * number;
      }
    }
    const length = Math.max(Math.sqrt(squares), SMALLEST);
    return vector.map((number) => number / length);
  });
}
