/**
 * All geometry between a photo and a network's square input, as in `headcut.geometry`.
 *
 * A box is left, top, right, bottom in photo pixels; it may be fractional and reach outside.
 */

import {
  BICUBIC,
  BILINEAR,
  newPicture,
  newPlane,
  type Picture,
  type Plane,
  reducePicture,
  resizePicture,
  resizePlane,
} from "./resample";

export type Box = [left: number, top: number, right: number, bottom: number];

export interface Size {
  width: number;
  height: number;
}

export const OUTSIDE_GREY = 127;
const REDUCING_GAP = 2;
const WIDER_CROP = 1.6;
export const HEADS_PER_CROP = 2;
export const HEADS_PER_NEARER_CROP = 1.4;
export const HEADS_PER_FARTHER_CROP = 2.8;
const HEADS_PER_FRAME = 1.15;

/** Round as Python does: halves to the even neighbour. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

export function centredSquare(x: number, y: number, side: number): Box {
  const half = side / 2;
  return [x - half, y - half, x + half, y + half];
}

/** Return the smallest square around a photo: a letterbox. */
export function wholePhotoBox({ width, height }: Size): Box {
  return centredSquare(width / 2, height / 2, Math.max(width, height));
}

/** Return the square that the segmenter sees for a head from crown to chin. */
export function cropBoxFor([left, top, right, bottom]: Box, side = HEADS_PER_CROP): Box {
  const height = Math.max(bottom - top, right - left);
  const centreY = (top + bottom) / 2 + 0.1 * height; // hair falls down, not up
  return centredSquare((left + right) / 2, centreY, side * height);
}

/** Return a larger square where the head runs out of its crop; null if it does not. */
export function widerBox(mask: Plane, box: Box, photo: Size): Box | null {
  const [left, top, right, bottom] = box;
  const leaves = runsOut(mask, box, photo);
  if (!leaves.includes(true)) return null;
  const [toTheLeft, toTheTop, toTheRight, toTheBottom] = leaves.map(Number);
  const growth = (WIDER_CROP - 1) * (right - left);
  const moreLeft = growth * (0.5 + 0.5 * (toTheLeft - toTheRight));
  const moreTop = growth * (0.5 + 0.5 * (toTheTop - toTheBottom));
  return [left - moreLeft, top - moreTop, right + growth - moreLeft, bottom + growth - moreTop];
}

/** At which sides, left, top, right and bottom, a head leaves its crop inside the photo. */
export function runsOut(mask: Plane, box: Box, photo: Size): boolean[] {
  const { width } = mask;
  const last = width - 1;
  const touches = (start: number, step: number) => {
    let inside = 0;
    for (let i = 0; i < width; i++) inside += mask.data[start + i * step] > 0.5 ? 1 : 0;
    return inside / width > 0.03; // more than a grazing touch
  };
  return [
    box[0] > 0 && touches(0, width),
    box[1] > 0 && touches(0, 1),
    box[2] < photo.width && touches(last, width),
    box[3] < photo.height && touches(last * width, 1),
  ];
}

/** Return the square that frames what a mask calls head in the photo, with room; null if nothing. */
export function framedBox(mask: Plane, box: Box, photo: Size): Box | null {
  const tight = tightBox(mask, (i) => mask.data[i] > 0.5);
  if (!tight) return null;
  const pixel = (box[2] - box[0]) / mask.width;
  const [left, top, right, bottom] = insidePhoto(
    [
      box[0] + tight[0] * pixel,
      box[1] + tight[1] * pixel,
      box[0] + tight[2] * pixel,
      box[1] + tight[3] * pixel,
    ],
    photo,
  );
  const longest = Math.max(right - left, bottom - top, 1);
  return centredSquare((left + right) / 2, (top + bottom) / 2, HEADS_PER_FRAME * longest);
}

/** Return the box of the pixels that count, by their index; null if none does. */
export function tightBox({ width, height }: Size, counts: (index: number) => boolean): Box | null {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!counts(y * width + x)) continue;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, y);
      bottom = y + 1;
    }
  }
  return right ? [left, top, right, bottom] : null;
}

/** Return the part of a box that lies inside a photo. */
export function insidePhoto(box: Box, { width, height }: Size): Box {
  const left = Math.max(0, box[0]);
  const top = Math.max(0, box[1]);
  const right = Math.max(left, Math.min(width, box[2]));
  return [left, top, right, Math.max(top, Math.min(height, box[3]))];
}

export function scaledBox(box: Box, scale: number): Box {
  return box.map((side) => side * scale) as Box;
}

/** Return the whole pixels of a photo that a box touches; may be empty. */
export function coveredPixels(box: Box, { width, height }: Size): Box {
  const left = Math.max(0, Math.floor(box[0]));
  const top = Math.max(0, Math.floor(box[1]));
  const right = Math.max(left, Math.min(width, Math.ceil(box[2])));
  return [left, top, right, Math.max(top, Math.min(height, Math.ceil(box[3])))];
}

