// @ts-check
/**
 * A stream of hands: pictures in, glosses out; a port of `wsign_jax/stream/stream.py` and
 * `wsign_jax/stream/chunks.py`, which explain it.
 */

import { EnrolledSigns } from "./enrolled_signs.js";
import { onlyBlanks } from "./exported_stream.js";
import { Frames } from "./frames.js";
import { PictureStream } from "./picture_stream.js";
import { Endpointer } from "./sentence_end.js";
import { BLANK, NO_RUN, bestLabels, calibrate, extendRun } from "./streaming.js";
import { StreamedUnknown } from "./unknown.js";

const GOES_ON = 2 ** 30; // patches of a stream whose end is not known yet

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./arrays.js").Arrays} Arrays */
/** @typedef {import("./exported_stream.js").ExportedStream} ExportedStream */
/** @typedef {import("./picture_stream.js").SeenHand} SeenHand */
/** @typedef {import("./streaming.js").PatchRun} PatchRun */
/** @typedef {{label: string, start: number, end: number, confidence: number}} Gloss Seconds of the stream. */
/**
 * A gloss that may be in the transcript: `isUnknown` by the rule for unknown signs.
 * @typedef {{gloss: Gloss, isUnknown: boolean, isEnrolled: boolean}} Candidate
 */
/**
 * What a picture has brought. `stable` are new glosses, which never change again; `pending` is what may
 * change; `sentenceEnd` says whether a sentence has ended, with glosses that are stable. `chunkMs` is the
 * mean time in milliseconds of a chunk's model and decoding, 0 if this picture filled no chunk.
 * @typedef {{stable: Candidate[], pending: Candidate[], sentenceEnd: boolean, chunkMs: number}} StreamResult
 */

/** One stream from its first picture to its last. Its memory is the same after an hour. */
export class Stream {
  /**
   * @param {Settings} settings
   * @param {ExportedStream} model
   * @param {Arrays} arrays
   */
  constructor(settings, model, arrays) {
    const { chunk, look_ahead, patch_size, hand, sentence_end, unknown, enrolled } = settings;
    this.settings = settings;
    this.model = model;
    this.pictures = new PictureStream(settings);
    this.endpointer = sentence_end.rest_frames ? new Endpointer(settings) : null;
    this.unknown = unknown && new StreamedUnknown(settings, unknown, arrays);
    this.enrolled = enrolled && new EnrolledSigns(settings, enrolled, arrays);
    this.finished = false;

    this.length = chunk * patch_size; // frames of a chunk
    // The first chunk that comes out lies before the stream, because the network looks ahead.
    this.first = -Math.ceil(look_ahead / chunk) * chunk; // first patch of the chunk that comes out
    this.begin = (-this.first - look_ahead) * patch_size; // first frame of the chunk that is the stream's
    this.filled = this.begin; // frames of the chunk, the ones before the stream included
    this.frames = Frames.empty(this.length + 1, hand.joints); // of the chunk, and the first of the next
    this.skipped = 0; // patches that were not encoded, since no hand was seen
    this.total = 0; // frames of the stream
    this.lastSeen = -settings.no_hands_frames - this.length; // the last frame that shows a hand
    this.quiet = 0; // patches encoded since then
    /** @type {PatchRun} */
    this.run = NO_RUN;

    /** @type {Candidate[]} */
    this.fresh = [];
    this.sentences = 0;
    /** @type {number[]} */
    this.took = [];
  }

  /** Runs a chunk without a hand in it, since the first takes long; then begin another stream. */
  async warmUp() {
    const { frames, begin, filled, first } = this;
    await this.model.step({ frames, begin, end: filled, first, patches: GOES_ON });
  }

  /**
   * Takes the hands in the next picture; a picture whose time does not increase is left out.
   * @param {SeenHand[]} hands
   * @param {number} time seconds by any clock
   * @param {number} width
   * @param {number} height
   * @returns {Promise<StreamResult>}
   */
  async push(hands, time, width, height) {
    if (this.finished) throw new Error("This stream is finished; begin another one.");
    if (time > this.pictures.last) {
      for (const frames of this.pictures.push(hands, time, width, height)) await this.take(frames);
    }
    return this.result();
  }

  /**
   * Ends the stream: what was still open becomes stable, and the last sentence is over.
   * @returns {Promise<StreamResult>}
   */
  async finish() {
    if (this.finished) throw new Error("This stream is finished; begin another one.");
    this.finished = true;
    const rest = this.pictures.finish();
    await this.take(rest.between(0, Math.min(rest.count, this.framesLeft)));
    const patches = Math.ceil(this.total / this.settings.patch_size) - this.skipped;
    while (this.first < patches) await this.runChunk(patches);
    if (this.run.id !== BLANK) this.add([this.run]);
    this.run = NO_RUN;
    if (this.endpointer) this.sentences += this.endpointer.close(true);
    return this.result();
  }

  /** How many more frames the stream may have. */
  get framesLeft() {
    const { most_patches, patch_size } = this.settings;
    return most_patches === null ? Infinity : most_patches * patch_size - this.total;
  }

  /** @param {Frames} frames to fill chunks with; each full one is run */
  async take(frames) {
    if (frames.count > this.framesLeft) {
      const { most_patches, patch_size, fps } = this.settings;
      const most = Math.round((/** @type {number} */ (most_patches) * patch_size) / fps);
      throw new Error(`This model recognizes ${most} s at most; begin another stream.`);
    }
    this.enrolled?.see(frames);
    while (frames.count) {
      const silent = this.sleepsThrough(frames);
      if (silent) {
        this.skip(frames.between(0, silent));
        frames = frames.between(silent);
        continue;
      }
      const room = Math.min(this.length + 1 - this.filled, frames.count);
      this.fill(frames.between(0, room));
      if (this.filled === this.length + 1) await this.runChunk(GOES_ON);
      frames = frames.between(room);
    }
  }

