// Runs a StreamRecognizer over pictures: node run_stream.mjs ORT_FOLDER < JOB > RESULT, both JSON.
// A job has settings, pictures and log_probs of every step, which then stand for a model, or the path of
// one; or only a url to load from. The result has what every call gave, every step, and the last state.

import * as fs from "node:fs";
import { StreamRecognizer } from "../../wsign_jax/web/static/recognizer.js";

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

async function main() {
  if (job.no_simd) WebAssembly.validate = () => false;
  const fake = { Tensor: FakeTensor, InferenceSession: { create: async () => new FakeSession() } };
  const ort = recording(job.log_probs ? fake : await realOrt());
  if (job.url) return StreamRecognizer.load(ort, job.url);
  const model = job.model ? fs.readFileSync(job.model) : new Uint8Array();
  const recognizer = await StreamRecognizer.open(ort, job.settings, model, "model/");
  const calls = job.pictures.map(({ hands, time, width, height }) =>
    recognizer.push(hands, time, width, height),
  );
  const results = await Promise.all([...calls, recognizer.finish()]);
  const tensors = Object.entries(recognizer.stream.model.state);
  const state = Object.fromEntries(tensors.map(([name, { data }]) => [name, [...data]]));
  return { results, steps, state, labels: recognizer.labels };
}

const result = await main().catch((error) => ({ error: error.message }));
process.stdout.write(JSON.stringify(result));
