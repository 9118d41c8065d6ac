/** The worker: all that takes long happens here, so that the page never freezes. */

import { looksAt } from "./find";
import { type Box, cropForModel, cropPicture, insidePhoto, scaledBox, type Size } from "./geometry";
import { canvasOf, contextOf, finished, MAX_CANVAS_PIXELS, newCanvas } from "./finish";
import { boxAround, boxOf, type Layer, layerOf } from "./layer";
import { loadNetworks } from "./model";
import { type Neck, NECKS } from "./neck";
import {
  alphaOf,
  type CutOut,
  cutOut,
  type FramedHead,
  lookAgain,
  lookForHeads,
  type Networks,
  type SeenHead,
  seenAtScale,
} from "./pipeline";
import { type Call, type Choice, type Opened, type Reply, UNREADABLE, type Work } from "./protocol";
import type { Picture } from "./resample";
import { fasterNetworks } from "./webgpu";

/** Longest side of the photo that is looked at and shown; the full photo is decoded to save. */
const WORK_PX = 2048;

/** The open photo. */
interface Current {
  file: Blob;
  photo: Picture;
  fullSize: Size;
  first: SeenHead[];
  /** Later looks, by head and whether its neck is looked at too. */
  looks: Map<string, FramedHead>;
  /** The last cut-out of each head. */
  cuts: Map<number, { neck: Neck; cut: CutOut | null }>;
}

/** A photo at some size: the shown one, or the full one, of which only parts become pixels. */
interface Source {
  size: Size;
  /** Its pixels by those of the shown photo. */
  scale: number;
  patchOf: (box: Box) => Picture;
}

let networks: Networks | null = null;
let current: Current | null = null;

const work: Work = {
  async load(threads) {
    const loaded = await loadNetworks(modelFolder(), threads, (share) => report(share));
    networks = loaded;
    return { threads: loaded.threads };
  },

  async tryGpu(isAsked) {
    try {
      const { photo, first } = opened();
      const { finderSize, segmenterSize, refinerSize } = ready();
      const crops = {
        find: cropForModel(photo, looksAt(photo)[0], finderSize),
        segment: cropForModel(photo, first[0].box, segmenterSize),
        refine: cropForModel(photo, first[0].box, refinerSize),
      };
      networks = await fasterNetworks(ready(), modelFolder(), crops, isAsked, inTurn);
      return "webgpu";
    } catch (reason) {
      console.info(`WebAssembly stays: ${reason}`);
      return "wasm";
    }
  },

  async open(file) {
    const ms: Record<string, number> = {};
    const timed = async <T>(stage: string, task: () => Promise<T>): Promise<T> => {
      const start = performance.now();
      const result = await task();
      ms[stage] = (ms[stage] ?? 0) + performance.now() - start;
      return result;
    };
    const { photo, fullSize } = await timed("decode", () => decode(file));
    const { find, segment, refine, ...sizes } = ready();
    let looks = 0;
    const watched: Networks = {
      ...sizes,
      find: async (crop) => {
        report(0.5 * (1 - 0.85 ** ++looks)); // how many looks there will be is known only later
        return timed("finder", () => find(crop));
      },
      segment: (crop) => timed("segmenter", () => segment(crop)),
      refine: (crop) => timed("refiner", () => refine(crop)),
    };
    const first = await timed("looks", () => lookForHeads(photo, watched, report));
    const now: Current = { file, photo, fullSize, first, looks: new Map(), cuts: new Map() };
    const heads: Opened["heads"] = [];
    for (const [i, seen] of first.entries()) {
      await timed("looks", () => lookAgainAt(now, i, NECKS.none, watched));
      const cut = await timed("cut", () => cutAt(now, i, NECKS.none));
      heads.push({ box: cut?.box ?? seen.head.box });
    }
    const { width, height } = photo;
    const bitmap = canvasOf(photo).transferToImageBitmap();
    current = now; // only when nothing can fail any more
    return { photo: bitmap, size: { width, height }, heads, ms };
  },

  async lift(choice) {
    const layer = await composed(choice, shown());
    if (!layer) return null;
    const canvas = newCanvas(shown().size.width, shown().size.height);
    contextOf(canvas).drawImage(canvasOf(layer.picture), layer.box[0], layer.box[1]);
    return canvas.transferToImageBitmap();
  },

  async preview(choice) {
    const layer = await composed(choice, shown());
    if (!layer) return null;
    return (await finished(layer, shown().size, opened().photo, choice)).transferToImageBitmap();
  },

  async save(choice) {
    return withFullPhoto(choice, async (source) => {
      const layer = await composed(choice, source);
      if (!layer) return null;
      const canvas = await finished(layer, source.size, opened().photo, choice);
      return canvas.convertToBlob({ type: "image/png" });
    });
  },

  async pair(choice) {
    const layer = await composed(choice, shown());
    if (!layer) return null;
    const mask = newCanvas(shown().size.width, shown().size.height);
    const context = contextOf(mask);
    context.fillStyle = "black";
    context.fillRect(0, 0, mask.width, mask.height);
    const white = canvasOf({ ...layer.picture, data: blackAndWhite(layer.picture) });
    context.drawImage(white, layer.box[0], layer.box[1]);
    return {
      photo: await canvasOf(opened().photo).convertToBlob({ type: "image/png" }),
      mask: await mask.convertToBlob({ type: "image/png" }),
    };
  },
};

