// @ts-check
/** A video with the hands drawn on it. */

/** @typedef {import("./recognizer.js").SeenHand} SeenHand */

const FINGERS = [1, 5, 9, 13, 17].map((base) => [base, base + 1, base + 2, base + 3]);
const COLORS = { left: "#ffb000", right: "#4cc9ff" };

/** The parts of a stage in a view. */
export class Stage {
  /** @param {Element} view */
  constructor(view) {
    this.box = /** @type {HTMLElement} */ (view.querySelector("[data-stage]"));
    this.video = /** @type {HTMLVideoElement} */ (this.box.querySelector("video"));
    this.canvas = /** @type {HTMLCanvasElement} */ (this.box.querySelector("canvas"));
    this.prompt = this.box.querySelector(".prompt");
  }

  /** @param {boolean} on whether there are pictures */
  show(on) {
    this.box.classList.toggle("on", on);
    if (!on) this.draw([], 1, 1);
  }

  /**
   * Draws the hands of a picture of this width and height, unless it came after the pictures' end.
   * @param {SeenHand[]} hands
   * @param {number} width
   * @param {number} height
   */
  draw(hands, width, height) {
    const { canvas } = this;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    pen.clearRect(0, 0, width, height);
    if (!this.box.classList.contains("on")) return;
    const unit = Math.max(width, height) / 640;
    for (const { hand, points } of hands) {
      const places = points.map(([x, y]) => [x * width, y * height]);
      pen.strokeStyle = pen.fillStyle = COLORS[hand];
      pen.lineWidth = 2.5 * unit;
      pen.lineJoin = "round";
      pen.beginPath();
      for (const finger of FINGERS) trace(pen, [places[0], ...finger.map((joint) => places[joint])]);
      trace(pen, [5, 9, 13, 17].map((joint) => places[joint]));
      pen.stroke();
      for (const [x, y] of places) {
        pen.beginPath();
        pen.arc(x, y, 3.2 * unit, 0, 2 * Math.PI);
        pen.fill();
      }
    }
  }
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {number[][]} places
 */
function trace(pen, places) {
  places.forEach(([x, y], number) => (number ? pen.lineTo(x, y) : pen.moveTo(x, y)));
}
