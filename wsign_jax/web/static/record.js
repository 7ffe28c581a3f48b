// @ts-check
/** The view that records signs: prompts, countdown, takes, and a check that the hands were seen. */

import { Frames } from "./frames.js";
import { LivePictures } from "./live_pictures.js";
import { bytes, floats, npz, oneText } from "./npz.js";
import { PictureStream } from "./picture_stream.js";
import { Stage } from "./stage.js";
import { Takes, stamp } from "./takes.js";
import { Train } from "./train.js";

/** @typedef {import("./app.js").Page} Page */
/** @typedef {import("./hand_worker.js").Seen} Seen */
/** @typedef {{glosses: string[], signer: string, hand: "left" | "right", takes: number, seconds: number}} Wanted */

const COUNTDOWN = 3; // seconds
const LEAST_SEEN = 0.5; // share of a take in which the hand that leads must be seen
const LEAST_RATE = 8; // pictures a second
const MOST_TRIES = 3; // of a take, before the person should look at what is wrong

/** The view in `#record`. */
export class RecordView {
  /** @param {Page} page */
  constructor(page) {
    const view = page.element("record");
    this.page = page;
    this.stage = new Stage(view);
    this.takes = new Takes(page.about.record);
    this.train = new Train(page);
    this.session = stamp();
    this.says = page.element("record-says");
    this.place = page.element("record-place");
    this.table = /** @type {HTMLTableElement} */ (page.element("record-table"));
    this.form = /** @type {HTMLFormElement} */ (page.element("record-form"));
    this.startButton = page.button("record-start");
    this.redoButton = page.button("record-redo");
    this.skipButton = page.button("record-skip");
    this.downloadButton = page.button("record-download");
    this.againButton = page.button("record-again");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.startButton.addEventListener("click", () => (this.running ? this.stop() : this.start()));
    this.redoButton.addEventListener("click", () => this.redo());
    this.skipButton.addEventListener("click", () => this.skip());
    this.downloadButton.addEventListener("click", () => this.download());
    this.againButton.addEventListener("click", () => this.saveAgain());
    window.addEventListener("beforeunload", (event) => {
      if (this.takes.unsaved) event.preventDefault();
    });
    this.running = 0; // the number of the run that is on, from 1; 0 if none is
    this.runs = 0;
    /** @type {Set<string>} */
    this.skipped = new Set();
    this.current = "";
    this.cut = false; // whether the take at hand is to be dropped
    /** @type {((seen: Seen) => void) | null} */
    this.collect = null;
    this.show();
  }

  ready() {
    this.startButton.disabled = false;
    this.takes.load().then(() => this.show(), (error) => this.page.showProblem(error));
    void this.train.load();
  }

  /**
   * Reads the form.
   * @returns {Wanted}
   * @throws {Error} a field cannot be used
   */
  wanted() {
    const value = (/** @type {string} */ id) =>
      /** @type {HTMLInputElement} */ (this.page.element(id)).value.trim();
    const lines = value("record-glosses").split(/[\n,;]+/);
    const glosses = [...new Set(lines.map((line) => line.trim().replace(/\s+/g, "-")).filter(Boolean))];
    if (!glosses.length) throw new Error("Name the signs to record, one per line.");
    const long = glosses.find((gloss) => gloss.length > 100);
    if (long) throw new Error(`The sign ${long.slice(0, 20)}... has over 100 letters; shorten it.`);
    const number = (/** @type {string} */ id, /** @type {string} */ what) => {
      const input = /** @type {HTMLInputElement} */ (this.page.element(id));
      if (input.checkValidity() && input.value) return Number(input.value);
      throw new Error(`${what} must be a number from ${input.min} to ${input.max}.`);
    };
    const hand = new FormData(this.form).get("hand") === "left" ? "left" : "right";
    const takes = number("record-takes", "Takes per sign");
    const seconds = number("record-seconds", "Seconds per take");
    return { glosses, signer: value("record-signer"), hand, takes, seconds };
  }

  async start() {
    const { page, stage } = this;
    page.clearProblem();
    const run = ++this.runs;
    try {
      const wanted = this.wanted();
      this.running = run;
      this.show();
      this.skipped.clear();
      this.startButton.textContent = "Stop";
      this.skipButton.disabled = false;
      this.pictures = new LivePictures(stage.video, page.worker, {
        recognize: false,
        seen: (seen) => {
          stage.draw(seen.hands, seen.width, seen.height);
          this.collect?.(seen);
        },
        failed: (error) => this.fail(error),
      });
      await page.worker.reset();
      await this.pictures.start();
      stage.show(true);
      await this.record(wanted, run);
    } catch (error) {
      if (run === this.running || run === this.runs) this.fail(error);
    }
  }

