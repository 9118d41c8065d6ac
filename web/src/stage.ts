/** The canvas that shows the photo with the lifted heads, or the result, and is painted on. */

import { area } from "./find";
import type { Box } from "./geometry";
import { drawStroke } from "./layer";
import type { Opened, Stroke } from "./protocol";

export type View = "result" | "heads" | "brush";

interface Events {
  onHead: (i: number) => void;
  onStroke: (stroke: Stroke) => void;
}

/** How much of the photo shows behind the lifted heads. */
const GHOST = 0.28;
const THUMBNAIL_PX = 56;

export class Stage {
  brush = { adds: true, share: 0.05 };
  private opened: Opened | null = null;
  private picture: ImageBitmap | null = null;
  private view: View = "result";
  private isComparing = false;
  private stroke: Stroke | null = null;

  constructor(
    private canvas: HTMLCanvasElement,
    private events: Events,
  ) {
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => this.release());
    canvas.addEventListener("pointercancel", () => this.drop());
  }

  open(opened: Opened): void {
    this.opened?.photo.close();
    this.opened = opened;
    this.picture?.close();
    this.picture = null;
    this.drop();
  }

  /** Show a result, or heads lifted off the photo; null where nothing is chosen. */
  show(picture: ImageBitmap | null, view: View): void {
    this.picture?.close();
    this.picture = picture;
    this.view = view;
    this.draw();
  }

  /** Show the photo as it was, while something is held. */
  compare(isHeld: boolean): void {
    if (isHeld === this.isComparing) return;
    this.isComparing = isHeld;
    this.draw();
  }

  /** A small picture of a head, as its button shows it. */
  thumbnail([left, top, right, bottom]: Box): HTMLCanvasElement {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = THUMBNAIL_PX;
    const side = Math.max(right - left, bottom - top) * 1.1;
    const [x, y] = [(left + right - side) / 2, (top + bottom - side) / 2];
    const context = canvas.getContext("2d");
    if (this.opened) {
      context?.drawImage(this.opened.photo, x, y, side, side, 0, 0, THUMBNAIL_PX, THUMBNAIL_PX);
    }
    return canvas;
  }

  private draw(): void {
    const { canvas, opened, picture } = this;
    if (!opened) return;
    const showsResult = this.view === "result" && picture && !this.isComparing;
    const { width, height } = showsResult ? picture : opened.size;
    [canvas.width, canvas.height] = [width, height];
    canvas.dataset.view = this.isComparing ? "photo" : this.view;
    const context = canvas.getContext("2d");
    if (!context) return;
    if (showsResult) {
      context.drawImage(picture, 0, 0);
      return;
    }
    context.globalAlpha = this.isComparing ? 1 : GHOST;
    context.drawImage(opened.photo, 0, 0);
    context.globalAlpha = 1;
    if (picture && !this.isComparing && this.view !== "result") context.drawImage(picture, 0, 0);
    if (this.stroke) {
      context.globalAlpha = 0.55;
      context.strokeStyle = this.stroke.adds ? getComputedStyle(canvas).accentColor : "#000000";
      drawStroke(context, this.stroke);
    }
  }

  /** Where in the photo a pointer is: the canvas may be fitted into its box. */
  private at(event: PointerEvent): [x: number, y: number] {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const scale = Math.min(width / this.canvas.width, height / this.canvas.height);
    const x = (event.clientX - left - (width - this.canvas.width * scale) / 2) / scale;
    const y = (event.clientY - top - (height - this.canvas.height * scale) / 2) / scale;
    return [x, y];
  }

  private press(event: PointerEvent): void {
    if (!this.opened || event.button !== 0) return;
    if (this.view === "heads") this.choose(this.at(event));
    if (this.view !== "brush") return;
    this.canvas.setPointerCapture(event.pointerId);
    const { width, height } = this.opened.size;
    const radius = this.brush.share * Math.min(width, height);
    this.stroke = { adds: this.brush.adds, radius, points: [this.at(event)] };
    this.draw();
  }

  private move(event: PointerEvent): void {
    if (!this.stroke) return;
    this.stroke.points.push(this.at(event));
    this.draw();
  }

  private release(): void {
    if (this.stroke) this.events.onStroke(this.stroke);
    this.stroke = null;
  }

  private drop(): void {
    this.stroke = null;
    this.draw();
  }

  /** Choose the smallest head at a point. */
  private choose([x, y]: [number, number]): void {
    const held = (this.opened?.heads ?? [])
      .map((head, i) => ({ i, box: head.box }))
      .filter(({ box: [left, top, right, bottom] }) => x >= left && x < right && y >= top && y < bottom)
      .sort((a, b) => area(a.box) - area(b.box));
    if (held.length) this.events.onHead(held[0].i);
  }
}
