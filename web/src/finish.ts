/** A layer -> the picture people want: framed, outlined, on a background; as `headcut.finish`. */

import { boxMean, channels } from "./edge";
import type { Size } from "./geometry";
import type { Layer } from "./layer";
import type { Background, Choice, Frame } from "./protocol";
import { newPicture, type Picture, shrinkPicture } from "./resample";

const BLUR_PX = 256;
/** Three means of this radius are nearly a Gaussian of 3 % of the longest side. */
const BLUR_RADIUS_PX = 7;
const OUTLINE_STEPS = 48;

/** iOS gives no larger canvas. */
export const MAX_CANVAS_PIXELS = 16_000_000;

/** The part of a photo that a result shows, in photo pixels. */
interface View extends Size {
  left: number;
  top: number;
}

/**
 * Return the finished picture.
 *
 * @param photo the whole photo, at any size, for a blurred background
 */
export async function finished(
  layer: Layer,
  size: Size,
  photo: Picture,
  choice: Choice,
): Promise<OffscreenCanvas> {
  const longest = Math.max(layer.picture.width, layer.picture.height);
  const outline = Math.round((longest * choice.outline) / 100);
  const view = viewOf(layer, size, choice.frame, (longest * choice.padding) / 100 + outline);
  const scale = Math.min(1, Math.sqrt(MAX_CANVAS_PIXELS / (view.width * view.height)));
  const canvas = newCanvas(Math.round(view.width * scale), Math.round(view.height * scale));
  const context = contextOf(canvas);
  await drawBackground(context, choice.background, photo, view, size);
  const head = canvasOf(layer.picture);
  const x = Math.round(layer.box[0] - view.left);
  const y = Math.round(layer.box[1] - view.top);
  context.scale(scale, scale);
  if (outline) drawOutline(context, head, x, y, outline, choice.outlineColour);
  context.drawImage(head, x, y);
  context.resetTransform();
  if (choice.frame === "circle") keepCircle(context);
  return canvas;
}

function viewOf({ box, picture }: Layer, size: Size, frame: Frame, room: number): View {
  if (frame === "photo") return { left: 0, top: 0, ...size };
  const more = Math.ceil(room);
  if (frame === "head") {
    const [left, top] = [box[0] - more, box[1] - more];
    return { left, top, width: box[2] - box[0] + 2 * more, height: box[3] - box[1] + 2 * more };
  }
  const reach = frame === "circle" ? reachOf(picture) : Math.max(picture.width, picture.height) / 2;
  const side = Math.ceil(2 * reach) + 2 * more;
  const [x, y] = [(box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2];
  return { left: x, top: y, width: side, height: side };
}

/** Return how far the farthest visible pixel is from the middle. */
function reachOf({ width, height, data }: Picture): number {
  let most = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (data[(y * width + x) * 4 + 3] === 0) continue;
      most = Math.max(most, (x + 0.5 - width / 2) ** 2 + (y + 0.5 - height / 2) ** 2);
    }
  }
  return Math.sqrt(most) + 0.5;
}

async function drawBackground(
  context: OffscreenCanvasRenderingContext2D,
  background: Background,
  photo: Picture,
  view: View,
  size: Size,
): Promise<void> {
  const { width, height } = context.canvas;
  if (background.kind === "colour") {
    context.fillStyle = background.colour;
    context.fillRect(0, 0, width, height);
  } else if (background.kind === "blur") {
    context.drawImage(canvasOf(blurred(photo, view, size)), 0, 0, width, height);
  } else if (background.kind === "picture") {
    const image = await createImageBitmap(background.file);
    const scale = Math.max(width / image.width, height / image.height);
    const [w, h] = [image.width * scale, image.height * scale];
    context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
    image.close();
  }
}

/** Return the photo behind the view, small and out of focus; beyond the photo its border goes on. */
function blurred(photo: Picture, view: View, size: Size): Picture {
  const fit = (2 * BLUR_PX) / Math.max(photo.width, photo.height);
  const [w, h] = [photo.width * fit, photo.height * fit].map((v) => Math.max(1, Math.round(v)));
  const small = fit < 1 ? shrinkPicture(photo, w, h) : photo;
  const shrink = small.width / size.width;
  const step = BLUR_PX / Math.max(view.width, view.height);
  const picture = newPicture(Math.ceil(view.width * step), Math.ceil(view.height * step));
  const clamp = (v: number, most: number) => Math.min(most, Math.max(0, Math.trunc(v)));
  for (let y = 0; y < picture.height; y++) {
    const row = clamp((view.top + (y + 0.5) / step) * shrink, small.height - 1) * small.width;
    for (let x = 0; x < picture.width; x++) {
      const from = (row + clamp((view.left + (x + 0.5) / step) * shrink, small.width - 1)) * 4;
      picture.data.set(small.data.subarray(from, from + 4), (y * picture.width + x) * 4);
    }
  }
  for (const [c, sharp] of channels(picture, 1).entries()) {
    let plane = sharp;
    for (let i = 0; i < 3; i++) plane = boxMean(plane, BLUR_RADIUS_PX);
    for (const [i, value] of plane.data.entries()) picture.data[i * 4 + c] = value;
  }
  for (let i = 3; i < picture.data.length; i += 4) picture.data[i] = 255;
  return picture;
}

/** Draw the head's shape around itself, so that a line of that width shows. */
function drawOutline(
  context: OffscreenCanvasRenderingContext2D,
  head: OffscreenCanvas,
  x: number,
  y: number,
  width: number,
  colour: string,
): void {
  const shape = newCanvas(head.width, head.height);
  const shaped = contextOf(shape);
  shaped.drawImage(head, 0, 0);
  shaped.globalCompositeOperation = "source-in";
  shaped.fillStyle = colour;
  shaped.fillRect(0, 0, shape.width, shape.height);
  for (let i = 0; i < OUTLINE_STEPS; i++) {
    const angle = (2 * Math.PI * i) / OUTLINE_STEPS;
    context.drawImage(shape, x + width * Math.cos(angle), y + width * Math.sin(angle));
  }
}

function keepCircle(context: OffscreenCanvasRenderingContext2D): void {
  const { width, height } = context.canvas;
  context.globalCompositeOperation = "destination-in";
  context.beginPath();
  context.ellipse(width / 2, height / 2, width / 2, height / 2, 0, 0, 2 * Math.PI);
  context.fill();
}

export function newCanvas(width: number, height: number): OffscreenCanvas {
  return new OffscreenCanvas(Math.max(1, width), Math.max(1, height));
}

export function contextOf(canvas: OffscreenCanvas): OffscreenCanvasRenderingContext2D {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no canvas");
  context.imageSmoothingQuality = "high";
  return context;
}

export function canvasOf({ width, height, data }: Picture): OffscreenCanvas {
  const canvas = newCanvas(width, height);
  contextOf(canvas).putImageData(new ImageData(data, width, height), 0, 0);
  return canvas;
}