  /**
   * Asks for takes until all are made, or the run is over.
   * @param {Wanted} wanted
   * @param {number} run
   */
  async record(wanted, run) {
    const { glosses, signer, takes } = wanted;
    let tries = 0;
    while (run === this.running) {
      const counts = glosses
        .filter((gloss) => !this.skipped.has(gloss))
        .map((gloss) => ({ gloss, count: this.takes.count(gloss, signer) }))
        .filter(({ count }) => count < takes);
      if (!counts.length) {
        await this.stop();
        this.says.textContent = "All takes are done.";
        return;
      }
      const least = Math.min(...counts.map(({ count }) => count));
      const { gloss, count } = /** @type {{gloss: string, count: number}} */ (
        counts.find((each) => each.count === least)
      );
      const problem = await this.take(wanted, gloss, count + 1, run);
      if (run !== this.running) return;
      tries = problem ? tries + 1 : 0;
      if (problem) {
        if (tries === MOST_TRIES) throw new Error(`${problem}, and start again.`);
        this.says.textContent = `${problem}. Once more.`;
        await this.wait(2, run);
      }
    }
  }

  /**
   * Makes one take; returns what was wrong with it and how to fix that, or "".
   * @param {Wanted} wanted
   * @param {string} gloss
   * @param {number} number of the take
   * @param {number} run
   */
  async take({ signer, hand, seconds, takes }, gloss, number, run) {
    const { stage } = this;
    this.current = gloss;
    this.cut = false;
    const isOver = () => run !== this.running || this.cut;
    for (let left = COUNTDOWN; left > 0 && !isOver(); left--) {
      this.prompt(`${gloss}  ${left}`);
      this.says.textContent = left === COUNTDOWN ? `${gloss}, take ${number} of ${takes}` : String(left);
      await this.wait(1, run);
    }
    if (isOver()) return "";
    this.says.textContent = "Sign now.";
    this.prompt(`\u25cf ${gloss}`);
    stage.box.classList.add("recording");
    const { frames, pictures } = await this.collectFrames(seconds, isOver);
    stage.box.classList.remove("recording");
    this.prompt("");
    if (isOver()) return "";
    const share = shareSeen(frames, hand);
    if (pictures < LEAST_RATE * seconds) {
      return `Only ${pictures} pictures came in ${seconds} s: close other programs`;
    }
    if (share < LEAST_SEEN) {
      const percent = Math.round(100 * share);
      return `Your ${hand} hand was seen in ${percent} % of the take: keep it in the picture and in good light`;
    }
    const { fps } = this.page.about.keypoints;
    await this.keep(gloss, signer, packTake(frames, { gloss, signer, session: this.session, hand, fps }));
    return "";
  }

  /**
   * Collects what the camera shows for some seconds of its own clock.
   * @param {number} seconds
   * @param {() => boolean} isOver
   * @returns {Promise<{frames: Frames, pictures: number}>}
   */
  async collectFrames(seconds, isOver) {
    const { keypoints } = this.page.about;
    const stream = new PictureStream(keypoints);
    /** @type {Frames[]} */
    const parts = [];
    let pictures = 0;
    /** @type {number | null} */
    let began = null;
    const deadline = performance.now() + 1000 * (seconds + 5); // a camera that stands still
    await new Promise((resolve) => {
      const watch = setInterval(() => {
        if (isOver() || performance.now() > deadline) done();
      }, 100);
      const done = () => {
        clearInterval(watch);
        this.collect = null;
        resolve(undefined);
      };
      this.collect = ({ hands, time, width, height }) => {
        if (began !== null && time <= stream.last) return;
        began ??= time;
        pictures++;
        parts.push(...stream.push(hands, time, width, height));
        if (time - began >= seconds) done();
      };
    });
    if (pictures) parts.push(stream.finish());
    const frames = Frames.empty(parts.reduce((sum, part) => sum + part.count, 0), keypoints.hand.joints);
    let place = 0;
    for (const part of parts) {
      frames.set(part, place);
      place += part.count;
    }
    return { frames, pictures };
  }

