// @ts-check
/** The signs of a stream: on the page, as text, as subtitles and for ELAN. */

import { download } from "./download.js";
import { elanDocument } from "./elan.js";

/** @typedef {import("./recognizer.js").Candidate} Candidate */
/** @typedef {import("./recognizer.js").Gloss} Gloss */
/** @typedef {import("./recognizer.js").StreamResult} StreamResult */
/** @typedef {"off" | "mark" | "drop"} UnknownMode What becomes of unknown signs, as in Python. */

export const UNKNOWN = "<unknown>"; // in text and files, as `wsign_jax/decode/transcript.py` has it
const SHOWN_UNKNOWN = "(unknown sign)"; // on the page; brackets, so that a screen reader pauses too
/** @type {[UnknownMode, string][]} The first is chosen at the start. */
const MODES = [
  ["mark", "mark them"],
  ["drop", "leave them out"],
  ["off", "show the nearest sign"],
];
const SHOWN_SECONDS = 1; // as `wsign_jax/decode/transcript.py`: CTC is sure of a sign too shortly to read
const NOTHING = "Signs appear here. Gray ones may still change.";

/**
 * Returns the glosses, with the unknown ones as `unknown` says; a port of `as_asked` in
 * `wsign_jax/decode/transcript.py`.
 * @param {Candidate[]} candidates
 * @param {UnknownMode} unknown
 * @returns {Gloss[]}
 */
export function asAsked(candidates, unknown) {
  return candidates
    .filter(({ isUnknown }) => !(isUnknown && unknown === "drop"))
    .map(({ gloss, isUnknown }) => (isUnknown && unknown === "mark" ? { ...gloss, label: UNKNOWN } : gloss));
}

/** A box of signs with its buttons, made in `place`. */
export class Transcript {
  /** @param {HTMLElement} place */
  constructor(place) {
    /** @type {{candidate: Candidate, word: HTMLElement}[]} */
    this.words = [];
    this.name = "signs";
    this.box = place.appendChild(make("div", "transcript"));
    this.box.tabIndex = 0;
    this.box.setAttribute("role", "log");
    this.box.setAttribute("aria-relevant", "additions"); // not all signs again if the choice below changes
    this.box.setAttribute("aria-label", place.getAttribute("aria-label") ?? "Signs");
    place.removeAttribute("aria-label");
    this.pending = make("span", "pending");
    this.pending.setAttribute("aria-live", "off");
    this.choice = place.appendChild(make("label", "note"));
    this.choice.hidden = true;
    this.choice.append("Signs that it does not know: ");
    this.mode = this.choice.appendChild(make("select"));
    for (const [value, text] of MODES) this.mode.add(new Option(text, value));
    this.mode.addEventListener("change", () => this.showAsAsked());
    const controls = place.appendChild(make("div", "controls"));
    /** @type {[string, () => void][]} */
    const actions = [
      ["Copy", () => this.copy()],
      ["Subtitles (.srt)", () => download(`${this.name}.srt`, "application/x-subrip", this.srt())],
      ["ELAN (.eaf)", () => download(`${this.name}.eaf`, "application/xml", elanDocument(this.glosses))],
      [
        "Clear",
        () => {
          this.box.focus(); // the button is about to be disabled
          this.clear();
        },
      ],
    ];
    this.buttons = actions.map(([label, act]) => {
      const button = controls.appendChild(make("button"));
      button.textContent = label;
      button.addEventListener("click", act);
      return button;
    });
    this.said = place.appendChild(make("p", "note"));
    this.said.setAttribute("role", "status");
    this.clear();
  }

  /** The stable signs, with the unknown ones as the person has chosen. */
  get glosses() {
    return this.asked(this.words.map(({ candidate }) => candidate));
  }

  /** @param {Candidate[]} candidates */
  asked(candidates) {
    return asAsked(candidates, /** @type {UnknownMode} */ (this.mode.value));
  }

  /** @param {boolean} isTold whether the model tells unknown signs, so that there is a choice */
  offerUnknown(isTold) {
    this.choice.hidden = !isTold;
  }

  clear() {
    this.words = [];
    this.box.replaceChildren(make("p", "nothing"));
    this.box.children[0].textContent = NOTHING;
    /** @type {HTMLElement | null} */
    this.line = null;
    this.said.textContent = "";
    this.update();
  }

