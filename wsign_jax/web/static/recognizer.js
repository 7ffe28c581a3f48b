// @ts-check
/** Recognizes signing in a browser, in a worker or in node: hands of pictures in, glosses out. */

import { readArrays } from "./arrays.js";
import { ExportedStream } from "./exported_stream.js";
import { checkSettings } from "./settings.js";
import { Stream } from "./stream.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./arrays.js").Arrays} Arrays */
/** @typedef {import("./exported_stream.js").Ort} Ort */
/** @typedef {import("./exported_stream.js").Session} Session */
/** @typedef {import("./picture_stream.js").SeenHand} SeenHand */
/** @typedef {import("./stream.js").Candidate} Candidate */
/** @typedef {import("./stream.js").Gloss} Gloss */
/** @typedef {import("./stream.js").StreamResult} StreamResult */

const MODEL = "stream.onnx";
const SETTINGS = "stream.json";
const OPTIONS = { executionProviders: ["wasm"], logSeverityLevel: 3 }; // errors alone
const WRITE_AGAIN = "write the page's folder again";

// The smallest module with an instruction of WebAssembly SIMD: () -> v128, i8x16.popcnt(i8x16.splat(0)).
const WITH_SIMD = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0],
  ...[10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
);

/** @throws {Error} the browser has no WebAssembly SIMD */
export function checkSimd() {
  if (!WebAssembly.validate(WITH_SIMD)) {
    throw new Error(
      "This browser has no WebAssembly SIMD, which recognition needs; open the page in a current " +
        "Chrome, Edge, Firefox or Safari.",
    );
  }
}

/** A model that recognizes a stream of pictures. Calls may overlap: they are worked through in order. */
export class StreamRecognizer {
  /**
   * Loads a model.
   * @param {Ort} ort the module onnxruntime-web
   * @param {string | URL} url of the folder that `write_model_folder` wrote
   * @returns {Promise<StreamRecognizer>}
   * @throws {Error} with one sentence that says what to do
   */
  static async load(ort, url) {
    const folder = String(url).replace(/\/*$/, "/");
    const settings = await get(folder + SETTINGS).then((response) => response.json());
    const names = [MODEL, ...Object.keys(checkSettings(settings, folder + SETTINGS).arrays)];
    const contents = await Promise.all(
      names.map((name) => get(folder + name).then((response) => response.arrayBuffer())),
    );
    const files = names.map((name, number) => [name, new Uint8Array(contents[number])]);
    return StreamRecognizer.open(ort, settings, Object.fromEntries(files), folder);
  }

  /**
   * Makes a recognizer of a folder's files.
   * @param {Ort} ort the module onnxruntime-web
   * @param {any} settings the content of stream.json
   * @param {Record<string, Uint8Array>} files the contents of stream.onnx and of the files of arrays
   * @param {string} [folder] for messages
   * @returns {Promise<StreamRecognizer>}
   * @throws {Error} with one sentence that says what to do
   */
  static async open(ort, settings, files, folder = "") {
    const checked = checkSettings(settings, folder + SETTINGS);
    /** @type {Arrays} */
    const arrays = {};
    for (const [name, shapes] of Object.entries(checked.arrays)) {
      const found = readArrays(files[name] ?? new Uint8Array(), shapes);
      if (!found) throw new Error(notOfOneModel(folder + name));
      Object.assign(arrays, found);
    }
    checkSimd();
    let session;
    try {
      session = await ort.InferenceSession.create(files[MODEL], OPTIONS);
    } catch (error) {
      throw new Error(explain(folder + MODEL, error));
    }
    if (String([...session.inputNames].sort()) !== String(Object.keys(checked.inputs).sort())) {
      throw new Error(notOfOneModel(folder + MODEL));
    }
    const recognizer = new StreamRecognizer(ort, session, checked, arrays);
    await recognizer.newStream().warmUp();
    return recognizer;
  }

  /**
   * @param {Ort} ort
   * @param {Session} session
   * @param {Settings} settings
   * @param {Arrays} arrays
   */
  constructor(ort, session, settings, arrays) {
    this.ort = ort;
    this.session = session;
    this.settings = settings;
    this.arrays = arrays;
    this.stream = this.newStream();
    /** @type {Promise<unknown>} */
    this.before = Promise.resolve();
  }

  /** The glosses that it was trained with. */
  get labels() {
    return this.settings.labels.slice(1);
  }

  /** The signs that were enrolled. */
  get enrolled() {
    return this.settings.enrolled?.names ?? [];
  }

  /** Whether it tells unknown signs from known ones. */
  get tellsUnknown() {
    return this.settings.unknown !== null;
  }

  /**
   * Takes the hands in the next picture. One whose time does not increase is left out.
   * @param {SeenHand[]} hands
   * @param {number} time when it was taken, seconds by any clock
   * @param {number} width of the picture in pixels
   * @param {number} height of the picture in pixels
   * @returns {Promise<StreamResult>}
   * @throws {Error} it is over an hour after the picture before, or the model's positions have come to
   *   their end
   */
  push(hands, time, width, height) {
    const { stream } = this;
    return this.next(() => stream.push(hands, time, width, height));
  }

  /**
   * Ends the stream: what was pending becomes stable. `reset` begins another one.
   * @returns {Promise<StreamResult>}
   */
  finish() {
    const { stream } = this;
    return this.next(() => stream.finish());
  }

  /** Begins a new stream. Calls before it that are not done yet still belong to the old one. */
  reset() {
    this.stream = this.newStream();
  }

  newStream() {
    const model = new ExportedStream(this.ort, this.session, this.settings);
    return new Stream(this.settings, model, this.arrays);
  }

  /**
   * Does something after all that was asked before, since a session runs one step at a time.
   * @param {() => Promise<StreamResult>} work
   */
  next(work) {
    const done = this.before.then(work);
    this.before = done.catch(() => {});
    return done;
  }
}

/**
 * Fetches a file of a model's folder.
 * @param {string} url
 */
async function get(url) {
  /** @type {string} */
  let reason;
  try {
    const response = await fetch(url);
    if (response.ok) return response;
    reason = `${response.status} ${response.statusText}`.trim();
  } catch (error) {
    reason = messageOf(error);
  }
  throw new Error(`${url} cannot be loaded (${reason}); reload the page, or ${WRITE_AGAIN}.`);
}

/** @param {string} url of a file */
function notOfOneModel(url) {
  return `${url} and ${SETTINGS} are not of one model; ${WRITE_AGAIN}.`;
}

/**
 * @param {string} url
 * @param {unknown} error
 */
function explain(url, error) {
  const reason = messageOf(error);
  return reason.includes("no available backend")
    ? `onnxruntime-web does not start (${reason}); reload the page, or ${WRITE_AGAIN}.`
    : `${url} cannot be opened (${reason}); ${WRITE_AGAIN}.`;
}

/** @param {unknown} error */
function messageOf(error) {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n")[0].replace(/[.\s]+$/, "");
}
