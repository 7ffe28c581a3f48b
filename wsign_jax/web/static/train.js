// @ts-check
/** The part of Record that trains on the takes: by the local server, otherwise by commands in a terminal. */

import { ask } from "./takes.js";

/** @typedef {import("./app.js").Page} Page */
/**
 * The answer of `/training`, which `wsign_jax/web/training.py` gives. `step` of `of` are those of the stage
 * that is on; `line` is what the command said last, or why it ended; `commands` are those that run, or
 * would; `model` is the folder of the newest model that was trained here.
 * @typedef {{state: keyof typeof SAYS, stage: string, step: number, of: number, line: string,
 *   commands: string[], model: string}} Progress
 */

const ENOUGH = 3; // takes of a sign, one each to train, to validate and to test
const EVERY = 1000; // milliseconds between two questions
const SAYS = {
  idle: "",
  importing: "Importing the takes.",
  training: "Training.",
  tuning: "Finding when signs begin and end, and what is unknown.",
  preparing: "Preparing the model for this page.",
  done: "Done: Live and A file use the new model.",
  failed: "Training failed.",
};

/** The view in `#train`, and the text in `#record-next`. */
export class Train {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.next = page.element("record-next");
    this.says = page.element("train-says");
    this.line = page.element("train-line");
    this.progress = /** @type {HTMLProgressElement} */ (page.element("train-progress"));
    this.button = page.button("train-start");
    this.button.addEventListener("click", () => this.ask(this.isOn ? "DELETE" : "POST"));
    page.element("train").hidden = !page.about.record;
    this.commands = page.about.commands;
    /** @type {number[]} */
    this.counts = [];
    this.isOn = false;
    this.shown = "";
  }

  /** Asks the server how far a training is, until none is on. */
  async load() {
    if (this.page.about.record) await this.ask("GET");
  }

  /** @param {"GET" | "POST" | "DELETE"} method */
  async ask(method) {
    if (method !== "GET") this.page.clearProblem();
    try {
      this.show(await ask(method, "training"));
    } catch (error) {
      if (method !== "GET") this.page.showProblem(error);
      else this.line.textContent = `${error instanceof Error ? error.message : error}.`;
    }
    clearTimeout(this.timer);
    if (this.isOn) this.timer = setTimeout(() => this.ask("GET"), EVERY);
  }

  /** @param {Progress} progress */
  show({ state, stage, step, of, line, commands, model }) {
    const { page } = this;
    this.isOn = ["importing", "training", "tuning", "preparing"].includes(state);
    this.commands = commands;
    this.button.textContent = this.isOn ? "Stop the training" : "Train";
    const says = stage && state === "training" ? `Training: ${stage}.` : SAYS[state];
    const text = state === "failed" ? `${says} ${line}` : says || (line && `Training ${line}`);
    if (this.says.textContent !== text) this.says.textContent = text; // what is the same is not read out again
    const steps = of && state === "training" ? `${step} of ${of} steps. ` : "";
    this.line.textContent = ["idle", "failed"].includes(state) ? "" : steps + line;
    this.progress.hidden = !this.isOn;
    if (steps) this.progress.value = step / of;
    else this.progress.removeAttribute("value");
    if (this.shown !== `${this.isOn} ${commands}`) this.showTakes(this.counts); // what is selected stays
    if (!model || model === page.about.model) return;
    const before = page.about.model;
    page.about.model = model;
    page.useModel(model).catch((error) => {
      page.about.model = before;
      page.showProblem(error);
    });
  }

  /**
   * Says how to train on the takes.
   * @param {number[]} counts of each sign
   */
  showTakes(counts) {
    this.counts = counts;
    this.shown = `${this.isOn} ${this.commands}`;
    const isServed = Boolean(this.page.about.record);
    const isEnough = counts.length > 1 && counts.every((count) => count >= ENOUGH);
    this.button.disabled = !counts.length && !this.isOn;
    this.next.textContent = isEnough
      ? `${isServed ? "" : "Unzip the download in the project's folder. "}That is enough to train. ` +
        (isServed ? "Train runs the first three of these commands:" : "In a terminal, in the project's folder:")
      : counts.length
        ? `To train, record two signs or more, ${ENOUGH} takes of each at least.`
        : "";
    for (const text of isEnough ? this.commands : []) {
      this.next.appendChild(document.createElement("code")).textContent = text;
    }
  }
}
