// @ts-check
/**
 * Hands seen in pictures become a left and a right hand in every frame; a port of
 * `wsign_jax/keypoints/track.py`, which explains it.
 */

import { Frames } from "./frames.js";
import { countBefore, findSamples, frameCount } from "./resample.js";

export const LEFT_HAND = 0;
export const RIGHT_HAND = 1;
const HANDS = 2;

/** @typedef {import("./settings.js").Settings} Settings */
/**
 * One hand in one picture: x, y, z of its joints in picture widths, one of `LEFT_HAND` and `RIGHT_HAND`
 * as reported, and the score of that report.
 * @typedef {{landmarks: Float64Array, hand: number, score: number}} Detection
 */
/** @typedef {{track: Track, votes: number, samples: [number, number, number]}} Present */

/** One hand as long as it is seen without a long gap. */
class Track {
  /** @param {Settings} settings */
  constructor(settings) {
    this.settings = settings;
    /** @type {number[]} */
    this.times = [];
    /** @type {Detection[]} */
    this.seen = [];
    /** @type {number[]} After each detection: the decayed log odds that it is the right hand. */
    this.votes = [];
    /** @type {number | null} In the last output frame. */
    this.name = null;
  }

  /** The time of the last detection. */
  get last() {
    return this.times[this.times.length - 1];
  }

  /**
   * @param {number} time
   * @param {Detection} detection
   */
  add(time, detection) {
    let decayed = 0;
    if (this.times.length) {
      const past = this.votes[this.votes.length - 1];
      decayed = past * Math.exp((this.last - time) / this.settings.tracker.memory);
    }
    this.times.push(time);
    this.seen.push(detection);
    this.votes.push(decayed + logOdds(detection, this.settings));
  }

  /**
   * Returns the cost of a detection as this track's next: minus log likelihood, up to a constant.
   * @param {number} time
   * @param {Detection} detection
   */
  cost(time, detection) {
    const { hand, tracker } = this.settings;
    const count = this.times.length;
    const elapsed = time - this.last;
    const last = this.seen[count - 1].landmarks;
    const x = 3 * hand.wrist;
    const y = x + 1;
    const expected = [last[x], last[y]];
    if (count > 1) {
      const earlier = this.seen[count - 2].landmarks;
      const steps =
        Math.min(elapsed, tracker.extrapolation) / (this.times[count - 1] - this.times[count - 2]);
      expected[0] += Math.min(steps, 1) * (last[x] - earlier[x]);
      expected[1] += Math.min(steps, 1) * (last[y] - earlier[y]);
    }
    const { landmarks } = detection;
    const size = Math.max(handSize(last, this.settings), handSize(landmarks, this.settings));
    const distance = norm(landmarks[x] - expected[0], landmarks[y] - expected[1], 0) / size;
    const vote = logOdds(detection, this.settings);
    const past = this.votes[count - 1];
    const contradiction = vote * past < 0 ? Math.min(Math.abs(vote), Math.abs(past)) : 0;
    const away = distance / (tracker.spread + tracker.spread_per_second * elapsed);
    // Huber's loss: hands that reverse are found far from where they were expected.
    const { linear } = tracker;
    const surprise = away < linear ? 0.5 * away ** 2 : linear * (away - 0.5 * linear);
    return surprise + contradiction;
  }

  /**
   * Drops samples that no frame from `time` on needs; the last two stay for `cost`.
   * @param {number} time
   */
  forgetBefore(time) {
    const keep = Math.min(countBefore(this.times, time), Math.max(this.times.length - 2, 0));
    this.times.splice(0, keep);
    this.seen.splice(0, keep);
    this.votes.splice(0, keep);
  }
}

/** Turns detections, picture by picture, into frames at a constant rate. */
export class Tracker {
  /** @param {Settings} settings */
  constructor(settings) {
    this.settings = settings;
    this.fps = settings.fps;
    this.delay = settings.tracker.delay_frames / settings.fps;
    /** @type {Track[]} That the next picture may continue. */
    this.live = [];
    /** @type {Track[]} That an output frame to come may need. */
    this.tracks = [];
    this.first = this.last = -Infinity; // times of pictures
    this.done = 0; // output frames
    /** @type {(Track | null)[]} In the last output frame. */
    this.shown = [null, null];
  }

