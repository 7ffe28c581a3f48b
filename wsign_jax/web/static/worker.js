// @ts-check
/**
 * The page's worker: finds the hands in pictures, and recognizes what they sign. `hand_worker.js` talks
 * to it.
 */

import * as ort from "./vendor/ort.wasm.bundle.min.mjs";
import { HandLandmarker } from "./vendor/vision_bundle.mjs";
import { StreamRecognizer, checkSimd } from "./recognizer.js";

/** @param {string} name */
const at = (name) => new URL(name, import.meta.url).href;

// As `wsign_jax/keypoints/landmarker.py` has them.
const OPTIONS = {
  baseOptions: { modelAssetPath: at("vendor/hand_landmarker.task"), delegate: "CPU" },
  runningMode: "VIDEO",
  numHands: 2,
  minHandDetectionConfidence: 0.5,
  minHandPresenceConfidence: 0.5,
  minTrackingConfidence: 0.5,
};
const NEW_VIDEO = 1000; // milliseconds between the clocks of two videos

/** @type {any} */
let landmarker;
/** @type {StreamRecognizer | null} */
let recognizer = null;
let clock = 0; // milliseconds of the last picture, by MediaPipe's clock, which must advance
/** @type {number | null} */
let offset = null; // what makes a video's own milliseconds MediaPipe's

/** @type {Record<string, (given: any) => Promise<object>>} */
const WORK = { open, see, finish, reset };
/** @type {Promise<void>} */
let last = Promise.resolve();

self.onmessage = ({ data: { id, kind, ...given } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, ...(await WORK[kind](given)) });
    } catch (error) {
      self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
  });
};

/**
 * Loads the landmarker, unless it is there, and the recognizer of a model; "": none.
 * @param {{model: string}} given
 */
async function open({ model }) {
  checkSimd();
  if (!landmarker) await openLandmarker();
  if (!model) return {};
  recognizer = await StreamRecognizer.load(ort, at(model));
  const { labels, enrolled, tellsUnknown } = recognizer;
  const { chunk, patch_size, look_ahead, fps, tracker } = recognizer.settings;
  const seconds = { tracker: tracker.delay_frames / fps, chunk: (chunk * patch_size) / fps };
  const lookAhead = (look_ahead * patch_size) / fps;
  return { labels, enrolled, tellsUnknown, seconds, lookAhead };
}

async function openLandmarker() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: at("vendor/ort-wasm-simd-threaded.wasm") };
  const files = {
    wasmLoaderPath: at("vendor/vision_wasm_module_internal.js"),
    wasmBinaryPath: at("vendor/vision_wasm_module_internal.wasm"),
  };
  try {
    landmarker = await HandLandmarker.createFromOptions(files, OPTIONS);
  } catch (error) {
    const why = error instanceof Error ? error.message : "its files cannot be loaded";
    throw new Error(`MediaPipe's hand landmarker does not start (${why}); load the page again.`);
  }
  // The first picture takes long; here that is over before a camera starts.
  landmarker.detectForVideo(new OffscreenCanvas(320, 240), clock);
}

/**
 * Finds the hands in a picture, and recognizes them if asked to.
 * @param {{picture: ImageBitmap | VideoFrame, time: number, recognize: boolean}} given
 */
async function see({ picture, time, recognize }) {
  const isFrame = "displayWidth" in picture;
  const width = isFrame ? picture.displayWidth : picture.width;
  const height = isFrame ? picture.displayHeight : picture.height;
  const milliseconds = Math.round(time * 1000);
  offset ??= clock + NEW_VIDEO - milliseconds;
  clock = Math.max(clock + 1, milliseconds + offset);
  const begin = performance.now();
  const found = landmarker.detectForVideo(picture, clock);
  const landmarksMs = performance.now() - begin;
  picture.close();
  const hands = found.landmarks.map((/** @type {any[]} */ points, /** @type {number} */ number) => ({
    hand: found.handedness[number][0].categoryName.toLowerCase(),
    score: found.handedness[number][0].score,
    points: points.map(({ x, y, z }) => [x, y, z]),
  }));
  const result = recognize && recognizer ? await recognizer.push(hands, time, width, height) : null;
  return { hands, width, height, time, landmarksMs, result };
}

/** Ends the stream. */
async function finish() {
  return { result: recognizer ? await recognizer.finish() : null };
}

/** Begins another video: neither a hand's last place nor what was signed reaches into it. */
async function reset() {
  offset = null;
  recognizer?.reset();
  await landmarker.setOptions({ runningMode: "VIDEO" });
  return {};
}
