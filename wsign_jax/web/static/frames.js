// @ts-check
/** Keypoints at a constant rate, as `Frames` of `wsign_jax/keypoints/track.py`. */

const HANDS = 2;

/** Some frames: of each the positions of 42 joints, and the confidence of the left and the right hand. */
export class Frames {
  /**
   * @param {Float32Array} positions picture widths, zeros where the hand is absent
   * @param {Float32Array} confidence 0 where the hand is absent
   */
  constructor(positions, confidence) {
    this.positions = positions;
    this.confidence = confidence;
  }

  /**
   * Makes frames without a hand.
   * @param {number} count
   * @param {number} joints of one hand
   */
  static empty(count, joints) {
    return new Frames(new Float32Array(count * HANDS * joints * 3), new Float32Array(count * HANDS));
  }

  /**
   * Returns the frames of both in their order.
   * @param {Frames} first
   * @param {Frames} second
   */
  static concatenate(first, second) {
    const positions = new Float32Array(first.positions.length + second.positions.length);
    const confidence = new Float32Array(first.confidence.length + second.confidence.length);
    positions.set(first.positions);
    positions.set(second.positions, first.positions.length);
    confidence.set(first.confidence);
    confidence.set(second.confidence, first.confidence.length);
    return new Frames(positions, confidence);
  }

  /** @returns {number} */
  get count() {
    return this.confidence.length / HANDS;
  }

  /** Numbers of one frame's positions. */
  get width() {
    return this.positions.length / Math.max(this.count, 1);
  }

  /**
   * Returns the frames from `begin` to before `end`, which share the memory.
   * @param {number} begin
   * @param {number} [end]
   */
  between(begin, end = this.count) {
    return new Frames(
      this.positions.subarray(begin * this.width, end * this.width),
      this.confidence.subarray(begin * HANDS, end * HANDS),
    );
  }

  /**
   * Copies other frames here, the first of them to frame `begin`.
   * @param {Frames} frames
   * @param {number} begin
   */
  set(frames, begin) {
    this.positions.set(frames.positions, begin * this.width);
    this.confidence.set(frames.confidence, begin * HANDS);
  }

  /**
   * Tells whether a frame shows a hand.
   * @param {number} frame
   */
  isSeen(frame) {
    return this.confidence[HANDS * frame] !== 0 || this.confidence[HANDS * frame + 1] !== 0;
  }

  /** Returns the number of the first frame that shows a hand; -1 without one. */
  firstSeen() {
    for (let frame = 0; frame < this.count; frame++) if (this.isSeen(frame)) return frame;
    return -1;
  }

  /** Returns the number of the last frame that shows a hand; -1 without one. */
  lastSeen() {
    for (let frame = this.count - 1; frame >= 0; frame--) if (this.isSeen(frame)) return frame;
    return -1;
  }
}