  /**
   * Shows what a picture has brought.
   * @param {StreamResult} result
   * @param {number} [offset] seconds by which the stream began after the transcript
   */
  add({ stable, pending, sentenceEnd }, offset = 0) {
    const isAtEnd = this.box.scrollTop + this.box.clientHeight > this.box.scrollHeight - 40;
    for (const { gloss, ...told } of stable) {
      const shifted = { ...gloss, start: gloss.start + offset, end: gloss.end + offset };
      const added = { candidate: { gloss: shifted, ...told }, word: make("span") };
      this.words.push(added);
      this.show(added);
      const line = this.currentLine();
      line.insertBefore(added.word, this.pending.parentNode === line ? this.pending : null);
    }
    const text = this.asked(pending).map(shownLabel).join(" ");
    if (text !== this.pending.textContent) {
      this.pending.textContent = text;
      if (text) this.currentLine().append(this.pending);
    }
    if (sentenceEnd && this.line && !text) this.line = null;
    if (stable.length) this.update();
    if (isAtEnd) this.box.scrollTop = this.box.scrollHeight;
  }

  /** @param {{candidate: Candidate, word: HTMLElement}} added */
  show({ candidate, word }) {
    const { gloss } = candidate;
    const [asked] = this.asked([candidate]);
    const isMarked = asked?.label === UNKNOWN;
    const sure = `${clock(gloss.start, ".")}, confidence ${gloss.confidence.toFixed(2)}`;
    word.hidden = !asked;
    word.className = isMarked ? "unknown" : "";
    word.textContent = asked ? `${shownLabel(asked)} ` : "";
    word.title = isMarked ? `${sure}; like no sign that it knows; the nearest is ${gloss.label}` : sure;
    word.dataset.label = asked?.label ?? "";
  }

  showAsAsked() {
    for (const word of this.words) this.show(word);
    this.update();
  }

  currentLine() {
    if (!this.line) {
      if (!this.box.querySelector("p:not(.nothing)")) this.box.replaceChildren();
      this.line = this.box.appendChild(make("p"));
    }
    return this.line;
  }

  update() {
    for (const button of this.buttons) button.disabled = !this.glosses.length;
  }

  /** The signs as text, a line a sentence. */
  text() {
    const lines = [...this.box.querySelectorAll("p:not(.nothing)")].map((line) =>
      [.../** @type {NodeListOf<HTMLElement>} */ (line.querySelectorAll("span:not(.pending, [hidden])"))]
        .map(({ dataset }) => dataset.label)
        .join(" "),
    );
    return lines.filter(Boolean).join("\n");
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.text());
      this.said.textContent = "Copied.";
    } catch {
      this.said.textContent = "The browser does not allow copying here; select the text and copy it.";
    }
  }

  /** The signs as subtitles, each shown long enough to read it but never with the next. */
  srt() {
    return this.glosses
      .map(({ label, start, end }, number) => {
        const next = this.glosses[number + 1]?.start ?? Infinity;
        const last = Math.min(Math.max(end, start + SHOWN_SECONDS), next);
        // Players take an arrow for times, and hide what is in angle brackets.
        const text = label.replaceAll("-->", "\u2192").replaceAll("<", "\u2039").replaceAll(">", "\u203a");
        return `${number + 1}\n${clock(start, ",")} --> ${clock(last, ",")}\n${text}\n\n`;
      })
      .join("");
  }
}

/** @param {Gloss} gloss as asked */
function shownLabel({ label }) {
  return label === UNKNOWN ? SHOWN_UNKNOWN : label;
}

/**
 * Seconds as 01:02:03.456.
 * @param {number} seconds
 * @param {string} point
 */
function clock(seconds, point) {
  const all = Math.round(seconds * 1000);
  const parts = [all / 3.6e6, (all / 6e4) % 60, (all / 1000) % 60];
  const [hours, minutes, whole] = parts.map((part) => String(Math.floor(part)).padStart(2, "0"));
  return `${hours}:${minutes}:${whole}${point}${String(all % 1000).padStart(3, "0")}`;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [name] of its class
 * @returns {HTMLElementTagNameMap[T]}
 */
function make(tag, name = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  return element;
}