  /** @param {Frames} frames that fit into the chunk */
  fill(frames) {
    this.frames.set(frames, this.filled);
    const own = frames.between(0, Math.min(frames.count, this.length - this.filled));
    const seen = own.lastSeen();
    if (seen >= 0) this.lastSeen = this.total + seen;
    this.filled += frames.count;
    this.total += frames.count;
    this.endpointer?.see(frames);
  }

  /** Begins the next chunk with the frame after the last one, if that has come. */
  beginNextChunk() {
    const rest = this.filled === this.length + 1 ? 1 : 0;
    const frames = Frames.empty(this.length + 1, this.settings.hand.joints);
    frames.set(this.frames.between(this.length + 1 - rest), 0);
    if (frames.isSeen(0)) this.lastSeen = this.total - 1;
    this.frames = frames;
    this.begin = 0;
    this.filled = rest;
  }

  /**
   * Returns how many of the next frames make whole chunks that change nothing, since none shows a hand.
   * @param {Frames} frames
   */
  sleepsThrough(frames) {
    // The first frame of the chunk came with the one before. Without a hand it is like the skipped.
    if (this.filled > 1 || !this.isSilent || !this.maySleep) return 0;
    const seen = frames.firstSeen();
    const absent = seen < 0 ? frames.count : seen;
    return absent - (absent % this.length);
  }

  /** @param {Frames} frames of whole chunks, to be counted and no more */
  skip(frames) {
    this.total += frames.count;
    this.skipped += frames.count / this.settings.patch_size;
    this.endpointer?.see(frames);
  }

  /** Whether the chunk, as far as it has come, and the second before it show no hand. */
  get isSilent() {
    const { patch_size, no_hands_frames } = this.settings;
    return this.lastSeen < (this.first + this.skipped) * patch_size - no_hands_frames;
  }

  /** Whether the next chunk sees no hands through all layers, and no gloss is open. */
  get maySleep() {
    const { most_patches, reach } = this.settings;
    if (most_patches !== null || this.run.id !== BLANK) return false;
    return (!this.endpointer || this.endpointer.isEmpty) && this.quiet >= reach;
  }

  /** @param {number} patches of the stream, or `GOES_ON` */
  async runChunk(patches) {
    const { chunk, labels } = this.settings;
    const { isSilent } = this;
    if (isSilent && patches === GOES_ON && this.maySleep) {
      this.beginNextChunk();
      this.skipped += chunk;
      return;
    }
    const began = performance.now();
    const { frames, begin, filled, first } = this;
    const all = await this.model.step({ frames, begin, end: filled, first, patches });
    const low = Math.max(-first, 0);
    const high = Math.max(Math.min(chunk, patches - first), low);
    const logProbs = isSilent
      ? onlyBlanks(high - low, labels.length)
      : all.subarray(low * labels.length, high * labels.length);
    const best = bestLabels(logProbs, labels.length);
    const number = first + this.skipped + low;
    this.unknown?.see(number, logProbs);
    const { ended, run } = extendRun(this.run, best, number);
    this.add(ended);
    this.run = run;
    if (this.endpointer && best.length) {
      const ids = best.map(({ id }) => id);
      this.sentences += this.endpointer.add(number, ids);
    }
    const hasHand = this.lastSeen >= this.total - (filled - begin);
    this.beginNextChunk();
    this.quiet = hasHand || first < 0 ? 0 : this.quiet + chunk;
    this.first = first + chunk;
    this.took.push(performance.now() - began);
  }

  /** @param {PatchRun[]} ended glosses, which are judged while their posteriors are remembered */
  add(ended) {
    for (const run of ended) {
      const isUnknown = this.unknown?.isUnknown(run) ?? false;
      this.fresh.push({ gloss: this.gloss(run), isUnknown, isEnrolled: false });
    }
  }

  /** @returns {StreamResult} */
  result() {
    const { fresh, took, sentences } = this;
    this.fresh = [];
    this.sentences = 0;
    this.took = [];
    return {
      ...this.merged(fresh),
      sentenceEnd: sentences > 0,
      chunkMs: took.reduce((sum, ms) => sum + ms, 0) / Math.max(took.length, 1),
    };
  }

  /**
   * Returns what is stable and what is pending, with the enrolled signs.
   * @param {Candidate[]} fresh glosses of the network
   */
  merged(fresh) {
    const { run, enrolled, settings } = this;
    const isOpen = run.id !== BLANK;
    const open = isOpen ? [{ gloss: this.gloss(run), isUnknown: false, isEnrolled: false }] : [];
    if (!enrolled) return { stable: fresh, pending: open };
    if (this.finished) return { stable: enrolled.finish(fresh), pending: open };
    const patches = isOpen ? run.start : this.first + this.skipped;
    const until = (patches * settings.patch_size) / settings.fps + (settings.sign_start ?? 0);
    const stable = enrolled.merge(fresh, until);
    return { stable, pending: [...enrolled.waiting, ...open] };
  }

  /**
   * @param {PatchRun} run
   * @returns {Gloss}
   */
  gloss({ id, start, end, logProb }) {
    const { labels, patch_size, fps, temperature, sign_start, sign_end } = this.settings;
    const seconds = patch_size / fps;
    const confidence = calibrate(Math.min(Math.exp(logProb), 1), temperature);
    const begin = start * seconds;
    const gloss = { label: labels[id], start: begin, end: end * seconds, confidence };
    if (sign_start === null || sign_end === null) return gloss;
    return { ...gloss, start: Math.max(begin + sign_start, 0), end: Math.max(begin + sign_end, 0) };
  }
}
