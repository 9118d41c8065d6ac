/**
 * Pillow's resize and reduce, so that a crop here is the crop that the networks were trained on.
 *
 * Colours are RGBA bytes and end as Pillow's, bit for bit; planes are 32-bit floats.
 */

import { type Box, roundHalfEven } from "./geometry";

/** A picture of RGBA bytes; A is 255 in photos. */
export interface Picture {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** A map of 32-bit floats. */
export interface Plane {
  width: number;
  height: number;
  data: Float32Array;
}

interface Filter {
  support: number;
  weight: (x: number) => number;
}

export const BILINEAR: Filter = { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) };

export const BICUBIC: Filter = {
  support: 2,
  weight: (x) => {
    const a = -0.5;
    x = Math.abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  },
};

/** Bits after the point of Pillow's fixed-point weights. */
const PRECISION_BITS = 22;

export function newPicture(width: number, height: number): Picture {
  return { width, height, data: new Uint8ClampedArray(width * height * 4) };
}

export function newPlane(width: number, height: number): Plane {
  return { width, height, data: new Float32Array(width * height) };
}

export function wholeBox(of: { width: number; height: number }): Box {
  return [0, 0, of.width, of.height];
}

/** Where each output sample's inputs begin, how many there are, and their weights. */
interface Weights {
  starts: Int32Array;
  counts: Int32Array;
  most: number;
  values: Float64Array;
}

