// @ts-check
/** Finds where a sentence of a stream ends; a port of `wsign_jax/stream/sentence_end.py`. */

import { Frames } from "./frames.js";
import { BLANK } from "./streaming.js";
import { moves } from "./track.js";

/** @typedef {import("./settings.js").Settings} Settings */

/**
 * Keeps the best labels of the current sentence until it is over: once no hand has moved for some time,
 * or when it is as long as sentences get. It ends with its last blank, so that no gloss is cut in two.
 */
export class Endpointer {
  /** @param {Settings} settings */
  constructor(settings) {
    this.settings = settings;
    /** @type {number[]} */
    this.kept = [];
    this.first = 0; // the sentence's first patch, as the stream counts them
    this.last = Frames.empty(2, settings.hand.joints); // the last is judged when the next has come
    this.still = -1; // frames since a hand moved; the first that is judged is before the stream
  }

  /** Whether the current sentence has no gloss yet. */
  get isEmpty() {
    return this.kept.every((id) => id === BLANK);
  }

  /** @param {Frames} frames the next ones */
  see(frames) {
    const known = Frames.concatenate(this.last, frames);
    this.still += frames.count;
    for (let frame = frames.count; frame > 0; frame--) {
      if (moves(known, frame, this.settings)) {
        this.still = frames.count - frame;
        break;
      }
    }
    this.last = known.between(frames.count);
  }

  /**
   * Takes the next patches. If patches before the `first` are left out, a new sentence begins.
   * @param {number} first
   * @param {number[]} ids their best labels
   * @returns {number} how many sentences are over
   */
  add(first, ids) {
    const { most_patches, rest_frames } = this.settings.sentence_end;
    let closed = 0;
    if (first !== this.first + this.kept.length) {
      closed += this.close(true);
      this.first = first;
    }
    while (this.kept.length + ids.length > most_patches && this.kept.length) closed += this.close();
    this.kept.push(...ids);
    return closed + (this.still >= rest_frames ? this.close() : 0);
  }

  /**
   * Ends the current sentence; at the stream's end it has all patches, even if a gloss goes on.
   * @param {boolean} [atEnd]
   * @returns {number} 1, or 0 if it has no gloss
   */
  close(atEnd = false) {
    const blank = this.kept.lastIndexOf(BLANK);
    const cut = blank < 0 || atEnd ? this.kept.length : blank + 1;
    const sentence = this.kept.splice(0, cut);
    this.first += cut;
    return sentence.some((id) => id !== BLANK) ? 1 : 0;
  }
}
