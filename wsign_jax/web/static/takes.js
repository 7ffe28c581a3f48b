// @ts-check
/** The takes that were recorded: kept by the local server, otherwise in the page until they are downloaded. */

import { download } from "./download.js";
import { zip } from "./npz.js";

/** @typedef {{name: string, gloss: string, signer: string, content: Uint8Array | null}} Take
 * The content is null once the server has it. */

/** All takes of this page, and the counts of those that the server had before. */
export class Takes {
  /** @param {string} folder in which the server keeps takes; empty without such a server */
  constructor(folder) {
    this.folder = folder;
    /** @type {Take[]} */
    this.takes = [];
    /** @type {Record<string, number>} */
    this.served = {}; // takes of each gloss that the server has
    this.downloaded = 0;
    this.busy = false;
  }

  /** Asks the server what it has. */
  async load() {
    if (this.folder) this.served = (await ask("GET", "takes")).takes;
  }

  /** How many takes of each gloss there are. */
  counts() {
    const counts = { ...this.served };
    for (const { gloss } of this.inPage()) counts[gloss] = (counts[gloss] ?? 0) + 1;
    return counts;
  }

  /** Takes that only this page has. */
  inPage() {
    return this.takes.filter(({ content }) => content);
  }

  /** Whether a take would be lost with the page. */
  get unsaved() {
    return this.inPage().length > (this.folder ? 0 : this.downloaded);
  }

  /**
   * How many takes of a gloss somebody has made in this page.
   * @param {string} gloss
   * @param {string} signer
   */
  count(gloss, signer) {
    return this.takes.filter((take) => take.gloss === gloss && take.signer === signer).length;
  }

  /**
   * Adds a take.
   * @param {string} gloss
   * @param {string} signer
   * @param {Uint8Array} content
   * @throws {Error} the server does not take it; the page keeps it
   */
  async add(gloss, signer, content) {
    this.takes.push({ name: newName(), gloss, signer, content });
    await this.save();
  }

  /**
   * Gives the server what it does not have yet.
   * @throws {Error} it does not take them
   */
  async save() {
    if (!this.folder || this.busy) return;
    this.busy = true;
    try {
      for (const take of this.inPage()) {
        const { name, takes } = await ask("POST", "takes", take.content);
        take.name = name;
        take.content = null;
        this.served = takes;
      }
    } finally {
      this.busy = false;
    }
  }

  /**
   * Removes the latest take, and returns its gloss.
   * @throws {Error} the server does not remove it
   */
  async removeLast() {
    const take = this.takes.at(-1);
    if (!take) return "";
    if (!take.content) this.served = (await ask("DELETE", `takes/${take.name}`)).takes;
    this.takes.pop();
    this.downloaded = Math.min(this.downloaded, this.inPage().length);
    return take.gloss;
  }

  /** Gives the user the takes that only this page has. */
  download() {
    const files = this.inPage();
    const content = zip(files.map((take) => [`recordings/${take.name}`, take.content ?? new Uint8Array()]));
    download(`recordings-${stamp()}.zip`, "application/zip", content);
    this.downloaded = files.length;
  }
}

/**
 * Asks the local server.
 * @param {string} method
 * @param {string} url
 * @param {Uint8Array | null} [body]
 * @returns {Promise<any>} its answer
 * @throws {Error} it refuses, or does not answer
 */
export async function ask(method, url, body = null) {
  let response;
  try {
    response = await fetch(url, { method, body: /** @type {BodyInit | null} */ (body) });
  } catch {
    throw new Error("The server does not answer");
  }
  if (!response.ok) throw new Error(`The server says: ${(await response.text()).slice(0, 300)}`);
  return response.json();
}

/** A name as `wsign_jax/web/recordings.py` makes them, so that a download can be put there. */
function newName() {
  const random = crypto.getRandomValues(new Uint8Array(4));
  const hex = [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `take-${stamp()}-${hex}.npz`;
}

export function stamp() {
  const now = new Date();
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  return `${date}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
}
