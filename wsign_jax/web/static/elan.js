// @ts-check
/** Signs as a file of ELAN 6; a port of `wsign_jax/decode/elan.py`. */

/** @typedef {import("./recognizer.js").Gloss} Gloss */

const ASSOCIATION = "Symbolic_Association";
const XSI = "http://www.w3.org/2001/XMLSchema-instance";

/**
 * Returns an .eaf file: a tier of glosses, and a tier of their confidences. Annotations last a
 * millisecond at least and do not overlap: one ends where the next begins.
 * @param {Gloss[]} glosses
 */
export function elanDocument(glosses) {
  const page = document.implementation.createDocument(null, "ANNOTATION_DOCUMENT");
  const root = page.documentElement;
  const date = new Date().toISOString().replace(/\.\d+/, "");
  const about = { AUTHOR: "WhisperSign-JAX", DATE: date, FORMAT: "3.0", VERSION: "3.0" };
  for (const [name, value] of Object.entries(about)) root.setAttribute(name, value);
  root.setAttributeNS(XSI, "xsi:noNamespaceSchemaLocation", "http://www.mpi.nl/tools/elan/EAFv3.0.xsd");
  /** @type {(parent: Element, tag: string, attributes?: Record<string, string>) => Element} */
  const add = (parent, tag, attributes = {}) => {
    const element = parent.appendChild(page.createElementNS(null, tag));
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  /** @type {(tier: Element, tag: string, value: string, attributes: Record<string, string>) => void} */
  const annotate = (tier, tag, value, attributes) => {
    const annotation = add(add(tier, "ANNOTATION"), tag, attributes);
    add(annotation, "ANNOTATION_VALUE").textContent = value;
  };
  add(root, "HEADER", { MEDIA_FILE: "", TIME_UNITS: "milliseconds" });
  const order = add(root, "TIME_ORDER");
  const tier = add(root, "TIER", { TIER_ID: "glosses", LINGUISTIC_TYPE_REF: "glosses" });
  const below = add(root, "TIER", {
    TIER_ID: "confidence", LINGUISTIC_TYPE_REF: "confidence", PARENT_REF: "glosses",
  });
  let end = 0;
  glosses.forEach((gloss, index) => {
    const number = index + 1;
    const start = Math.max(Math.round(gloss.start * 1000), end);
    const last = Math.min(gloss.end, glosses[index + 1]?.start ?? Infinity);
    end = Math.max(Math.round(last * 1000), start + 1);
    const slots = { TIME_SLOT_REF1: `ts${2 * number - 1}`, TIME_SLOT_REF2: `ts${2 * number}` };
    add(order, "TIME_SLOT", { TIME_SLOT_ID: slots.TIME_SLOT_REF1, TIME_VALUE: String(start) });
    add(order, "TIME_SLOT", { TIME_SLOT_ID: slots.TIME_SLOT_REF2, TIME_VALUE: String(end) });
    annotate(tier, "ALIGNABLE_ANNOTATION", gloss.label, { ANNOTATION_ID: `a${number}`, ...slots });
    const above = { ANNOTATION_ID: `c${number}`, ANNOTATION_REF: `a${number}` };
    annotate(below, "REF_ANNOTATION", gloss.confidence.toFixed(3), above);
  });
  const common = { GRAPHIC_REFERENCES: "false" };
  const type = "LINGUISTIC_TYPE";
  add(root, type, { LINGUISTIC_TYPE_ID: "glosses", TIME_ALIGNABLE: "true", ...common });
  add(root, type, {
    LINGUISTIC_TYPE_ID: "confidence", CONSTRAINTS: ASSOCIATION, TIME_ALIGNABLE: "false", ...common,
  });
  const description = "1-1 association with a parent annotation";
  add(root, "CONSTRAINT", { STEREOTYPE: ASSOCIATION, DESCRIPTION: description });
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(page)}\n`;
}