  /**
   * @param {string} gloss
   * @param {string} signer
   * @param {Uint8Array} content
   */
  async keep(gloss, signer, content) {
    try {
      await this.takes.add(gloss, signer, content);
      this.page.clearProblem();
      this.says.textContent = this.takes.folder ? `${gloss}: saved.` : `${gloss}: done.`;
    } catch (error) {
      this.showUnsaved(error);
    }
    this.show();
    await this.wait(0.7, this.running);
  }

  /** @param {unknown} error */
  showUnsaved(error) {
    const why = (error instanceof Error ? error.message : String(error)).replace(/\.$/, "");
    const count = this.takes.inPage().length;
    const kept = count === 1 ? "1 take is" : `${count} takes are`;
    this.page.showProblem(
      `${why}; ${kept} kept in this page and all that was said to be saved is safe: start the server ` +
        "and choose Save again, or download them.",
    );
  }

  async redo() {
    try {
      const gloss = await this.takes.removeLast();
      this.skipped.delete(gloss);
      this.cut = true;
      this.says.textContent = gloss ? `The last take of ${gloss} is removed.` : "";
    } catch (error) {
      this.page.showProblem(error);
    }
    this.show();
  }

  skip() {
    this.skipped.add(this.current);
    this.cut = true;
  }

  async saveAgain() {
    try {
      await this.takes.save();
      this.page.clearProblem();
    } catch (error) {
      this.showUnsaved(error);
    }
    this.show();
  }

  download() {
    this.takes.download();
    this.show();
  }

  async stop() {
    if (!this.running) return;
    this.running = 0;
    this.collect = null;
    this.pictures?.stop();
    this.stage.show(false);
    this.stage.box.classList.remove("recording");
    this.prompt("");
    this.says.textContent = "";
    this.startButton.textContent = "Start recording";
    this.skipButton.disabled = true;
    this.show();
  }

  /** @param {unknown} error */
  fail(error) {
    void this.stop();
    this.page.showProblem(error);
  }

  /** @param {string} text */
  prompt(text) {
    if (this.stage.prompt) this.stage.prompt.textContent = text;
  }

  /**
   * Waits, but not longer than a run or a take lasts.
   * @param {number} seconds
   * @param {number} run
   */
  async wait(seconds, run) {
    const end = performance.now() + 1000 * seconds;
    while (performance.now() < end && run === this.running && !this.cut) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Shows what there is. */
  show() {
    const { takes } = this;
    const counts = Object.entries(takes.counts());
    const [body] = this.table.tBodies;
    this.table.hidden = !counts.length;
    body.replaceChildren();
    for (const [gloss, count] of counts) {
      const row = body.insertRow();
      row.insertCell().textContent = gloss;
      row.insertCell().textContent = String(count);
    }
    const inPage = takes.inPage().length;
    this.place.textContent = takes.folder
      ? `Takes are saved in ${takes.folder}, as the positions of joints; no pictures are kept.`
      : "Takes stay in this page until you download them, as the positions of joints; no pictures are kept.";
    this.downloadButton.hidden = Boolean(takes.folder) && !inPage;
    this.downloadButton.disabled = !inPage;
    this.againButton.hidden = !takes.folder || !inPage;
    this.redoButton.disabled = !takes.takes.length;
    this.redoButton.textContent = `${this.running ? "Redo" : "Remove"} the last take`;
    this.train.showTakes(counts.map(([, count]) => count));
  }
}

/**
 * @param {Frames} frames
 * @param {"left" | "right"} hand
 */
function shareSeen(frames, hand) {
  const side = hand === "left" ? 0 : 1;
  let seen = 0;
  for (let frame = 0; frame < frames.count; frame++) seen += Number(frames.confidence[2 * frame + side] > 0);
  return frames.count ? seen / frames.count : 0;
}

/**
 * Returns a take as `wsign_jax/data/corpora/npz.py` reads it; positions are in picture widths.
 * @param {Frames} frames
 * @param {{gloss: string, signer: string, session: string, hand: string, fps: number}} about
 */
function packTake(frames, { gloss, signer, session, hand, fps }) {
  const { count, positions, confidence } = frames;
  const present = Uint8Array.from(confidence, (value) => Number(value > 0));
  return npz({
    keypoints: floats(positions, [1, count, 42, 3]),
    present: bytes(present, [1, count, 2]),
    glosses: oneText(gloss),
    signer: oneText(signer),
    session: oneText(session),
    handedness: oneText(hand),
    fps: floats(Float32Array.of(fps), [1]),
    aspect: floats(Float32Array.of(1), [1]),
  });
}
