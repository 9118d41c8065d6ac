/** Crops -> soft masks: the second look, at one head. */

import type { Box } from "./geometry";
import { newPlane, type Plane } from "./resample";

const CELL_PX = 4;
const FAINT = Math.fround(0.1);
/** A hole's largest area, by the mask's: what hair falls around, as a neck, is larger. */
const HOLE = 0.005;

/** The same in the mask's upper third, where no neck is: a badge on a cap. */
const HOLE_ABOVE = 0.03;

/** Points a side at which two masks are compared in a head's box. */
const COMPARED_POINTS = 24;

/** Return how much of the middle of the head's box the mask calls head, in [0, 1]. */
export function shareOfHead(mask: Plane, box: Box, headBox: Box): number {
  const [left, top, right, bottom] = middle(headBox, box, mask.width);
  let sum = 0;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) sum += mask.data[y * mask.width + x];
  }
  const count = Math.max(0, right - left) * Math.max(0, bottom - top);
  return count ? sum / count : 0;
}

/** Return how much of what a mask calls head, in the head's box, another mask calls head, too. */
export function shareInOther(
  mask: Plane,
  box: Box,
  headBox: Box,
  other: Plane,
  otherBox: Box,
): number {
  const [left, top, right, bottom] = headBox;
  let [own, shared] = [0, 0];
  for (let row = 0; row < COMPARED_POINTS; row++) {
    const y = top + ((row + 0.5) / COMPARED_POINTS) * (bottom - top);
    for (let column = 0; column < COMPARED_POINTS; column++) {
      const x = left + ((column + 0.5) / COMPARED_POINTS) * (right - left);
      if (!isHeadAt(mask, box, x, y)) continue;
      own += 1;
      if (isHeadAt(other, otherBox, x, y)) shared += 1;
    }
  }
  return own ? shared / own : 1;
}

/** Whether a mask calls head what is at a point of the photo. */
function isHeadAt(mask: Plane, box: Box, x: number, y: number): boolean {
  const scale = mask.width / (box[2] - box[0]);
  const [column, row] = [Math.floor((x - box[0]) * scale), Math.floor((y - box[1]) * scale)];
  const isInside = column >= 0 && row >= 0 && column < mask.width && row < mask.height;
  return isInside && mask.data[row * mask.width + column] > 0.5;
}

/** Return the mask without what is not connected with the middle of the head's box. */
export function withoutIslands(mask: Plane, box: Box, headBox: Box): Plane {
  const cells = mask.width / CELL_PX;
  const inside = new Uint8Array(cells * cells);
  for (let y = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++) {
      if (mask.data[y * mask.width + x] > FAINT) {
        inside[Math.floor(y / CELL_PX) * cells + Math.floor(x / CELL_PX)] = 1;
      }
    }
  }
  const kept = connected(inside, cells, middle(headBox, box, cells));
  const cleaned = newPlane(mask.width, mask.height);
  for (let y = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++) {
      if (kept[Math.floor(y / CELL_PX) * cells + Math.floor(x / CELL_PX)]) {
        cleaned.data[y * mask.width + x] = mask.data[y * mask.width + x];
      }
    }
  }
  return cleaned;
}

/** Return the mask with small holes filled: the network doubts a spot amid hair, not a gap. */
export function withoutHoles(mask: Plane): Plane {
  const { width, height } = mask;
  const outside = Uint8Array.from(mask.data, (v) => (v > 0.5 ? 0 : 1));
  const area = outside.reduce((sum, v) => sum + 1 - v, 0);
  const row = (at: number) => Math.floor(at / width);
  const [first, last] = [row(outside.indexOf(0)), row(outside.lastIndexOf(0))];
  const third = first + (last + 1 - first) / 3;
  const data = mask.data.slice();
  for (let at = outside.indexOf(1); at >= 0; at = outside.indexOf(1, at)) {
    const [left, top] = [at % width, Math.floor(at / width)];
    const part = connected(outside, width, [left, top, left + 1, top + 1]);
    const pixels: number[] = [];
    part.forEach((isPart, i) => isPart && pixels.push(i));
    const isOpen = pixels.some((i) => {
      const [x, y] = [i % width, Math.floor(i / width)];
      return x === 0 || y === 0 || x === width - 1 || y === height - 1;
    });
    for (const i of pixels) outside[i] = 0;
    const largest = area * (row(pixels[pixels.length - 1]) < third ? HOLE_ABOVE : HOLE);
    if (!isOpen && pixels.length <= largest) for (const i of pixels) data[i] = 1;
  }
  return { ...mask, data };
}

/** Return the cells that are connected, by edges, with those inside of a box. */
function connected(inside: Uint8Array, cells: number, seed: Box): Uint8Array {
  const reached = new Uint8Array(inside.length);
  const open: number[] = [];
  const reach = (x: number, y: number) => {
    const at = y * cells + x;
    if (x < 0 || y < 0 || x >= cells || y >= cells || !inside[at] || reached[at]) return;
    reached[at] = 1;
    open.push(at);
  };
  for (let y = seed[1]; y < seed[3]; y++) for (let x = seed[0]; x < seed[2]; x++) reach(x, y);
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const [x, y] = [at % cells, Math.floor(at / cells)];
    reach(x - 1, y);
    reach(x + 1, y);
    reach(x, y - 1);
    reach(x, y + 1);
  }
  return reached;
}

/** Return the inner half of a head's box in a map of its crop, in whole cells. */
function middle(headBox: Box, box: Box, side: number): Box {
  const scale = side / (box[2] - box[0]);
  const [left, right] = [headBox[0], headBox[2]].map((x) => (x - box[0]) * scale);
  const [top, bottom] = [headBox[1], headBox[3]].map((y) => (y - box[1]) * scale);
  const marginX = (right - left) / 4;
  const marginY = (bottom - top) / 4;
  const clamp = (v: number) => Math.min(side, Math.max(0, v));
  return [
    clamp(Math.trunc(left + marginX)),
    clamp(Math.trunc(top + marginY)),
    clamp(Math.trunc(right - marginX) + 1),
    clamp(Math.trunc(bottom - marginY) + 1),
  ];
}
