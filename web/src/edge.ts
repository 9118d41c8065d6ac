/**
 * The edge of a cut-out: no background between locks, alpha and colours that follow the photo.
 *
 * As in `headcut.edge`: alpha and colours are worked out on a small copy, carried to photo size by
 * smooth maps, and only tiles that hold soft pixels are touched.
 */

import { type Box, OUTSIDE_GREY, roundHalfEven, type Size } from "./geometry";
import { CERTAIN_NECK } from "./neck";
import {
  BILINEAR,
  newPlane,
  type Picture,
  type Plane,
  resizePlane,
  shrinkPicture,
  shrinkPlane,
} from "./resample";

const SMALL_PX = 320;
const GUIDE_RADIUS_PX = 4;
const GUIDE_EPSILON = 4e-4;
const COLOUR_RADIUS_PX = 6;
const CLEAR = 0.2;
const OPAQUE = 0.8;
const [SOFT_FROM, SOFT_TO] = [Math.fround(CLEAR / 2), Math.fround(1 - CLEAR / 2)];
/** How far from the edge of a network's mask its pixels may be soft, in pixels of the mask. */
const SOFT_PX = 3;
const RIM_PX = 5;
const [SURE, SURELY_NOT] = [Math.fround(0.97), Math.fround(1 - 0.97)];
const REACHES_PX = [7, 12, 18, 25];
const DIRECTIONS = 16;
const NOISE = 12;
const AS_BEHIND = [0.06, 0.18];
const MAY_BE_NECK = Math.fround(CERTAIN_NECK);
const BESIDE_NECK = 6;
const TILE_PX = 256;

/** Return a network's mask, soft along its edge alone: elsewhere it is head or it is not. */
export function firmMask(mask: Plane): Plane {
  const inside = { ...mask, data: mask.data.map((v) => (v > 0.5 ? 1 : 0)) };
  const near = Math.floor(SOFT_PX / 2);
  const share = boxMean(boxMean(inside, near), SOFT_PX - near).data;
  const data = mask.data.map((v, i) =>
    Math.min(Math.max(v, 4 * share[i] - 3, 0), 4 * share[i], 1),
  );
  return { ...mask, data };
}

/** Return how near a neck is to each pixel: 0 far away, 1 in it. */
export function besideNeck(neck: Plane): Plane {
  const mayBeNeck = { ...neck, data: neck.data.map((v) => (v > MAY_BE_NECK ? 1 : 0)) };
  const near = boxMean(mayBeNeck, RIM_PX);
  return { ...near, data: near.data.map((v) => Math.min(1, BESIDE_NECK * v)) };
}

/** Return a mask without what looks like the background nearby, and not like the head. */
export function withoutBackground(mask: Plane, neck: Plane, crop: Picture): Plane {
  const { width, height } = mask;
  const share = boxMean(mask, RIM_PX).data;
  const near = besideNeck(neck).data;
  const isGrey = (i: number) => [0, 1, 2].every((c) => crop.data[i * 4 + c] === OUTSIDE_GREY);
  const told = share.map((_, i) => (near[i] === 0 && !isGrey(i) ? 1 : 0));
  const colours = channels(crop, 1).map((channel) => boxMean(channel, 1).data);
  const ways = offsets();
  const most = { ...mask, data: mask.data.map(() => 1) };
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const inDoubt = mask.data[i] > SOFT_FROM && mask.data[i] < SURE && share[i] <= SURE;
      if (!told[i] || !inDoubt) continue;
      let [toHead, toBehind] = [Infinity, Infinity];
      for (const [dx, dy] of ways) {
        const row = Math.min(height - 1, Math.max(0, y + dy));
        const at = row * width + Math.min(width - 1, Math.max(0, x + dx));
        if (!told[at]) continue;
        let distance = 0;
        for (const colour of colours) distance += (colour[i] - colour[at]) ** 2;
        if (share[at] > SURE) toHead = Math.min(toHead, distance);
        if (share[at] < SURELY_NOT) toBehind = Math.min(toBehind, distance);
      }
      if (toHead === Infinity || toBehind === Infinity) continue;
      const likeness = (toBehind + NOISE ** 2) / (toHead + toBehind + 2 * NOISE ** 2);
      const [low, high] = AS_BEHIND;
      most.data[i] = Math.min(1, Math.max(0, (likeness - low) / (high - low)));
    }
  }
  const smooth = boxMean(most, 1).data; // no single dots
  const data = mask.data.map((v, i) => (v < SURE ? Math.min(v, smooth[i]) : v));
  return { ...mask, data };
}

/** Return where around a pixel sure ones are asked for their colours. */
function offsets(): [number, number][] {
  const ways: [number, number][] = [];
  for (const reach of REACHES_PX) {
    for (let i = 0; i < DIRECTIONS; i++) {
      const angle = (i * 2 * Math.PI) / DIRECTIONS;
      ways.push([roundHalfEven(reach * Math.cos(angle)), roundHalfEven(reach * Math.sin(angle))]);
    }
  }
  return ways;
}