  /**
   * Takes the hands in the next picture; returns the frames up to the look-ahead before it.
   * @param {number} time seconds, which must increase
   * @param {Detection[]} detections
   */
  push(time, detections) {
    if (this.first === -Infinity) this.first = time;
    this.last = time;
    this.associate(time, distinct(detections, this.settings));
    // Two too few, because this may be rounded; then the frames' own times decide.
    const least = Math.trunc((time - this.delay - this.first) * this.fps) - 2;
    let count = Math.max(this.done, least);
    while (this.timeOf(count) + this.delay <= time) count++;
    return this.output(count);
  }

  /** Returns the frames up to the last picture that pushes have not returned. */
  finish() {
    const pushed = this.first !== -Infinity;
    return this.output(pushed ? frameCount(this.last - this.first, this.fps) : 0);
  }

  /** @param {number} frame */
  timeOf(frame) {
    return this.first + frame / this.fps;
  }

  /**
   * @param {number} time
   * @param {Detection[]} detections
   */
  associate(time, detections) {
    const { max_gap, rounding, new_track } = this.settings.tracker;
    const live = this.live.filter((track) => time - track.last <= max_gap + rounding);
    const costs = detections.map((one) => live.map((track) => track.cost(time, one)));
    const seen = bestMatches(costs, new_track).map((match, number) => {
      const track = match === null ? new Track(this.settings) : live[match];
      track.add(time, detections[number]);
      if (match === null) this.tracks.push(track);
      return track;
    });
    // Tracks seen now stay; another track may wait only if a hand is left for it.
    const waiting = live.filter((track) => !seen.includes(track));
    waiting.sort((a, b) => b.last - a.last);
    this.live = [...seen, ...waiting].slice(0, HANDS);
  }

  /** @param {number} count of output frames, those that are done included */
  output(count) {
    let rows = Math.max(count - this.done, 0);
    const frames = Frames.empty(rows, this.settings.hand.joints);
    if (!this.tracks.length) {
      // no hand in any of them, as in a long pause
      this.done += Math.max(rows - 1, 0);
      rows = Math.min(rows, 1);
    }
    for (let row = 0; row < rows; row++) {
      this.fillFrame(frames.between(row, row + 1));
      this.done++;
    }
    const oldest = this.timeOf(this.done) - this.settings.tracker.max_gap - 1 / this.fps;
    this.tracks = this.tracks.filter((t) => t.last >= oldest || this.live.includes(t));
    for (const track of this.tracks) track.forgetBefore(oldest);
    return frames;
  }

  /** @param {Frames} frame to fill in, from what is known the look-ahead after it */
  fillFrame(frame) {
    const present = this.present(this.timeOf(this.done));
    this.name(present);
    /** @type {(Track | null)[]} */
    const shown = [null, null];
    const size = frame.positions.length / HANDS;
    for (const { track, samples } of present) {
      const hand = /** @type {number} */ (track.name);
      // If another track follows this hand's last at once, the hand is absent for a frame in between.
      // Otherwise the jump from one place to the other would pass for velocity.
      if (this.shown[hand] !== null && this.shown[hand] !== track) continue;
      const [before, after, weight] = samples;
      const a = track.seen[before];
      const b = track.seen[after];
      for (let i = 0; i < size; i++) {
        const place = a.landmarks[i] + weight * (b.landmarks[i] - a.landmarks[i]);
        frame.positions[hand * size + i] = place;
      }
      frame.confidence[hand] = a.score + weight * (b.score - a.score);
      shown[hand] = track;
    }
    this.shown = shown;
  }

  /**
   * Returns the tracks that cover a time, two at most.
   * @param {number} time
   * @returns {Present[]}
   */
  present(time) {
    const found = [];
    for (const track of this.tracks) {
      // A picture later than the stated look-ahead must not count, even if it is known.
      const known = countBefore(track.times, time + this.delay, true);
      const samples = findSamples(track.times, known, time, this.fps, this.settings.tracker);
      if (samples === null) continue;
      const [before, after] = samples;
      const away = Math.min(...[before, after].map((i) => Math.abs(track.times[i] - time)));
      const outside = before === after ? 1 : 0;
      found.push({ outside, away, track, votes: track.votes[known - 1], samples });
    }
    found.sort((a, b) => a.outside - b.outside || a.away - b.away);
    return found.slice(0, HANDS);
  }

