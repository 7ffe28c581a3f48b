// Runs a StreamRecognizer over pictures: node run_stream.mjs ORT_FOLDER < JOB > RESULT, both JSON.
// A job has settings, pictures and log_probs of every step, which then stand for a model, or the folder of
// one; or only a url to load from. Instead of pictures it may have frames, and how many are pushed each
// time. The result has what every call gave, every step, and the last state; or scores of vectors.

import * as fs from "node:fs";
import { Frames } from "../../wsign_jax/web/static/frames.js";
import { StreamRecognizer } from "../../wsign_jax/web/static/recognizer.js";
import { asAsked } from "../../wsign_jax/web/static/transcript.js";

const job = JSON.parse(fs.readFileSync(0, "utf8"));
const steps = [];

/** Plays log posteriors from the job; the first go to the step that warms up. */
class FakeSession {
  inputNames = Object.keys(job.settings.inputs);
  async run(feeds) {
    const state = Object.entries(feeds).filter(([name]) => !(name in FIELDS));
    const next = state.map(([name, tensor]) => [`next_${name}`, tensor]);
    const log_probs = { data: Float32Array.from(job.log_probs[steps.length].flat()) };
    return { log_probs, ...Object.fromEntries(next) };
  }
}
const FIELDS = { positions: 0, hands: 0, begin: 0, end: 0, first: 0, patches: 0, cos: 0, sin: 0 };

class FakeTensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}

async function realOrt() {
  const ort = await import(`${process.argv[2]}/ort.wasm.bundle.min.mjs`);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = fs.readFileSync(`${process.argv[2]}/ort-wasm-simd-threaded.wasm`);
  return ort;
}

/** A module like `ort` whose sessions write down what goes in and comes out. */
function recording(ort) {
  async function create(...given) {
    const session = await ort.InferenceSession.create(...given);
    const run = async (feeds) => {
      const results = await session.run(feeds);
      const seen = Object.keys(FIELDS).map((name) => [name, feeds[name] && [...feeds[name].data]]);
      steps.push({ ...Object.fromEntries(seen), log_probs: [...results.log_probs.data] });
      return results;
    };
    return { inputNames: session.inputNames, run };
  }
  return { Tensor: ort.Tensor, InferenceSession: { create } };
}

function readFiles() {
  const names = job.folder ? fs.readdirSync(job.folder) : [];
  return Object.fromEntries(names.map((name) => [name, fs.readFileSync(`${job.folder}/${name}`)]));
}

/** Infinity is no JSON. */
function scoresOf(rule) {
  return job.vectors.map((vector, i) => String(rule.score(Float64Array.from(vector), job.ids[i])));
}

function pushPictures(recognizer) {
  const calls = job.pictures.map(({ hands, time, width, height }) =>
    recognizer.push(hands, time, width, height),
  );
  return Promise.all([...calls, recognizer.finish()]);
}

async function pushFrames({ stream }) {
  const { positions, confidence, size } = job.frames;
  const frames = new Frames(Float32Array.from(positions), Float32Array.from(confidence));
  const results = [];
  for (let begin = 0; begin < frames.count; begin += size) {
    await stream.take(frames.between(begin, Math.min(begin + size, frames.count)));
    results.push(stream.result());
  }
  return [...results, await stream.finish()];
}

async function main() {
  if (job.no_simd) WebAssembly.validate = () => false;
  const fake = { Tensor: FakeTensor, InferenceSession: { create: async () => new FakeSession() } };
  const ort = recording(job.log_probs ? fake : await realOrt());
  if (job.url) return StreamRecognizer.load(ort, job.url);
  const recognizer = await StreamRecognizer.open(ort, job.settings, readFiles(), "model/");
  if (job.vectors) return { scores: scoresOf(recognizer.stream.unknown.rule) };
  const all = job.frames ? await pushFrames(recognizer) : await pushPictures(recognizer);
  const unknown = job.unknown ?? "mark";
  const results = all.map(({ stable, pending, ...rest }) => {
    return { ...rest, stable: asAsked(stable, unknown), pending: asAsked(pending, unknown) };
  });
  const tensors = Object.entries(recognizer.stream.model.state);
  const state = Object.fromEntries(tensors.map(([name, { data }]) => [name, [...data]]));
  return { results, steps, state, labels: recognizer.labels };
}

const result = await main().catch((error) => ({ error: error.message }));
process.stdout.write(JSON.stringify(result));
