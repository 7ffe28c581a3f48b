// @ts-check
/**
 * Puts the sightings of enrolled signs among the glosses that the network recognizes; a port of
 * `wsign_jax/decode/enrolled_signs.py`, which explains it.
 */

import { Spotter } from "./prototypes.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./settings.js").EnrolledSettings} EnrolledSettings */
/** @typedef {import("./arrays.js").Arrays} Arrays */
/** @typedef {import("./frames.js").Frames} Frames */
/** @typedef {import("./prototypes.js").Sighting} Sighting */
/** @typedef {import("./stream.js").Candidate} Candidate */
/** @typedef {{candidate: Candidate, isAlone: boolean}} Found */

/** Merges two streams of glosses: the network's, and sightings of enrolled signs. */
export class EnrolledSigns {
  /**
   * Begins before the first frame.
   * @param {Settings} settings
   * @param {EnrolledSettings} known
   * @param {Arrays} arrays
   */
  constructor(settings, known, arrays) {
    this.known = known;
    this.fps = settings.fps;
    this.hasRule = settings.unknown !== null; // unknown glosses are told from known ones
    this.spotter = new Spotter(settings, known, arrays);
    /** @type {Found[]} Whose glosses may still come. */
    this.sightings = [];
    /** @type {Candidate[]} That a sighting may still replace, or come before. */
    this.waiting = [];
    /** @type {Candidate[]} Of the network, given away, that speak against sightings. */
    this.past = [];
  }

  /** @param {Frames} frames the next ones */
  see(frames) {
    this.add(this.spotter.see(frames));
  }

  /**
   * Takes the network's next glosses, and returns what is sure now.
   * @param {Candidate[]} candidates that will not change any more
   * @param {number} until seconds before which no gloss of the network will begin that was not given
   */
  merge(candidates, until) {
    return this.sure(candidates, until, this.spotter.settled / this.fps);
  }

  /**
   * Takes the network's last glosses, and returns all that are left.
   * @param {Candidate[]} candidates
   */
  finish(candidates) {
    this.add(this.spotter.finish());
    return this.sure(candidates, Infinity, Infinity);
  }

  /** @param {Sighting[]} found */
  add(found) {
    for (const { sign, begin, end, confidence, isAlone } of found) {
      const gloss = {
        label: this.known.names[sign],
        start: begin / this.fps,
        end: end / this.fps,
        confidence,
      };
      this.sightings.push({ candidate: { gloss, isUnknown: false, isEnrolled: true }, isAlone });
    }
  }

  /**
   * @param {Candidate[]} candidates
   * @param {number} until
   * @param {number} settled seconds before which no sighting begins that is not known yet
   */
  sure(candidates, until, settled) {
    const { near } = this.known;
    this.waiting.push(...candidates);
    const open = this.sightings.filter(({ candidate }) => candidate.gloss.end + near > until);
    for (const found of this.sightings.slice(0, this.sightings.length - open.length)) this.place(found);
    this.sightings = open;
    // Nothing will begin before that, and no sighting will cover a gloss that ends before it.
    settled = Math.min(settled, ...open.map(({ candidate }) => candidate.gloss.start));
    this.waiting.sort((a, b) => a.gloss.start - b.gloss.start);
    const first = this.waiting.findIndex(
      (x) => x.gloss.start >= Math.min(until, settled) || x.gloss.end > settled,
    );
    const sure = this.waiting.splice(0, first < 0 ? this.waiting.length : first);
    this.past = [...this.past, ...sure].filter((x) => !x.isEnrolled && middle(x) >= settled - near);
    return sure;
  }

  /** @param {Found} found a sighting, which takes the place of the glosses in it unless one stands */
  place({ candidate, isAlone }) {
    const inside = isAlone ? this.touching(candidate) : this.around(candidate, 0);
    const byRule = this.hasRule && !isAlone;
    const close = byRule ? this.around(candidate, this.known.near) : inside;
    if (close.some((x) => stands(x, candidate, byRule))) return;
    this.waiting = [...this.waiting.filter((x) => !inside.includes(x)), candidate];
  }

  /**
   * Returns the network's glosses that share some time with a sighting.
   * @param {Candidate} sighting
   */
  touching({ gloss: { start, end } }) {
    return this.waiting.filter((x) => !x.isEnrolled && x.gloss.start < end && x.gloss.end > start);
  }

  /**
   * Returns the network's glosses whose middle lies in a sighting, or so many seconds from it.
   * @param {Candidate} sighting
   * @param {number} margin
   */
  around({ gloss }, margin) {
    const begin = gloss.start - margin;
    const end = gloss.end + margin;
    return [...this.past, ...this.waiting].filter(
      (x) => !x.isEnrolled && begin <= middle(x) && middle(x) < end,
    );
  }
}

/**
 * Tells whether a gloss keeps a sighting out: by the rule for unknown signs, or by confidence.
 * @param {Candidate} candidate
 * @param {Candidate} sighting
 * @param {boolean} byRule
 */
function stands(candidate, sighting, byRule) {
  if (byRule) return !candidate.isUnknown;
  return candidate.gloss.confidence >= sighting.gloss.confidence;
}

/** @param {Candidate} candidate */
function middle({ gloss }) {
  return (gloss.start + gloss.end) / 2;
}
