/** The neck below a head: where the chin ends, and how much of the neck a cut-out keeps. */

import { newPlane, type Plane } from "./resample";

/** How much of the neck stays: from 0, which cuts at the chin, to 100, all of it that shows. */
export type Neck = number;

/** What the command line has names for; there, Python cuts the same. */
export const NECKS = { none: 0, short: 50, keep: 100 } as const;

export const SHORT_NECK = 0.12;
const SMOOTHED_COLUMNS = 9;
export const CERTAIN_NECK = 0.1;
const FADE_PX = 3;

/**
 * Return the mask of a head with as much of its neck as is wanted; without any, what may be neck
 * is left out of the head, too.
 *
 * @param shortPx how far a short neck reaches below the chin, in pixels of the mask
 */
export function withNeck(head: Plane, neck: Plane, wanted: Neck, shortPx: number): Plane {
  if (wanted === NECKS.none) return withoutNeck(head, neck);
  const end = wanted === NECKS.keep ? null : endRows(head, neck, wanted, shortPx);
  const mask = newPlane(head.width, head.height);
  for (let y = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++) {
      const at = y * mask.width + x;
      const kept = end ? fade(end[x] - y) : 1;
      mask.data[at] = Math.min(1, head.data[at] + neck.data[at] * kept);
    }
  }
  return mask;
}

/** Return the mask of a head without what may be neck. */
function withoutNeck(head: Plane, neck: Plane): Plane {
  const data = head.data.map((share, at) => share * Math.max(0, 1 - neck.data[at] / CERTAIN_NECK));
  return { ...head, data };
}

/** Return, for each column, the row where the neck is cut off; NaN where none of it stays. */
function endRows(head: Plane, neck: Plane, wanted: Neck, shortPx: number): number[] {
  const line = Array.from(chinRows(head, neck));
  const chin = withoutDents(line);
  if (wanted <= NECKS.short) {
    const share = wanted / NECKS.short;
    return line.map((row, x) => row + (chin[x] - row + shortPx) * share);
  }
  // Beyond short, what is beside the chin comes too: cut off as the columns next to it are.
  const share = (wanted - NECKS.short) / (NECKS.keep - NECKS.short);
  const start = chin.map((row, x) => (Number.isNaN(row) ? nearestOf(chin, x) : row + shortPx));
  const wholePx = start.map((row, x) => lastRow(neck, x) + FADE_PX / 2 - row);
  const longest = wholePx.reduce((most, px) => (px > most ? px : most), 0);
  return start.map((row) => row + share * longest);
}

/**
 * Return a line, by columns, with straight pieces where it bends upwards: its hull from below.
 *
 * In profile a chin line climbs to the ear and falls to the nape; a neck cut along it looks torn.
 */
export function withoutDents(rows: number[]): number[] {
  // Whether the line is lower at b than straight from a to c.
  const sticksOut = (a: number, b: number, c: number) =>
    (rows[b] - rows[a]) * (c - a) > (rows[c] - rows[a]) * (b - a);
  const corners: number[] = [];
  rows.forEach((row, x) => {
    if (Number.isNaN(row)) return;
    while (corners.length > 1) {
      const [first, last] = corners.slice(-2);
      if (sticksOut(first, last, x)) break;
      corners.pop();
    }
    corners.push(x);
  });
  let next = 1;
  return rows.map((row, x) => {
    if (Number.isNaN(row) || corners.length < 2) return row;
    while (corners[next] < x) next++;
    const [left, right] = [corners[next - 1], corners[next]];
    return rows[left] + ((rows[right] - rows[left]) / (right - left)) * (x - left);
  });
}

/** Return the row of the nearest column that has one; NaN if none has. */
function nearestOf(rows: number[], x: number): number {
  for (let step = 1; step < rows.length; step++) {
    for (const row of [rows[x - step], rows[x + step]]) if (row >= 0) return row;
  }
  return NaN;
}

/** Return the last row of a column in which the neck shows; -1 if it does not. */
function lastRow(neck: Plane, x: number): number {
  let row = neck.height - 1;
  while (row >= 0 && neck.data[row * neck.width + x] <= 0.5) row--;
  return row;
}

function fade(rowsLeft: number): number {
  return Number.isNaN(rowsLeft) ? 0 : Math.min(1, Math.max(0, rowsLeft / FADE_PX + 0.5));
}

/** Return, for each column, the row where head ends and neck begins; NaN where none shows. */
export function chinRows(head: Plane, neck: Plane): Float32Array {
  const size = head.width;
  const rows = new Float32Array(size).fill(NaN);
  for (let x = 0; x < size; x++) {
    let top = 0;
    while (top < head.height && neck.data[top * size + x] <= 0.5) top++;
    if (top === head.height) continue;
    const above = [1, 2, 3].map((step) => head.data[Math.max(top - step, 0) * size + x]);
    if (Math.max(...above) > Math.fround(0.3)) rows[x] = top;
  }
  const half = Math.floor(SMOOTHED_COLUMNS / 2);
  const smooth = rows.map((row, x) => {
    if (Number.isNaN(row)) return NaN;
    return median(rows.slice(Math.max(0, x - half), x + half + 1).filter((r) => !Number.isNaN(r)));
  });
  return smooth.map((row, x) =>
    Number.isNaN(row) && lastRow(neck, x) >= 0 ? between(smooth, x) : row,
  );
}

/** Return the row at a column on the line between the next ones that have one; NaN at the ends. */
function between(rows: Float32Array, x: number): number {
  let [left, right] = [x, x];
  while (left >= 0 && Number.isNaN(rows[left])) left--;
  while (right < rows.length && Number.isNaN(rows[right])) right++;
  if (left < 0 || right === rows.length) return NaN;
  return rows[left] + ((rows[right] - rows[left]) * (x - left)) / (right - left);
}

function median(values: Float32Array): number {
  const sorted = values.sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
