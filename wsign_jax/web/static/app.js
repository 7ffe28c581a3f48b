// @ts-check
/** The page: its views, its worker, and the one place for problems. */

import { FileView } from "./file.js";
import { HandWorker } from "./hand_worker.js";
import { LiveView } from "./live.js";
import { RecordView } from "./record.js";

/**
 * The content of site.json, which `wsign_jax/web/site.py` writes.
 * @typedef {{model: boolean, record: string, keypoints: any}} About
 */

/** What the views share. */
export class Page {
  /** @param {About} about */
  constructor(about) {
    this.about = about;
    this.worker = new HandWorker();
    this.seconds = { tracker: 0, chunk: 0 };
    this.problem = this.element("problem");
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

async function main() {
  const state = /** @type {HTMLElement} */ (document.getElementById("state"));
  const about = await (await fetch("site.json")).json();
  const page = new Page(about);
  const views = { live: new LiveView(page), file: new FileView(page), record: new RecordView(page) };
  Object.assign(window, { views }); // for the console, and tests
  const choose = makeTabs((name) => {
    if (name === "live") void views.live.stop();
    if (name === "record") void views.record.stop();
    if (name === "file") void views.file.stop();
  });
  if (!about.model) choose(page.element("tab-record"));
  try {
    const { labels, seconds } = await page.worker.open(about.model);
    if (seconds) page.seconds = seconds;
    state.textContent = labels
      ? `Ready: knows ${labels.length} signs.`
      : "Ready to record; there is no model yet.";
    if (labels) for (const view of [views.live, views.file]) view.ready();
    views.record.ready();
  } catch (error) {
    state.textContent = "";
    page.showProblem(error);
  }
}

void main().catch((error) => {
  const problem = /** @type {HTMLElement} */ (document.getElementById("problem"));
  problem.textContent = `The page cannot start (${error.message}); load it again.`;
  problem.hidden = false;
});
