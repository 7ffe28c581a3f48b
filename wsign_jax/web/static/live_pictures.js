// @ts-check
/** Gives the camera's newest picture to the worker whenever it is free. */

import { closeCamera, grabPicture, openCamera, watchPictures } from "./camera.js";

/** @typedef {import("./camera.js").Shown} Shown */
/** @typedef {import("./hand_worker.js").HandWorker} HandWorker */
/** @typedef {import("./hand_worker.js").Seen} Seen */

/** The camera of a view. Pictures that come while two others are at work or wait are dropped. */
export class LivePictures {
  /**
   * @param {HTMLVideoElement} video
   * @param {HandWorker} worker
   * @param {{recognize: boolean, seen: (seen: Seen, cameraMs: number) => void,
   *   failed: (error: unknown) => void}} options
   */
  constructor(video, worker, { recognize, seen, failed }) {
    this.video = video;
    this.worker = worker;
    this.recognize = recognize;
    this.seen = seen;
    this.failed = failed;
    this.dropped = 0;
    this.paused = false;
    this.busy = false;
    /** @type {{picture: ImageBitmap | VideoFrame, shown: Shown} | null} */
    this.next = null;
    this.unwatch = () => {};
  }

  /** @throws {Error} the camera cannot be used */
  async start() {
    await openCamera(this.video);
    const [track] = /** @type {MediaStream} */ (this.video.srcObject).getVideoTracks();
    track.addEventListener("ended", () =>
      this.failed(new Error("The camera is gone; connect it again, and start again.")),
    );
    this.unwatch = watchPictures(this.video, (shown) => this.take(shown));
  }

  stop() {
    this.unwatch();
    this.pause(true);
    closeCamera(this.video);
  }

  /** @param {boolean} paused whether no picture is to reach the worker */
  pause(paused) {
    this.paused = paused;
    this.next?.picture.close();
    this.next = null;
  }

  /** @param {Shown} shown */
  async take(shown) {
    if (this.paused) return;
    try {
      const picture = await grabPicture(this.video);
      if (this.paused) {
        picture.close();
        return;
      }
      if (this.next) {
        this.next.picture.close();
        this.dropped++;
      }
      this.next = { picture, shown };
      if (!this.busy) await this.work();
    } catch (error) {
      if (!this.paused) this.failed(error);
    }
  }

  async work() {
    this.busy = true;
    try {
      while (this.next) {
        const { picture, shown } = this.next;
        this.next = null;
        const cameraMs = Math.max(performance.now() - 1000 * shown.taken, 0);
        this.seen(await this.worker.see(picture, shown.time, this.recognize), cameraMs);
      }
    } finally {
      this.busy = false;
    }
  }
}
