/** The neck below a head: where the chin ends, and how much of the neck a cut-out keeps. */

import { newPlane, type Plane } from "./resample";

/** `none`: cut at the chin; `short`: a little below it; `keep`: all of it that shows. */
export type Neck = "none" | "short" | "keep";

export const SHORT_NECK = 0.12;
const SMOOTHED_COLUMNS = 9;
const FADE_PX = 3;

/**
 * Return the mask of a head with as much of its neck as is wanted.
 *
 * @param reachPx how far a short neck reaches below the chin, in pixels of the mask
 */
export function withNeck(head: Plane, neck: Plane, wanted: Neck, reachPx: number): Plane {
  if (wanted === "none") return head;
  const end = wanted === "short" ? chinRows(head, neck) : null;
  const mask = newPlane(head.width, head.height);
  for (let y = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++) {
      const at = y * mask.width + x;
      const kept = end ? fade(end[x] + reachPx - y) : 1;
      mask.data[at] = Math.min(1, head.data[at] + neck.data[at] * kept);
    }
  }
  return mask;
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
  return rows.map((row, x) => {
    if (Number.isNaN(row)) return NaN;
    return median(rows.slice(Math.max(0, x - half), x + half + 1).filter((r) => !Number.isNaN(r)));
  });
}

function median(values: Float32Array): number {
  const sorted = values.sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
