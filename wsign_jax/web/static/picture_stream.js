// @ts-check
/**
 * Hands found in a camera's pictures, as they come, become keypoints; a port of
 * `wsign_jax/keypoints/picture_stream.py`.
 */

import { LEFT_HAND, RIGHT_HAND, Tracker } from "./track.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./frames.js").Frames} Frames */
/** @typedef {import("./track.js").Detection} Detection */
/**
 * A hand as MediaPipe gives it: x and y of its joints are shares of the picture's width and height. The
 * name is of the signer's own hand.
 * @typedef {{hand: "left" | "right", score: number, points: number[][]}} SeenHand
 */

/** Turns the hands of one picture after another into frames. */
export class PictureStream {
  /** @param {Settings} settings */
  constructor(settings) {
    this.settings = settings;
    this.tracker = new Tracker(settings);
    this.last = -Infinity;
  }

  /**
   * Takes the hands in the next picture; returns the frames that this makes final, in parts.
   * @param {SeenHand[]} hands
   * @param {number} time seconds by any clock, after the last
   * @param {number} width of the picture, in the same unit as its height
   * @param {number} height
   * @returns {Frames[]}
   * @throws {Error} it is over an hour after the picture before, or a hand is not one
   */
  push(hands, time, width, height) {
    const { longest_pause, part } = this.settings.tracker;
    if (this.last > -Infinity && time - this.last > longest_pause) {
      throw new Error(
        `A picture is ${Math.round(time - this.last)} s later than the one before, more than an hour; ` +
          "begin again.",
      );
    }
    const detections = [];
    for (const hand of hands) {
      const detection = this.detection(hand, width, height);
      if (detection) detections.push(detection);
    }
    const parts = [];
    // Pictures without a hand in between change nothing after so long a gap.
    while (this.last > -Infinity && time - this.last > 2 * part) {
      this.last += part;
      parts.push(this.tracker.push(this.last, []));
    }
    this.last = time;
    parts.push(this.tracker.push(time, detections));
    return parts;
  }

  /** Returns the frames up to the last picture that were not returned yet. */
  finish() {
    return this.tracker.finish();
  }

  /**
   * Returns a hand in picture widths, or null if it is NaN, infinite or garbage.
   * @param {SeenHand} seen
   * @param {number} width
   * @param {number} height
   * @returns {Detection | null}
   */
  detection(seen, width, height) {
    const { joints, largest } = this.settings.hand;
    const { hand, score, points } = seen;
    if (points.length !== joints || (hand !== "left" && hand !== "right")) {
      throw new Error(
        `A picture has a hand ${hand} of ${points.length} joints; give left or right, and ${joints} joints.`,
      );
    }
    const aspect = height / width;
    const landmarks = Float64Array.from(points.flatMap(([x, y, z]) => [x, y * aspect, z]));
    const isPlausible = [...landmarks, score].every((number) => Math.abs(number) <= largest);
    return isPlausible ? { landmarks, hand: hand === "left" ? LEFT_HAND : RIGHT_HAND, score } : null;
  }
}
