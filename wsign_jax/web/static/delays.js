// @ts-check
/** The line that says what delays a sign. */

const REMEMBERED = 60; // pictures
const EVERY = 500; // milliseconds
const SLOW = 5; // pictures a second; with fewer, more signs are missed (README)

/** Medians of the latest pictures, shown in a list. */
export class Delays {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    /** @type {Record<string, number[]>} */
    this.latest = {};
    /** @type {number[]} */
    this.done = []; // when pictures were done, by `performance.now`
    this.dropped = 0;
    this.shown = 0;
  }

  clear() {
    this.latest = {};
    this.done = [];
    this.dropped = 0;
    this.shown = 0;
    this.place.replaceChildren();
  }

  /**
   * Adds a picture's delays in milliseconds; 0 leaves one out.
   * @param {Record<string, number>} parts
   * @param {{tracker: number, chunk: number}} seconds that the method itself takes
   */
  add(parts, seconds) {
    const now = performance.now();
    for (const [name, value] of Object.entries(parts)) {
      if (value) remember((this.latest[name] ??= []), value);
    }
    remember(this.done, now);
    if (now - this.shown < EVERY) return;
    this.shown = now;
    const { camera, landmarks, model } = this.latest;
    const rate = (1000 * (this.done.length - 1)) / (now - this.done[0]);
    /** @type {[string, string][]} */
    const slow = rate < SLOW ? [["this computer is slow", "signs may be missed"]] : [];
    this.show([
      ...slow,
      ["camera", milliseconds(camera)],
      ["finding hands", milliseconds(landmarks)],
      ["following them", `${Math.round(1000 * seconds.tracker)} ms`],
      ["waiting for a chunk of pictures", `up to ${Math.round(1000 * seconds.chunk)} ms`],
      ["recognizing it", milliseconds(model)],
      ["pictures", `${rate.toFixed(0)} a second, ${this.dropped} skipped`],
    ]);
  }

  /** @param {[string, string][]} rows */
  show(rows) {
    this.place.replaceChildren(
      ...rows.map(([name, value]) => {
        const row = document.createElement("div");
        row.append(document.createElement("dt"), document.createElement("dd"));
        [row.children[0].textContent, row.children[1].textContent] = [name, value];
        return row;
      }),
    );
  }
}

/**
 * @param {number[]} list
 * @param {number} value
 */
function remember(list, value) {
  list.push(value);
  if (list.length > REMEMBERED) list.shift();
}

/** @param {number[]} [values] */
function milliseconds(values) {
  if (!values?.length) return "-";
  const median = [...values].sort((a, b) => a - b)[values.length >> 1];
  return `${median < 10 ? median.toFixed(1) : Math.round(median)} ms`;
}
