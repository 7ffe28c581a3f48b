// @ts-check
/** The page: its views, its worker, and the one place for problems. */

import { FileView } from "./file.js";
import { HandWorker } from "./hand_worker.js";
import { LiveView } from "./live.js";
import { RecordView } from "./record.js";

/**
 * The content of site.json, which `wsign_jax/web/site.py` writes.
 * @typedef {{model: string, record: string, commands: string[], keypoints: any}} About
 */

/** What the views share. */
export class Page {
  /** @param {About} about */
  constructor(about) {
    this.about = about;
    this.worker = new HandWorker();
    this.seconds = { tracker: 0, chunk: 0 };
    this.problem = this.element("problem");
    /** Loads a model's folder; "": none. @type {(model: string) => Promise<void>} */
    this.useModel = async () => {};
  }

  /** @param {string} id */
  element(id) {
    return /** @type {HTMLElement} */ (document.getElementById(id));
  }

  /** @param {string} id */
  button(id) {
    return /** @type {HTMLButtonElement} */ (this.element(id));
  }

  /** @param {unknown} error */
  showProblem(error) {
    this.problem.textContent = error instanceof Error ? error.message : String(error);
    this.problem.hidden = false;
    this.problem.scrollIntoView({ block: "nearest" });
  }

  clearProblem() {
    this.problem.hidden = true;
    this.problem.textContent = "";
  }
}

/**
 * Makes buttons into tabs, by mouse and by arrow keys.
 * @param {(name: string) => void} leave called with the view that is left
 */
function makeTabs(leave) {
  const tabs = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[role=tab]")]);
  const viewOf = (/** @type {HTMLElement} */ tab) =>
    /** @type {HTMLElement} */ (document.getElementById(tab.getAttribute("aria-controls") ?? ""));
  const choose = (/** @type {HTMLElement} */ chosen) => {
    for (const tab of tabs) {
      const isChosen = tab === chosen;
      if (!isChosen && tab.getAttribute("aria-selected") === "true") leave(viewOf(tab).id);
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      viewOf(tab).hidden = !isChosen;
    }
  };
  tabs.forEach((tab, number) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = tabs[(number + step + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  });
  return choose;
}

/**
 * Loads a model, once nobody is in the midst of a video or a take; the camera goes on with it.
 * @param {Page} page
 * @param {{live: LiveView, file: FileView, record: RecordView}} views
 * @param {string} model its folder; "": none, only what finds hands
 */
async function useModel(page, { live, file, record }, model) {
  while (file.running || record.running) await new Promise((resolve) => setTimeout(resolve, 500));
  const isOn = live.pictures && !live.pauseButton.disabled && !live.pictures.paused;
  if (isOn) await live.pause();
  try {
    const { labels, enrolled = [], tellsUnknown = false, seconds } = await page.worker.open(model);
    if (seconds) page.seconds = seconds;
    const signs = listSigns(labels ?? [], enrolled);
    page.element("state").textContent = labels
      ? `Ready: knows ${signs.length} signs.`
      : "Ready to record; there is no model yet.";
    for (const view of [live, file]) {
      if (labels) view.ready();
      view.transcript.offerUnknown(tellsUnknown);
    }
    page.element("signs").hidden = !labels;
    page.element("signs-list").textContent = signs.join(", ");
  } finally {
    if (isOn) await live.pause();
  }
}

/**
 * Returns the signs that a model knows, those first that it was trained with.
 * @param {string[]} labels
 * @param {string[]} enrolled
 */
function listSigns(labels, enrolled) {
  const trained = labels.map((label) => (enrolled.includes(label) ? `${label} (also enrolled)` : label));
  const added = enrolled.filter((name) => !labels.includes(name)).map((name) => `${name} (enrolled)`);
  return [...trained, ...added];
}

async function main() {
  const about = await (await fetch("site.json")).json();
  const page = new Page(about);
  const views = { live: new LiveView(page), file: new FileView(page), record: new RecordView(page) };
  Object.assign(window, { views }); // for the console, and tests
  const choose = makeTabs((name) => {
    if (name === "live") void views.live.stop();
    if (name === "record") void views.record.stop();
    if (name === "file") void views.file.stop();
  });
  page.useModel = (model) => useModel(page, views, model);
  if (!about.model) choose(page.element("tab-record"));
  try {
    await page.useModel(about.model);
    views.record.ready();
  } catch (error) {
    page.element("state").textContent = "";
    page.showProblem(error);
  }
}

void main().catch((error) => {
  const problem = /** @type {HTMLElement} */ (document.getElementById("problem"));
  problem.textContent = `The page cannot start (${error.message}); load it again.`;
  problem.hidden = false;
});