/** Return the pixels of a picture in a box that lies inside it. */
export function cropPicture(image: Picture, [left, top, right, bottom]: Box): Picture {
  const patch = newPicture(right - left, bottom - top);
  copyInto(patch, image, [left, top, right, bottom], 0, 0);
  return patch;
}

function copyInto(to: Picture, from: Picture, part: Box, x: number, y: number): void {
  const width = Math.min(part[2] - part[0], to.width - x);
  const height = Math.min(part[3] - part[1], to.height - y);
  for (let row = 0; row < height && width > 0; row++) {
    const start = ((part[1] + row) * from.width + part[0]) * 4;
    to.data.set(from.data.subarray(start, start + width * 4), ((y + row) * to.width + x) * 4);
  }
}

/** Return what a network sees of a square box: size x size, grey outside the photo. */
export function cropForModel(photo: Picture, box: Box, size: number): Picture {
  const covered = coveredPixels(box, photo);
  const [left, top] = covered;
  let patch = cropPicture(photo, covered);
  const holds = patch.width > 0 && patch.height > 0;
  // Whole blocks are averaged before the padding, which may be much larger than the photo.
  const block = Math.max(1, Math.trunc((box[2] - box[0]) / size / REDUCING_GAP));
  if (block > 1 && holds) patch = reducePicture(patch, block, block);
  const placeX = Math.max(0, Math.ceil((left - box[0]) / block));
  const placeY = Math.max(0, Math.ceil((top - box[1]) / block));
  const x = left - placeX * block;
  const y = top - placeY * block;
  const inner = [box[0] - x, box[1] - y, box[2] - x, box[3] - y].map((v) => v / block) as Box;
  const canvas = newPicture(Math.ceil(inner[2]), Math.ceil(inner[3]));
  canvas.data.fill(OUTSIDE_GREY);
  if (holds) copyInto(canvas, patch, [0, 0, patch.width, patch.height], placeX, placeY);
  return resizePicture(canvas, size, size, BILINEAR, inner);
}

/** Return the part of a crop's mask, in its own pixels, that lies over a part of the photo. */
export function partOfMask(mask: Plane, box: Box, covered: Box): Plane {
  const scale = mask.width / (box[2] - box[0]);
  const [left, top] = [0, 1].map((i) =>
    Math.min(mask.width - 1, Math.max(0, Math.floor((covered[i] - box[i]) * scale))),
  );
  const [right, bottom] = [0, 1].map((i) =>
    Math.min(mask.width, Math.ceil((covered[i + 2] - box[i]) * scale)),
  );
  return cropPlane(mask, [left, top, Math.max(right, left + 1), Math.max(bottom, top + 1)]);
}

/** Return a part of a plane; the box is whole pixels inside it. */
export function cropPlane(plane: Plane, [left, top, right, bottom]: Box): Plane {
  const data = new Float32Array((right - left) * (bottom - top));
  for (let y = top; y < bottom; y++) {
    const start = y * plane.width;
    data.set(plane.data.subarray(start + left, start + right), (y - top) * (right - left));
  }
  return { width: right - left, height: bottom - top, data };
}

/** Return a crop's mask at photo size, and the photo pixels it covers: `cropForModel` undone. */
export function pasteAlpha(mask: Plane, box: Box, photo: Size): { alpha: Plane; covered: Box } {
  const covered = coveredPixels(box, photo);
  const [left, top, right, bottom] = covered;
  if (right === left || bottom === top) {
    return { alpha: newPlane(right - left, bottom - top), covered };
  }
  const scaleX = mask.width / (box[2] - box[0]);
  const scaleY = mask.height / (box[3] - box[1]);
  // Replicated borders: the photo's outermost pixels reach up to one pixel out of the box.
  const margin = Math.ceil(Math.max(scaleX, scaleY)) + 1;
  const inner: Box = [
    (left - box[0]) * scaleX + margin,
    (top - box[1]) * scaleY + margin,
    (right - box[0]) * scaleX + margin,
    (bottom - box[1]) * scaleY + margin,
  ];
  const padded = paddedByEdge(mask, margin);
  const alpha = resizePlane(padded, right - left, bottom - top, BICUBIC, inner);
  for (let i = 0; i < alpha.data.length; i++) {
    alpha.data[i] = Math.min(1, Math.max(0, alpha.data[i]));
  }
  return { alpha, covered };
}

function paddedByEdge(plane: Plane, margin: number): Plane {
  const padded = newPlane(plane.width + 2 * margin, plane.height + 2 * margin);
  for (let y = 0; y < padded.height; y++) {
    const row = Math.min(plane.height - 1, Math.max(0, y - margin)) * plane.width;
    for (let x = 0; x < padded.width; x++) {
      const column = Math.min(plane.width - 1, Math.max(0, x - margin));
      padded.data[y * padded.width + x] = plane.data[row + column];
    }
  }
  return padded;
}