function weightsOf(extent: number, from: number, to: number, size: number, filter: Filter): Weights {
  const scale = (to - from) / size;
  const widened = Math.max(scale, 1);
  const support = filter.support * widened;
  const most = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(size);
  const counts = new Int32Array(size);
  const values = new Float64Array(size * most);
  for (let out = 0; out < size; out++) {
    const centre = from + (out + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(extent, Math.trunc(centre + support + 0.5));
    let sum = 0;
    for (let i = start; i < end; i++) {
      const weight = filter.weight((i - centre + 0.5) / widened);
      values[out * most + i - start] = weight;
      sum += weight;
    }
    for (let i = 0; sum !== 0 && i < end - start; i++) values[out * most + i] /= sum;
    starts[out] = start;
    counts[out] = end - start;
  }
  return { starts, counts, most, values };
}

/**
 * Sum inputs by weights along one axis.
 *
 * @param lines how many lines run across that axis
 * @param along distance of two samples of a line, and of two lines, in the source
 * @param into the same in the target
 */
function pass(
  source: ArrayLike<number>,
  target: { [index: number]: number },
  weights: Weights,
  lines: number,
  along: { sample: number; line: number },
  into: { sample: number; line: number },
  channels: number,
): void {
  const { starts, counts, most } = weights;
  const fixed = channels === 4;
  const values = fixed
    ? Int32Array.from(weights.values, (v) => Math.trunc(v * 2 ** PRECISION_BITS + Math.sign(v) / 2))
    : weights.values;
  for (let line = 0; line < lines; line++) {
    for (let out = 0; out < starts.length; out++) {
      const first = line * along.line + starts[out] * along.sample;
      const to = line * into.line + out * into.sample;
      for (let channel = 0; channel < channels; channel++) {
        let sum = fixed ? 1 << (PRECISION_BITS - 1) : 0;
        for (let i = 0, at = first + channel; i < counts[out]; i++, at += along.sample) {
          sum += source[at] * values[out * most + i];
        }
        target[to + channel] = fixed ? sum >> PRECISION_BITS : sum;
      }
    }
  }
}

function resized<T extends Picture | Plane>(
  image: T,
  make: (width: number, height: number) => T,
  channels: number,
  width: number,
  height: number,
  filter: Filter,
  box: Box,
): T {
  let now = image;
  if (width !== image.width || box[0] !== 0 || box[2] !== width) {
    const next = make(width, now.height);
    const weights = weightsOf(now.width, box[0], box[2], width, filter);
    const from = { sample: channels, line: now.width * channels };
    const to = { sample: channels, line: width * channels };
    pass(now.data, next.data, weights, now.height, from, to, channels);
    now = next;
  }
  if (height !== image.height || box[1] !== 0 || box[3] !== height) {
    const next = make(width, height);
    const weights = weightsOf(now.height, box[1], box[3], height, filter);
    const step = { sample: width * channels, line: channels };
    pass(now.data, next.data, weights, width, step, step, channels);
    now = next;
  }
  return now;
}

/** Return the part of a picture in `box`, at another size. */
export function resizePicture(
  image: Picture,
  width: number,
  height: number,
  filter = BILINEAR,
  box = wholeBox(image),
): Picture {
  return resized(image, newPicture, 4, width, height, filter, box);
}

/** Return the part of a plane in `box`, at another size. */
export function resizePlane(
  plane: Plane,
  width: number,
  height: number,
  filter = BILINEAR,
  box = wholeBox(plane),
): Plane {
  return resized(plane, newPlane, 1, width, height, filter, box);
}

/** Return the means of blocks of pixels, smaller ones at the right and lower edge. */
export function reducePicture(image: Picture, blockX: number, blockY: number): Picture {
  const small = newPicture(Math.ceil(image.width / blockX), Math.ceil(image.height / blockY));
  for (let y = 0; y < small.height; y++) {
    const bottom = Math.min(image.height, (y + 1) * blockY);
    for (let x = 0; x < small.width; x++) {
      const right = Math.min(image.width, (x + 1) * blockX);
      const count = (bottom - y * blockY) * (right - x * blockX);
      const factor = Math.floor(2 ** 24 / count); // Pillow's way to divide
      for (let channel = 0; channel < 4; channel++) {
        let sum = Math.floor(count / 2);
        for (let row = y * blockY; row < bottom; row++) {
          const end = (row * image.width + right) * 4;
          for (let at = (row * image.width + x * blockX) * 4 + channel; at < end; at += 4) {
            sum += image.data[at];
          }
        }
        small.data[(y * small.width + x) * 4 + channel] = Math.floor((sum * factor) / 2 ** 24);
      }
    }
  }
  return small;
}

function reducePlane(plane: Plane, blockX: number, blockY: number): Plane {
  const small = newPlane(Math.ceil(plane.width / blockX), Math.ceil(plane.height / blockY));
  for (let y = 0; y < small.height; y++) {
    const bottom = Math.min(plane.height, (y + 1) * blockY);
    for (let x = 0; x < small.width; x++) {
      const right = Math.min(plane.width, (x + 1) * blockX);
      let sum = 0;
      for (let row = y * blockY; row < bottom; row++) {
        for (let column = x * blockX; column < right; column++) {
          sum += plane.data[row * plane.width + column];
        }
      }
      small.data[y * small.width + x] = sum / ((bottom - y * blockY) * (right - x * blockX));
    }
  }
  return small;
}

/** How many pixels are averaged before the filter, as with Pillow's reducing_gap=2. */
function blockOf(from: number, to: number): number {
  return Math.max(1, Math.trunc(from / to / 2));
}

/** Return a smaller copy: whole blocks are averaged first, which is fast. */
export function shrinkPicture(image: Picture, width: number, height: number): Picture {
  const x = blockOf(image.width, width);
  const y = blockOf(image.height, height);
  if (x === 1 && y === 1) return resizePicture(image, width, height);
  const box: Box = [0, 0, image.width / x, image.height / y];
  return resizePicture(reducePicture(image, x, y), width, height, BILINEAR, box);
}

/** Return a smaller copy of a plane, as `shrinkPicture` does. */
export function shrinkPlane(plane: Plane, width: number, height: number): Plane {
  const x = blockOf(plane.width, width);
  const y = blockOf(plane.height, height);
  if (x === 1 && y === 1) return resizePlane(plane, width, height);
  const box: Box = [0, 0, plane.width / x, plane.height / y];
  return resizePlane(reducePlane(plane, x, y), width, height, BILINEAR, box);
}

/** Return a picture with its longest side at most `longestPx`, proportions kept. */
export function shrunkTo(image: Picture, longestPx: number): Picture {
  const scale = longestPx / Math.max(image.width, image.height);
  if (scale >= 1) return image;
  const width = Math.max(1, roundHalfEven(image.width * scale));
  return shrinkPicture(image, width, Math.max(1, roundHalfEven(image.height * scale)));
}

/** Return a picture, left and right exchanged. */
export function mirrorImage({ width, height, data }: Picture): Picture {
  const mirrored = newPicture(width, height);
  const [from, to] = [new Uint32Array(data.buffer), new Uint32Array(mirrored.data.buffer)];
  for (let i = 0; i < from.length; i++) to[i] = from[mirrorIndex(i, width)];
  return mirrored;
}

/** Return where a pixel lies in the mirror image of a picture or plane. */
export function mirrorIndex(i: number, width: number): number {
  return i - (i % width) + width - 1 - (i % width);
}