  /** @param {Present[]} present the tracks of a frame, to be named */
  name(present) {
    if (!present.length) return;
    const x = 3 * this.settings.hand.wrist;
    const { renaming } = this.settings.tracker;
    const [{ track, votes, samples }, beside] = present;
    const seen = track.seen[samples[0]];
    // The evidence that the first is the right hand and the other the left.
    let evidence = votes;
    if (beside) {
      // If the labels do not decide: a signer's right hand is mostly on the picture's left.
      const places = beside.track.seen[beside.samples[0]].landmarks[x] - seen.landmarks[x];
      evidence = votes - beside.votes || places;
    } else if (!evidence) {
      evidence = seen.hand === RIGHT_HAND ? 1 : -1;
    }
    /** @type {[Track | undefined, number][]} */
    const known = [
      [track, RIGHT_HAND],
      [beside?.track, LEFT_HAND],
    ];
    for (const [one, right] of known) {
      if (one && one.name !== null) evidence += one.name === right ? renaming : -renaming;
    }
    track.name = evidence > 0 ? RIGHT_HAND : LEFT_HAND;
    if (beside) beside.track.name = evidence > 0 ? LEFT_HAND : RIGHT_HAND;
  }
}

/**
 * Tells whether a frame shows a hand that moves and is seen in the frames beside it.
 * @param {Frames} frames
 * @param {number} frame neither the first nor the last
 * @param {Settings} settings
 */
export function moves({ positions, confidence, width }, frame, { fps, hand, tracker }) {
  for (const side of [LEFT_HAND, RIGHT_HAND]) {
    if (![-1, 0, 1].every((step) => confidence[HANDS * (frame + step) + side] > 0)) continue;
    let sum = 0;
    for (let joint = 0; joint < hand.joints; joint++) {
      const after = (frame + 1) * width + 3 * (side * hand.joints + joint);
      const [x, y, z] = [0, 1, 2].map((i) => positions[after + i] - positions[after - 2 * width + i]);
      sum += norm(x, y, z);
    }
    if ((sum / hand.joints) * (fps / 2) > tracker.rest_speed) return true;
  }
  return false;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number} z
 */
export function norm(x, y, z) {
  return Math.sqrt(x * x + y * y + z * z);
}

/**
 * Returns the log odds that a detection is a right hand, by its label alone.
 * @param {Detection} detection
 * @param {Settings} settings
 */
function logOdds(detection, settings) {
  const { least_score, most_score, most_log_odds } = settings.tracker;
  const score = Math.min(Math.max(detection.score, least_score), most_score);
  const odds = most_log_odds * Math.tanh(Math.log(score / (1 - score)) / most_log_odds);
  return detection.hand === RIGHT_HAND ? odds : -odds;
}

/**
 * Returns the size of a hand, wrist to middle knuckle.
 * @param {Float64Array} landmarks
 * @param {Settings} settings
 */
function handSize(landmarks, settings) {
  const { wrist, middle_knuckle } = settings.hand;
  const [x, y, z] = [0, 1, 2].map((i) => landmarks[3 * middle_knuckle + i] - landmarks[3 * wrist + i]);
  return Math.max(norm(x, y, z), settings.tracker.smallest_hand);
}

/**
 * Drops a second report of the same hand; the surer one stays.
 * @param {Detection[]} detections
 * @param {Settings} settings
 */
function distinct(detections, settings) {
  /** @type {Detection[]} */
  const kept = [];
  for (const one of [...detections].sort((a, b) => b.score - a.score)) {
    const size = handSize(one.landmarks, settings);
    const isNear = (/** @type {Detection} */ other) =>
      meanDistance(one.landmarks, other.landmarks) <
      settings.tracker.same_hand * Math.max(handSize(other.landmarks, settings), size);
    if (!kept.some(isNear)) kept.push(one);
  }
  return kept.slice(0, HANDS);
}

/**
 * @param {Float64Array} a
 * @param {Float64Array} b
 */
function meanDistance(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 3) {
    sum += norm(a[i] - b[i], a[i + 1] - b[i + 1], a[i + 2] - b[i + 2]);
  }
  return sum / (a.length / 3);
}

/**
 * Returns each detection's track, or null for a new one, at the least total of at most 2 x 2 costs.
 * @param {number[][]} costs
 * @param {number} newTrack the cost of a new one
 */
function bestMatches(costs, newTrack) {
  /** @type {(number | null)[][]} */
  let matches = [[]];
  for (const row of costs) {
    const choices = [...row.keys(), null];
    matches = matches.flatMap((taken) =>
      choices
        .filter((track) => track === null || !taken.includes(track))
        .map((track) => [...taken, track]),
    );
  }
  const totals = matches.map((match) => {
    const chosen = match.map((track, i) => (track === null ? newTrack : costs[i][track]));
    return chosen.reduce((sum, cost) => sum + cost, 0);
  });
  return matches[totals.indexOf(Math.min(...totals))];
}
