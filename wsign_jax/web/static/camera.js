// @ts-check
/** The camera, and a video's pictures as they are shown. */

const WANTED = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
/** @type {Record<string, string>} */
const PROBLEMS = {
  NotAllowedError:
    "The page may not use the camera; allow it in the browser's address bar, and start again.",
  NotFoundError: "There is no camera; connect one, or use a video file.",
  NotReadableError: "Another program uses the camera; close it, and start again.",
};

/**
 * A picture that is shown: its time, and when that was by `performance.now`, in seconds; `missed` says
 * whether the page came too late for the picture before it.
 * @typedef {{time: number, taken: number, missed: boolean}} Shown
 */

/**
 * Opens the camera and plays it.
 * @param {HTMLVideoElement} video
 * @throws {Error} with one sentence that says what to do
 */
export async function openCamera(video) {
  if (!navigator.mediaDevices) {
    throw new Error(
      "The browser gives the camera only to pages from this machine or over https; open this page at " +
        "http://127.0.0.1 or https.",
    );
  }
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: WANTED, audio: false });
  } catch (error) {
    const { name, message } = /** @type {DOMException} */ (error);
    throw new Error(PROBLEMS[name] ?? `The camera cannot be used (${message || name}); try another.`);
  }
  await video.play();
}

/** @param {HTMLVideoElement} video */
export function closeCamera(video) {
  const stream = /** @type {MediaStream | null} */ (video.srcObject);
  for (const track of stream?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

/**
 * Returns the picture that the camera shows; where browsers can, without copying it.
 * @param {HTMLVideoElement} video
 * @returns {Promise<ImageBitmap | VideoFrame>}
 */
export async function grabPicture(video) {
  return "VideoFrame" in window ? new VideoFrame(video) : createImageBitmap(video);
}

/**
 * Calls `take` for every picture that a video shows; returns the function that ends it.
 * @param {HTMLVideoElement} video
 * @param {(shown: Shown) => void} take
 */
export function watchPictures(video, take) {
  let ended = false;
  if ("requestVideoFrameCallback" in video) {
    let count = 0;
    /** @type {VideoFrameRequestCallback} */
    const shown = (now, { captureTime, mediaTime, presentedFrames }) => {
      if (ended) return;
      video.requestVideoFrameCallback(shown);
      const isFile = !video.srcObject;
      const time = isFile ? mediaTime : (captureTime ?? now) / 1000;
      take({ time, taken: isFile ? now / 1000 : time, missed: presentedFrames > count + 1 });
      count = presentedFrames;
    };
    video.requestVideoFrameCallback(shown);
  } else {
    let last = -1;
    const look = () => {
      if (ended) return;
      requestAnimationFrame(look);
      const { currentTime } = /** @type {HTMLVideoElement} */ (video);
      if (currentTime === last || /** @type {HTMLVideoElement} */ (video).readyState < 2) return;
      last = currentTime;
      take({ time: currentTime, taken: performance.now() / 1000, missed: false });
    };
    look();
  }
  return () => {
    ended = true;
  };
}