function modelFolder(): string {
  return new URL(import.meta.env.DEV ? "/models/" : "../models/", self.location.href).href;
}

function ready(): Networks {
  if (!networks) throw new Error("the networks are not loaded");
  return networks;
}

function opened(): Current {
  if (!current) throw new Error("no photo is open");
  return current;
}

function shown({ photo }: Current = opened()): Source {
  return { size: photo, scale: 1, patchOf: (box) => cropPicture(photo, box) };
}

/** Decode a photo, upright and in sRGB, at no more than the size that is worked on. */
async function decode(file: Blob): Promise<{ photo: Picture; fullSize: Size }> {
  const bitmap = await bitmapOf(file);
  const fullSize = { width: bitmap.width, height: bitmap.height };
  const scale = Math.min(1, WORK_PX / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((v) => Math.max(1, Math.round(v * scale)));
  const photo = pixelsOf(bitmap, [0, 0, bitmap.width, bitmap.height], width, height);
  bitmap.close();
  return { photo, fullSize };
}

async function bitmapOf(file: Blob): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Error(UNREADABLE);
  }
}

/** Return part of an image as pixels; what is fully transparent is white, as viewers show it. */
function pixelsOf(image: ImageBitmap, box: Box, width: number, height: number): Picture {
  const context = contextOf(newCanvas(width, height));
  const [left, top, right, bottom] = box;
  context.drawImage(image, left, top, right - left, bottom - top, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  for (let i = 3; i < data.length; i += 4) if (data[i] === 0) data.fill(255, i - 3, i);
  return { width, height, data: data as Picture["data"] };
}

/** Do something with the full photo, or as much of its size as what is chosen has room in. */
async function withFullPhoto<T>(choice: Choice, task: (source: Source) => Promise<T>): Promise<T> {
  const { file, photo, fullSize } = opened();
  const whole = Math.max(fullSize.width, fullSize.height) / Math.max(photo.width, photo.height);
  const scale = Math.min(whole, Math.sqrt(MAX_CANVAS_PIXELS / (await areaOf(choice))));
  if (scale <= 1) return task(shown());
  const bitmap = await bitmapOf(file);
  try {
    const [width, height] = [bitmap.width, bitmap.height].map((v) => Math.round((v * scale) / whole));
    const patchOf = (box: Box) =>
      pixelsOf(bitmap, scaledBox(box, whole / scale), box[2] - box[0], box[3] - box[1]);
    return await task({ size: { width, height }, scale, patchOf });
  } finally {
    bitmap.close();
  }
}

/** Return how much of the shown photo, in pixels, the chosen heads and strokes may take. */
async function areaOf(choice: Choice): Promise<number> {
  const now = opened();
  const added = choice.strokes.filter((stroke) => stroke.adds);
  const boxes = added.map((stroke) => boxOf(stroke, now.photo));
  for (const i of chosenIn(choice, now)) {
    boxes.push(insidePhoto((await lookAgainAt(now, i, choice.neck)).box, now.photo));
  }
  const [left, top, right, bottom] = boxAround(boxes);
  return Math.max(1, (right - left) * (bottom - top));
}

/** Return the numbers of the chosen heads; the choice may still be of the photo before. */
function chosenIn({ heads }: Choice, now: Current): number[] {
  return [...heads.keys()].filter((i) => heads[i] && now.first[i]);
}

/** Return the chosen heads with the brush strokes, or null if nothing is left. */
async function composed(choice: Choice, source: Source): Promise<Layer | null> {
  const now = opened();
  const cuts: CutOut[] = [];
  for (const i of chosenIn(choice, now)) {
    const cut =
      source.scale === 1
        ? await cutAt(now, i, choice.neck)
        : cutFrom(source, await lookAgainAt(now, i, choice.neck), choice.neck);
    if (cut) cuts.push(cut);
  }
  const strokes = choice.strokes.map(({ adds, radius, points }) => ({
    adds,
    radius: radius * source.scale,
    points: points.map(([x, y]): [number, number] => [x * source.scale, y * source.scale]),
  }));
  return layerOf(cuts, strokes, source.size, source.patchOf);
}

async function lookAgainAt(
  now: Current,
  i: number,
  neck: Neck,
  networks: Networks = ready(),
): Promise<FramedHead> {
  const key = `${i} ${neck === NECKS.none ? "alone" : "with neck"}`;
  let seen = now.looks.get(key);
  if (!seen) {
    seen = await lookAgain(now.photo, now.first[i], neck, networks);
    now.looks.set(key, seen);
  }
  return seen;
}

async function cutAt(now: Current, i: number, neck: Neck): Promise<CutOut | null> {
  const last = now.cuts.get(i);
  if (last?.neck === neck) return last.cut;
  const cut = cutFrom(shown(now), await lookAgainAt(now, i, neck), neck);
  now.cuts.set(i, { neck, cut });
  return cut;
}

function cutFrom(source: Source, seen: FramedHead, neck: Neck): CutOut | null {
  const placed = seenAtScale(seen, source.scale);
  const pasted = alphaOf(placed, neck, source.size);
  if (!pasted.alpha.data.length) return null;
  return cutOut(source.patchOf(pasted.covered), pasted);
}

function blackAndWhite({ data }: Picture): Picture["data"] {
  const result = new Uint8ClampedArray(data.length);
  for (let i = 3; i < data.length; i += 4) if (data[i] > 127) result.fill(255, i - 3, i + 1);
  return result;
}

function report(progress: number): void {
  self.postMessage({ progress } satisfies Reply);
}

async function answer({ id, name, given }: Call): Promise<void> {
  try {
    const result = await (work[name] as (...given: unknown[]) => Promise<unknown>)(...given);
    const bitmap = result instanceof ImageBitmap ? result : (result as Partial<Opened> | null)?.photo;
    self.postMessage({ id, result }, bitmap instanceof ImageBitmap ? { transfer: [bitmap] } : {});
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
}

let last: Promise<unknown> = Promise.resolve();

/** Do one thing after the other: a network runs once at a time. */
function inTurn<T>(task: () => Promise<T>): Promise<T> {
  const result = last.then(task);
  last = result.catch(() => {});
  return result;
}

self.onmessage = ({ data }: MessageEvent<Call>) => {
  // What the GPU is tried for must not wait: it asks for its turns itself.
  void (data.name === "tryGpu" ? answer(data) : inTurn(() => answer(data)));
};
