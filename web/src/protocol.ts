/** What the page asks of its worker, and what it gets. */

import type { Box, Size } from "./geometry";
import type { Neck } from "./neck";

/** A brush stroke, in pixels of the shown photo. */
export interface Stroke {
  adds: boolean;
  radius: number;
  points: [x: number, y: number][];
}

export type Frame = "head" | "square" | "circle" | "photo";

export type Background =
  | { kind: "transparent" }
  | { kind: "blur" }
  | { kind: "colour"; colour: string }
  | { kind: "picture"; file: Blob };

/** All that makes a result what it is. */
export interface Choice {
  /** Which of the heads, left to right. */
  heads: boolean[];
  neck: Neck;
  strokes: Stroke[];
  frame: Frame;
  /** Room around the head, in percent of its longer side. */
  padding: number;
  /** Width of the line around the head, in percent of its longer side. */
  outline: number;
  outlineColour: string;
  background: Background;
}

/** A photo with its heads. */
export interface Opened {
  /** The photo as it is shown and looked at. */
  photo: ImageBitmap;
  size: Size;
  heads: { box: Box }[];
  /** Milliseconds by stage; `finder`, `segmenter` and `refiner` are part of `looks`. */
  ms: Record<string, number>;
}

/** What runs the networks. */
export type Backend = "wasm" | "webgpu";

/** What the worker does. */
export interface Work {
  load(threads: number | null): Promise<{ threads: number }>;
  /** Go on with the GPU if it is faster, or asked for: tried with the open photo, which has heads. */
  tryGpu(isAsked: boolean): Promise<Backend>;
  open(file: Blob): Promise<Opened>;
  /** The chosen heads on nothing, at the size of the shown photo. */
  lift(choice: Choice): Promise<ImageBitmap | null>;
  /** The result, as large as the shown photo allows. */
  preview(choice: Choice): Promise<ImageBitmap | null>;
  /** The result as a PNG, as large as the photo allows. */
  save(choice: Choice): Promise<Blob | null>;
  /** The photo and its mask, black and white, to train with. */
  pair(choice: Choice): Promise<{ photo: Blob; mask: Blob } | null>;
}

export interface Call {
  id: number;
  name: keyof Work;
  given: unknown[];
}

export type Reply =
  | { id: number; result: unknown }
  | { id: number; error: string }
  | { progress: number };

/** The photo cannot be decoded by this browser. */
export const UNREADABLE = "unreadable";
