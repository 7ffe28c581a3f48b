// @ts-check
/** The step of a stream in stream.onnx, and the state that it carries from chunk to chunk. */

import { BLANK } from "./streaming.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./frames.js").Frames} Frames */
/** @typedef {import("./settings.js").TensorType} TensorType */
/** @typedef {{data: any, dims: readonly number[], type: string}} Tensor */
/**
 * The part of onnxruntime-web that is used here.
 * @typedef {object} Ort
 * @property {new (type: TensorType, data: any, dims: readonly number[]) => Tensor} Tensor
 * @property {{create(model: Uint8Array, options?: object): Promise<Session>}} InferenceSession
 */
/**
 * @typedef {object} Session
 * @property {readonly string[]} inputNames
 * @property {(feeds: Record<string, any>) => Promise<Record<string, any>>} run
 */
/**
 * A stream's next patches and their place in the stream, as `wsign_jax/model/chunk.py` has them.
 * @typedef {{frames: Frames, begin: number, end: number, first: number, patches: number}} Chunk
 */

const NEXT = "next_";
const ARRAYS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array };

/** The model's side of a stream. */
export class ExportedStream {
  /**
   * Begins before the first chunk.
   * @param {Ort} ort
   * @param {Session} session
   * @param {Settings} settings
   */
  constructor(ort, session, settings) {
    this.ort = ort;
    this.session = session;
    this.settings = settings;
    /** @type {Record<string, Tensor>} */
    this.state = {};
    for (const [name, { type, shape }] of Object.entries(settings.inputs)) {
      const size = shape.reduce((product, length) => product * length, 1);
      this.state[name] = new ort.Tensor(type, new ARRAYS[type](size), shape);
    }
  }

  /**
   * Returns the log posteriors of the chunk's patches, one patch after the other.
   * @param {Chunk} chunk
   * @returns {Promise<Float32Array>}
   */
  async step(chunk) {
    const { inputs } = this.settings;
    const arrays = { ...fieldsOf(chunk), ...this.angles(chunk.first) };
    const feeds = { ...this.state };
    for (const [name, data] of Object.entries(arrays)) {
      if (!(name in inputs)) continue; // the tables of angles, with sinusoidal positions
      feeds[name] = new this.ort.Tensor(inputs[name].type, data, inputs[name].shape);
    }
    const { log_probs, ...outputs } = await this.session.run(feeds);
    /** @type {Record<string, Tensor>} */
    const state = {};
    for (const [name, tensor] of Object.entries(outputs)) state[name.slice(NEXT.length)] = tensor;
    this.state = state;
    return log_probs.data;
  }

  /**
   * Returns the rotary angles of a chunk, as `wsign_jax/model/positions.py` does.
   * @param {number} first its first patch
   */
  angles(first) {
    const { chunk, head_width, frequency_base } = this.settings;
    const half = Math.ceil(head_width / 2);
    const cos = new Float32Array(chunk * half);
    const sin = new Float32Array(chunk * half);
    for (let patch = 0; patch < chunk; patch++) {
      for (let i = 0; i < half; i++) {
        const angle = (first + patch) * frequency_base ** ((-2 * i) / head_width);
        cos[patch * half + i] = Math.cos(angle);
        sin[patch * half + i] = Math.sin(angle);
      }
    }
    return { cos, sin };
  }
}

/** @param {Chunk} chunk */
function fieldsOf({ frames, begin, end, first, patches }) {
  return {
    positions: frames.positions,
    hands: frames.confidence,
    begin: Int32Array.of(begin),
    end: Int32Array.of(end),
    first: Int32Array.of(first),
    patches: Int32Array.of(patches),
  };
}

/**
 * Returns the log posteriors of patches that are the blank for sure.
 * @param {number} patches
 * @param {number} labels
 */
export function onlyBlanks(patches, labels) {
  const logProbs = new Float32Array(patches * labels).fill(-Infinity);
  for (let patch = 0; patch < patches; patch++) logProbs[patch * labels + BLANK] = 0;
  return logProbs;
}
