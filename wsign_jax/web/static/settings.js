// @ts-check
/** The content of stream.json, which `wsign_jax/web/model_folder.py` writes. */

const VERSION = 2;

/**
 * @typedef {object} Settings
 * @property {number} version
 * @property {string[]} labels the first is the blank
 * @property {number} fps of keypoints
 * @property {number} patch_size frames
 * @property {number} look_ahead of the network, in patches
 * @property {number} chunk patches that are recognized at a time
 * @property {number} reach patches after which the network's state holds nothing of what came before
 * @property {number} head_width
 * @property {number} frequency_base of rotary angles
 * @property {number | null} most_patches of a stream; null: no end
 * @property {number} no_hands_frames after which nothing is recognized
 * @property {number} temperature of confidences
 * @property {number | null} sign_start seconds from CTC's first patch to the sign's start
 * @property {number | null} sign_end and to its end; null: it is where CTC is sure of it
 * @property {HandSettings} hand
 * @property {TrackerSettings} tracker
 * @property {SentenceEndSettings} sentence_end
 * @property {UnknownSettings | null} unknown null: unknown signs are not told from known ones
 * @property {EnrolledSettings | null} enrolled null: without enrolled signs
 * @property {Record<string, Record<string, number[]>>} arrays the shapes of each file's arrays, by name
 * @property {Record<string, {type: TensorType, shape: number[]}>} inputs of the ONNX file, by name
 */

/** @typedef {"float32" | "int32" | "bool"} TensorType */

/**
 * @typedef {object} HandSettings
 * @property {number} joints of one hand
 * @property {number} wrist the number of a joint, as is the next
 * @property {number} middle_knuckle
 * @property {number} largest number that a keypoint can have
 */

/**
 * Constants of `keypoints/track.py`, `keypoints/resample.py` and `keypoints/picture_stream.py`, where
 * they are explained.
 * @typedef {object} TrackerSettings
 * @property {number} delay_frames
 * @property {number} max_gap
 * @property {number} rounding
 * @property {number} longest_pause
 * @property {number} part
 * @property {number} spread
 * @property {number} spread_per_second
 * @property {number} linear
 * @property {number} extrapolation
 * @property {number} new_track
 * @property {number} same_hand
 * @property {number} smallest_hand
 * @property {number} memory
 * @property {number} least_score
 * @property {number} most_score
 * @property {number} most_log_odds
 * @property {number} renaming
 * @property {number} rest_speed picture widths per second
 */

/**
 * @typedef {object} SentenceEndSettings
 * @property {number} rest_frames without movement after which a sentence is over; 0: never
 * @property {number} most_patches of a sentence
 */

/**
 * The rule for unknown signs, and constants of `decode/unknown.py`.
 * @typedef {object} UnknownSettings
 * @property {number} below
 * @property {boolean[]} seen
 * @property {number} least
 * @property {number} longest
 */

/**
 * Enrolled signs, as `Prototypes` of `decode/prototypes.py`, and constants of that module and of
 * `decode/enrolled_signs.py`.
 * @typedef {object} EnrolledSettings
 * @property {string[]} names
 * @property {number[]} signs each recording's index into the names
 * @property {number[]} frames
 * @property {number[]} ways
 * @property {number[]} thresholds
 * @property {number[]} lengths of windows in frames
 * @property {number} longest_alone
 * @property {number} points
 * @property {[number, number][]} bones
 * @property {number[][]} average_hand
 * @property {number} hop
 * @property {number} least
 * @property {number} least_alone
 * @property {number} softness
 * @property {number} softness_alone
 * @property {number} alone
 * @property {number} pause
 * @property {number} margin
 * @property {number} step
 * @property {number} farther
 * @property {number} still
 * @property {number} near seconds
 */

/**
 * Checks the content of stream.json.
 * @param {any} content
 * @param {string} where it comes from, for the message
 * @returns {Settings}
 * @throws {Error} another version of this project wrote it
 */
export function checkSettings(content, where) {
  const version = content?.version;
  if (version !== VERSION) {
    throw new Error(
      `${where} is of version ${version}, and this page reads version ${VERSION}; write the page and ` +
        "its model again with one version of the project.",
    );
  }
  return content;
}
