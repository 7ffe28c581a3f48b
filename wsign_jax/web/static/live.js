// @ts-check
/** The view that recognizes the camera's pictures. */

import { Delays } from "./delays.js";
import { LivePictures } from "./live_pictures.js";
import { Stage } from "./stage.js";
import { Transcript } from "./transcript.js";

/** @typedef {import("./app.js").Page} Page */
/** @typedef {import("./hand_worker.js").Seen} Seen */

/** The view in `#live`. */
export class LiveView {
  /** @param {Page} page */
  constructor(page) {
    const view = page.element("live");
    this.page = page;
    this.view = view;
    this.stage = new Stage(view);
    this.transcript = new Transcript(/** @type {HTMLElement} */ (view.querySelector("[data-transcript]")));
    this.delays = new Delays(page.element("delays"));
    this.startButton = page.button("live-start");
    this.pauseButton = page.button("live-pause");
    this.startButton.addEventListener("click", () => (this.pictures ? this.stop() : this.start()));
    this.pauseButton.addEventListener("click", () => this.pause());
    /** @type {LivePictures | null} */
    this.pictures = null;
    /** @type {number | null} */
    this.began = null; // time of the transcript's first picture
    /** @type {number | null} */
    this.streamBegan = null;
  }

  /** Called once the worker is ready. */
  ready() {
    this.startButton.disabled = false;
  }

  async start() {
    const { worker } = this.page;
    this.page.clearProblem();
    this.startButton.disabled = true;
    this.pictures = new LivePictures(this.stage.video, worker, {
      recognize: true,
      seen: (seen, cameraMs) => this.see(seen, cameraMs),
      failed: (error) => this.fail(error),
    });
    try {
      this.delays.clear();
      this.streamBegan = null;
      await worker.reset();
      await this.pictures.start();
      this.stage.show(true);
      this.startButton.textContent = "Stop the camera";
      this.pauseButton.disabled = false;
    } catch (error) {
      this.fail(error);
    }
    this.startButton.disabled = false;
    if (document.activeElement === document.body) this.startButton.focus(); // lost while it was disabled
  }

  /**
   * @param {Seen} seen
   * @param {number} cameraMs
   */
  see({ hands, width, height, time, landmarksMs, result }, cameraMs) {
    if (!this.pictures) return;
    this.stage.draw(hands, width, height);
    this.streamBegan ??= time;
    this.began ??= time;
    this.view.dispatchEvent(new CustomEvent("picture", { detail: { hands, width, height, time } }));
    if (!result) return;
    this.transcript.add(result, this.streamBegan - this.began);
    this.delays.dropped = this.pictures.dropped;
    const parts = { camera: cameraMs, landmarks: landmarksMs, model: result.chunkMs };
    this.delays.add(parts, this.page.seconds);
  }

  async pause() {
    const { pictures } = this;
    if (!pictures) return;
    pictures.pause(!pictures.paused);
    this.showPaused(pictures.paused);
    if (pictures.paused) {
      this.stage.video.pause();
      await this.endStream();
    } else {
      await this.page.worker.reset();
      await this.stage.video.play();
    }
  }

  /** @param {boolean} isPaused */
  showPaused(isPaused) {
    this.pauseButton.textContent = isPaused ? "Resume" : "Pause";
    this.stage.box.classList.toggle("paused", isPaused);
  }

  /** What is pending becomes stable; the next picture begins a new stream. */
  async endStream() {
    try {
      const { result } = await this.page.worker.finish();
      const offset = (this.streamBegan ?? 0) - (this.began ?? 0);
      if (result) this.transcript.add({ ...result, sentenceEnd: true }, offset);
      this.streamBegan = null;
    } catch (error) {
      this.page.showProblem(error);
    }
  }

  /** Turns the camera off; the transcript stays. */
  async stop() {
    const { pictures } = this;
    if (!pictures) return;
    const isPaused = pictures.paused;
    pictures.stop();
    this.stage.show(false);
    this.startButton.textContent = "Start the camera";
    this.pauseButton.disabled = true;
    this.showPaused(false);
    if (!isPaused) await this.endStream();
    this.pictures = null;
  }

  /** @param {unknown} error */
  fail(error) {
    this.page.showProblem(error);
    void this.stop();
  }
}
