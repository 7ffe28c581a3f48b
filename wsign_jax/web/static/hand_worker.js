// @ts-check
/** The page's side of `worker.js`. */

/** @typedef {import("./recognizer.js").SeenHand} SeenHand */
/** @typedef {import("./recognizer.js").StreamResult} StreamResult */
/**
 * What was found in a picture; `result` is null if nothing was to be recognized.
 * @typedef {{hands: SeenHand[], width: number, height: number, time: number, landmarksMs: number,
 *   result: StreamResult | null}} Seen
 */
/**
 * A model that was loaded; nothing without one.
 * @typedef {{labels?: string[], enrolled?: string[], tellsUnknown?: boolean,
 *   seconds?: {tracker: number, chunk: number}, lookAhead?: number}} Opened
 */

/** A worker that finds hands; calls are worked through in order. */
export class HandWorker {
  constructor() {
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data: { id, error, ...value } }) => {
      const call = this.waiting.get(id);
      this.waiting.delete(id);
      if (error) call?.reject(new Error(error));
      else call?.resolve(value);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      const why = event.message ? ` (${event.message})` : "";
      for (const { reject } of this.waiting.values()) {
        reject(new Error(`The page's worker has stopped${why}; load the page again.`));
      }
      this.waiting.clear();
    };
  }

  /**
   * Loads the landmarker, unless it is there, and a model.
   * @param {string} model its folder in the site; "": none
   * @returns {Promise<Opened>}
   */
  open(model) {
    return this.call({ kind: "open", model });
  }

  /**
   * Finds the hands in a picture, which is closed.
   * @param {ImageBitmap | VideoFrame} picture
   * @param {number} time seconds
   * @param {boolean} recognize whether it is of the stream
   * @returns {Promise<Seen>}
   */
  see(picture, time, recognize) {
    return this.call({ kind: "see", picture, time, recognize }, [picture]);
  }

  /** @returns {Promise<{result: StreamResult | null}>} */
  finish() {
    return this.call({ kind: "finish" });
  }

  /** @returns {Promise<object>} */
  reset() {
    return this.call({ kind: "reset" });
  }

  /**
   * @param {object} message
   * @param {Transferable[]} transfer
   * @returns {Promise<any>}
   */
  call(message, transfer = []) {
    const id = this.count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, ...message }, transfer);
    });
  }
}
