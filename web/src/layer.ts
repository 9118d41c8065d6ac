/** The chosen heads and brush strokes as one picture on nothing. */

import { contextOf, newCanvas } from "./finish";
import { type Box, cropPicture, type Size, tightBox } from "./geometry";
import type { CutOut } from "./pipeline";
import { newPicture, type Picture } from "./resample";
import type { Stroke } from "./protocol";

/** A picture and where in the photo it lies. */
export interface Layer {
  box: Box;
  picture: Picture;
}

type Drawing = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

/**
 * Return all heads in one layer; each pixel is of the head that covers it most.
 *
 * @param strokes in pixels of this photo
 * @param patchOf the photo's pixels in a box
 */
export function layerOf(
  cuts: CutOut[],
  strokes: Stroke[],
  photo: Size,
  patchOf: (box: Box) => Picture,
): Layer | null {
  const added = strokes.filter((stroke) => stroke.adds).map((stroke) => boxOf(stroke, photo));
  const boxes = [...cuts.map((cut) => cut.box), ...added].filter((b) => b[2] > b[0] && b[3] > b[1]);
  if (!boxes.length) return null;
  const box = boxAround(boxes);
  const layer = { box, picture: newPicture(box[2] - box[0], box[3] - box[1]) };
  for (const cut of cuts) addCut(layer, cut);
  for (const stroke of strokes) addStroke(layer, stroke, photo, patchOf);
  return trimmed(layer);
}

/** Return the box around boxes; of none, an empty one. */
export function boxAround(boxes: Box[]): Box {
  if (!boxes.length) return [0, 0, 0, 0];
  const side = (n: number, pick: (...v: number[]) => number) => pick(...boxes.map((b) => b[n]));
  return [side(0, Math.min), side(1, Math.min), side(2, Math.max), side(3, Math.max)];
}

function addCut({ box, picture }: Layer, cut: CutOut): void {
  const { width, height, data } = cut.picture;
  for (let y = 0; y < height; y++) {
    let to = ((cut.box[1] - box[1] + y) * picture.width + cut.box[0] - box[0]) * 4;
    for (let from = y * width * 4; from < (y + 1) * width * 4; from += 4, to += 4) {
      if (data[from + 3] <= picture.data[to + 3]) continue;
      for (let c = 0; c < 4; c++) picture.data[to + c] = data[from + c];
    }
  }
}

/** Return the pixels of a photo that a stroke may reach. */
export function boxOf({ points, radius }: Stroke, photo: Size): Box {
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const reach = radius + 1; // a soft pixel
  return [
    Math.max(0, Math.floor(Math.min(...xs) - reach)),
    Math.max(0, Math.floor(Math.min(...ys) - reach)),
    Math.min(photo.width, Math.ceil(Math.max(...xs) + reach)),
    Math.min(photo.height, Math.ceil(Math.max(...ys) + reach)),
  ];
}

function addStroke(
  { box, picture }: Layer,
  stroke: Stroke,
  photo: Size,
  patchOf: (box: Box) => Picture,
): void {
  const reached = boxOf(stroke, photo);
  const part: Box = [
    Math.max(box[0], reached[0]),
    Math.max(box[1], reached[1]),
    Math.min(box[2], reached[2]),
    Math.min(box[3], reached[3]),
  ];
  if (part[2] <= part[0] || part[3] <= part[1]) return;
  const cover = coverOf(stroke, part);
  const patch = stroke.adds ? patchOf(part) : null;
  for (let y = part[1]; y < part[3]; y++) {
    for (let x = part[0]; x < part[2]; x++) {
      const from = ((y - part[1]) * (part[2] - part[0]) + x - part[0]) * 4;
      const share = cover[from + 3] / 255;
      if (share === 0) continue;
      const to = ((y - box[1]) * picture.width + x - box[0]) * 4;
      if (!patch) {
        picture.data[to + 3] = Math.min(picture.data[to + 3], 255 * (1 - share));
        if (picture.data[to + 3] === 0) picture.data.fill(0, to, to + 3);
        continue;
      }
      const alpha = share * patch.data[from + 3];
      if (alpha <= picture.data[to + 3]) continue;
      for (let c = 0; c < 3; c++) picture.data[to + c] = patch.data[from + c];
      picture.data[to + 3] = alpha;
    }
  }
}

/** Return the pixels of a box as a stroke covers them: the fourth byte of each says how much. */
function coverOf(stroke: Stroke, [left, top, right, bottom]: Box): Picture["data"] {
  const context = contextOf(newCanvas(right - left, bottom - top));
  context.translate(-left, -top);
  drawStroke(context, stroke);
  return context.getImageData(0, 0, right - left, bottom - top).data as Picture["data"];
}

/** Draw a stroke as a line with round ends; one point is a dot. */
export function drawStroke(context: Drawing, { points, radius }: Stroke): void {
  context.lineWidth = 2 * radius;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.lineTo(...points[points.length - 1]);
  context.stroke();
}

function trimmed({ box, picture }: Layer): Layer | null {
  const tight = tightBox(picture, (i) => picture.data[i * 4 + 3] > 0);
  if (!tight) return null;
  const [left, top, right, bottom] = tight;
  return {
    box: [box[0] + left, box[1] + top, box[0] + right, box[1] + bottom],
    picture: cropPicture(picture, tight),
  };
}
