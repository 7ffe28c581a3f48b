// What the page's worker takes from packages that are fetched when a site is written.
declare module "*/vision_bundle.mjs" {
  export const HandLandmarker: any;
}
declare module "*/ort.wasm.bundle.min.mjs" {
  export const env: any;
  export const Tensor: any;
  export const InferenceSession: any;
}