/**
 * Return alpha whose soft band follows the photo's edges, exactly 0 outside and 1 inside.
 *
 * @param asItIs over the patch, at any size: how much alpha keeps its own shape
 */
export function refineAlpha(patch: Picture, alpha: Plane, asItIs?: Plane): Plane {
  const isSoft = (a: number) => a > SOFT_FROM && a < SOFT_TO;
  const refined: Plane = { ...alpha, data: alpha.data.slice() };
  if (alpha.data.some(isSoft)) {
    const small = smallSize(alpha);
    const guide = channels(shrinkPicture(patch, small.width, small.height), 1 / 255);
    const shrunk = shrinkPlane(alpha, small.width, small.height);
    const maps = guideMaps(guide, shrunk);
    if (asItIs) {
      const kept = shrinkPlane(asItIs, small.width, small.height).data;
      for (const { data } of maps) for (let i = 0; i < data.length; i++) data[i] *= 1 - kept[i];
      const offset = maps[3].data;
      for (let i = 0; i < offset.length; i++) offset[i] += kept[i] * shrunk.data[i];
    }
    for (const tile of tilesWith(alpha, isSoft)) {
      const [red, green, blue, offset] = maps.map((map) => enlarged(map, tile, alpha).data);
      let i = 0;
      for (let y = tile[1]; y < tile[3]; y++) {
        for (let x = tile[0]; x < tile[2]; x++, i++) {
          const at = y * alpha.width + x;
          if (!isSoft(alpha.data[at])) continue;
          const [r, g, b] = [0, 1, 2].map((channel) => patch.data[at * 4 + channel] / 255);
          refined.data[at] = offset[i] + red[i] * r + green[i] * g + blue[i] * b;
        }
      }
    }
  }
  for (let i = 0; i < refined.data.length; i++) {
    const stretched = (refined.data[i] - CLEAR) / (OPAQUE - CLEAR);
    refined.data[i] = Math.min(1, Math.max(0, stretched));
  }
  return refined;
}

/** Return the colours of the head alone, without the background in soft pixels. */
export function cleanColours(patch: Picture, alpha: Plane): Picture {
  const isSoft = (a: number) => a > 0 && a < 1;
  if (!alpha.data.some(isSoft)) return patch;
  const small = smallSize(alpha);
  const colours = channels(shrinkPicture(patch, small.width, small.height), 1);
  const share = shrinkPlane(alpha, small.width, small.height);
  // Squares let the purest pixels speak; what is added keeps the mean defined everywhere.
  const toHead = { ...share, data: share.data.map((a) => a * a + 1e-4) };
  const toBehind = { ...share, data: share.data.map((a) => (1 - a) * (1 - a) + 1e-4) };
  const head = colours.map((colour) => weightedMean(colour, toHead));
  const behind = colours.map((colour) => weightedMean(colour, toBehind));
  const cleaned: Picture = { ...patch, data: patch.data.slice() };
  for (const tile of tilesWith(alpha, isSoft)) {
    for (let channel = 0; channel < 3; channel++) {
      const front = enlarged(head[channel], tile, alpha).data;
      const back = enlarged(behind[channel], tile, alpha).data;
      let i = 0;
      for (let y = tile[1]; y < tile[3]; y++) {
        for (let x = tile[0]; x < tile[2]; x++, i++) {
          const at = y * alpha.width + x;
          const a = alpha.data[at];
          if (!isSoft(a)) continue;
          const colour = patch.data[at * 4 + channel];
          const mixed = front[i] + a * (colour - a * front[i] - (1 - a) * back[i]);
          cleaned.data[at * 4 + channel] = Math.floor(Math.min(255, Math.max(0, mixed + 0.5)));
        }
      }
    }
  }
  return cleaned;
}

export function channels(image: Picture, factor: number): Plane[] {
  return [0, 1, 2].map((channel) => {
    const plane = newPlane(image.width, image.height);
    for (let i = 0; i < plane.data.length; i++) plane.data[i] = image.data[i * 4 + channel] * factor;
    return plane;
  });
}

