// @ts-check
/** The view that recognizes a video file, every picture of it. */

import { watchPictures } from "./camera.js";
import { Stage } from "./stage.js";
import { Transcript, UNKNOWN } from "./transcript.js";

/** @typedef {import("./app.js").Page} Page */
/** @typedef {import("./camera.js").Shown} Shown */

const MOST_WAITING = 4; // pictures; then the video waits for them
const SLOWEST = 0.125; // times the video's own speed
const MOST_TRIES = 8; // to see one picture
const FASTER = 60; // pictures in a row without a loss, after which the video may be faster again
const LAST_PICTURE = 200; // milliseconds in which a video that has ended may show its last picture

/** The view in `#file`. */
export class FileView {
  /** @param {Page} page */
  constructor(page) {
    const view = page.element("file");
    this.page = page;
    this.view = view;
    this.stage = new Stage(view);
    this.transcript = new Transcript(/** @type {HTMLElement} */ (view.querySelector("[data-transcript]")));
    this.note = page.element("file-note");
    this.progress = /** @type {HTMLProgressElement} */ (page.element("file-progress"));
    this.stopButton = page.button("file-stop");
    this.input = /** @type {HTMLInputElement} */ (page.element("file-input"));
    this.input.disabled = true;
    this.input.addEventListener("change", () => {
      const [file] = this.input.files ?? [];
      if (file) void this.recognize(file);
      this.input.value = ""; // the same file can be chosen again
    });
    this.stopButton.addEventListener("click", () => this.stop());
    this.acceptDrops();
    document.addEventListener("visibilitychange", () => this.goOn());
    this.waiting = this.pictures = this.lost = 0;
    this.tries = this.inRow = 0;
    this.last = -1; // time of the latest picture
    /** @type {unknown} */
    this.failure = null;
    this.running = false;
    this.unwatch = () => {};
  }

  ready() {
    this.input.disabled = false;
  }

  acceptDrops() {
    const { box } = this.stage;
    box.addEventListener("dragover", (event) => {
      event.preventDefault();
      box.classList.add("dropping");
    });
    box.addEventListener("dragleave", () => box.classList.remove("dropping"));
    box.addEventListener("drop", (event) => {
      event.preventDefault();
      box.classList.remove("dropping");
      const [file] = event.dataTransfer?.files ?? [];
      if (file && !this.input.disabled) void this.recognize(file);
    });
  }

  /** @param {File} file */
  async recognize(file) {
    const { page, stage, transcript } = this;
    await this.stop();
    page.clearProblem();
    transcript.clear();
    transcript.name = file.name.replace(/\.[^.]*$/, "");
    this.note.textContent = `${file.name}: loading`;
    const url = URL.createObjectURL(file);
    try {
      await page.worker.reset();
      this.begin(); // before the video shows its first picture
      await load(stage.video, url, file.name);
      stage.show(true);
      this.goOn();
      await this.untilEnd();
      const state = this.running ? "done" : "stopped";
      const { result } = await page.worker.finish();
      if (result) transcript.add(result);
      const count = transcript.glosses.length;
      const signs = `${count || "no"} sign${count === 1 ? "" : "s"}`;
      const unknown = transcript.glosses.filter(({ label }) => label === UNKNOWN).length;
      const rest = unknown ? `, ${unknown} of them unknown` : "";
      this.note.textContent = `${file.name}: ${state}, ${signs}${rest}; ${this.pictures} pictures`;
    } catch (error) {
      this.note.textContent = "";
      stage.show(false);
      page.showProblem(error);
    } finally {
      this.end();
      URL.revokeObjectURL(url);
    }
  }

  begin() {
    const { stage } = this;
    this.pictures = this.waiting = this.lost = 0;
    this.tries = this.inRow = 0;
    this.last = -1;
    stage.video.playbackRate = 1;
    this.running = true;
    this.failure = null;
    this.stopButton.disabled = false;
    this.progress.hidden = false;
    this.progress.value = 0;
    this.note.textContent = "";
    this.unwatch = watchPictures(stage.video, (shown) => this.take(shown));
  }