/** Fit alpha = slope . colour + offset around each pixel; return three slopes and the offset. */
function guideMaps(colours: Plane[], alpha: Plane): Plane[] {
  const mean = (plane: Plane) => boxMean(plane, GUIDE_RADIUS_PX);
  const means = colours.map(mean);
  const meanAlpha = mean(alpha);
  const covariance = (a: Plane, b: Plane, meanA: Plane, meanB: Plane) => {
    const product = mean(multiplied(a, b)).data;
    return product.map((value, i) => value - meanA.data[i] * meanB.data[i]);
  };
  const [red, green, blue] = [0, 1, 2];
  const pair = (i: number, j: number) => covariance(colours[i], colours[j], means[i], means[j]);
  const [rr, gg, bb] = [pair(red, red), pair(green, green), pair(blue, blue)];
  const [rg, rb, gb] = [pair(red, green), pair(red, blue), pair(green, blue)];
  const withAlpha = [0, 1, 2].map((i) => covariance(colours[i], alpha, means[i], meanAlpha));
  const maps = [0, 1, 2, 3].map(() => newPlane(alpha.width, alpha.height));
  for (let i = 0; i < alpha.data.length; i++) {
    const slope = solve(
      [rr[i] + GUIDE_EPSILON, rg[i], rb[i], gg[i] + GUIDE_EPSILON, gb[i], bb[i] + GUIDE_EPSILON],
      [withAlpha[0][i], withAlpha[1][i], withAlpha[2][i]],
    );
    let offset = meanAlpha.data[i];
    for (let c = 0; c < 3; c++) {
      maps[c].data[i] = slope[c];
      offset -= slope[c] * means[c].data[i];
    }
    maps[3].data[i] = offset;
  }
  return maps.map(mean);
}

/** Solve a symmetric 3x3 system, given by its upper triangle row by row: Cramer's rule. */
function solve([a, b, c, d, e, f]: number[], [x, y, z]: number[]): number[] {
  const [p, q, r] = [d * f - e * e, c * e - b * f, b * e - c * d];
  const determinant = a * p + b * q + c * r;
  return [
    (p * x + q * y + r * z) / determinant,
    (q * x + (a * f - c * c) * y + (b * c - a * e) * z) / determinant,
    (r * x + (b * c - a * e) * y + (a * d - b * b) * z) / determinant,
  ];
}

function multiplied(a: Plane, b: Plane): Plane {
  return { ...a, data: a.data.map((value, i) => value * b.data[i]) };
}

function weightedMean(plane: Plane, weight: Plane): Plane {
  const total = boxMean(multiplied(plane, weight), COLOUR_RADIUS_PX);
  const weights = boxMean(weight, COLOUR_RADIUS_PX).data;
  return { ...total, data: total.data.map((value, i) => value / weights[i]) };
}

/** Return the mean of the square of 2 * radius + 1 pixels around each, edges replicated. */
export function boxMean(plane: Plane, radius: number): Plane {
  const { width, height } = plane;
  const across = newPlane(width, height);
  const mean = newPlane(width, height);
  slide(plane.data, across.data, width, height, { sample: width, line: 1 }, radius);
  slide(across.data, mean.data, height, width, { sample: 1, line: width }, radius);
  return mean;
}

function slide(
  from: Float32Array,
  to: Float32Array,
  lines: number,
  length: number,
  step: { sample: number; line: number },
  radius: number,
): void {
  const window = 2 * radius + 1;
  for (let line = 0; line < lines; line++) {
    const at = (i: number) =>
      from[line * step.line + Math.min(length - 1, Math.max(0, i)) * step.sample];
    let sum = 0;
    for (let i = -radius; i <= radius; i++) sum += at(i);
    for (let i = 0; i < length; i++) {
      to[line * step.line + i * step.sample] = sum / window;
      sum += at(i + radius + 1) - at(i - radius);
    }
  }
}

function smallSize({ width, height }: Size): Size {
  const scale = Math.min(1, SMALL_PX / Math.max(width, height));
  return {
    width: Math.max(1, roundHalfEven(width * scale)),
    height: Math.max(1, roundHalfEven(height * scale)),
  };
}

/** Return the tile of a small map enlarged to a patch of some size. */
function enlarged(small: Plane, [left, top, right, bottom]: Box, patch: Size): Plane {
  const scaleX = small.width / patch.width;
  const scaleY = small.height / patch.height;
  const box: Box = [
    left * scaleX,
    top * scaleY,
    Math.min(small.width, right * scaleX),
    Math.min(small.height, bottom * scaleY),
  ];
  return resizePlane(small, right - left, bottom - top, BILINEAR, box);
}

function* tilesWith(alpha: Plane, isSoft: (a: number) => boolean): Generator<Box> {
  for (let top = 0; top < alpha.height; top += TILE_PX) {
    for (let left = 0; left < alpha.width; left += TILE_PX) {
      const tile: Box = [
        left,
        top,
        Math.min(alpha.width, left + TILE_PX),
        Math.min(alpha.height, top + TILE_PX),
      ];
      if (holdsAny(alpha, tile, isSoft)) yield tile;
    }
  }
}

function holdsAny(alpha: Plane, tile: Box, isSoft: (a: number) => boolean): boolean {
  for (let y = tile[1]; y < tile[3]; y++) {
    for (let x = tile[0]; x < tile[2]; x++) {
      if (isSoft(alpha.data[y * alpha.width + x])) return true;
    }
  }
  return false;
}