  end() {
    this.unwatch();
    this.running = false;
    if (document.activeElement === this.stopButton) this.input.focus();
    this.stopButton.disabled = true;
    this.progress.hidden = true;
    this.ended?.();
  }

  async stop() {
    if (!this.running) return;
    this.running = false;
    this.stage.video.pause();
    await new Promise((resolve) => {
      this.ended = () => resolve(undefined);
    });
  }

  /** Lets the video play as long as few pictures wait, and somebody sees the page: it shows nothing otherwise. */
  goOn() {
    const { video } = this.stage;
    if (!this.running) return;
    const mayPlay = this.waiting < MOST_WAITING && !document.hidden;
    if (mayPlay && video.paused && !video.ended) video.play().catch(() => {});
    if (!mayPlay && !video.paused) video.pause();
  }

  /**
   * Tells whether the video goes back to the latest picture: slower, if pictures after it were never
   * shown, or faster, if none was lost for long. A change of speed alone loses pictures, too.
   * @param {Shown} shown
   */
  goesBack({ missed }) {
    const { video } = this.stage;
    const { droppedVideoFrames } = video.getVideoPlaybackQuality();
    const isLost = missed || droppedVideoFrames > this.lost;
    this.lost = droppedVideoFrames;
    this.inRow = isLost ? 0 : this.inRow + 1;
    let speed = video.playbackRate;
    if (isLost && this.tries < MOST_TRIES) {
      this.tries++;
      speed = Math.max(speed / 2, SLOWEST);
    } else {
      this.tries = 0;
      if (speed === 1 || this.inRow < FASTER) return false;
      this.inRow = 0;
      speed = Math.min(2 * speed, 1);
    }
    video.playbackRate = speed;
    video.currentTime = Math.max(this.last, 0);
    return true;
  }

  /** @param {Shown} shown */
  async take(shown) {
    const { stage, page } = this;
    const { time } = shown;
    // While the video goes back it still shows pictures from further on.
    if (!this.running || stage.video.seeking || time <= this.last || this.goesBack(shown)) return;
    this.last = time;
    this.waiting++;
    this.goOn();
    try {
      const picture = await createImageBitmap(stage.video);
      const { hands, width, height, result } = await page.worker.see(picture, time, true);
      stage.draw(hands, width, height);
      this.view.dispatchEvent(new CustomEvent("picture", { detail: { hands, width, height, time } }));
      if (result) this.transcript.add(result);
      this.pictures++;
      const { duration } = stage.video;
      this.progress.value = duration > 0 ? Math.min(time / duration, 1) : 0;
    } catch (error) {
      this.failure ??= error;
    } finally {
      this.waiting--;
      this.goOn();
    }
  }

  /** Waits until all pictures are done, or the user has stopped it. */
  async untilEnd() {
    const { video } = this.stage;
    while (this.running && !video.ended && !this.failure && !video.error) await pause(30);
    await pause(LAST_PICTURE);
    while (this.waiting) await pause(30);
    if (this.failure) throw this.failure;
    if (video.error) throw new Error(cannotDecode("the video from here on"));
  }
}

/**
 * @param {HTMLVideoElement} video
 * @param {string} url
 * @param {string} name
 */
async function load(video, url, name) {
  await new Promise((resolve, reject) => {
    video.onloadeddata = resolve;
    video.onerror = () => reject(new Error(cannotDecode(name)));
    video.src = url;
  });
  if (!video.videoWidth) throw new Error(`${name} has no picture; choose a video.`);
}

/** @param {string} name */
function cannotDecode(name) {
  return `The browser cannot decode ${name}; convert it to MP4 (H.264) or WebM, or use tools/predict.py.`;
}

/** @param {number} milliseconds */
function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
