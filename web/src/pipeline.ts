/**
 * READ FIRST. The way of a photo, as in `headcut.pipeline`:
 * photo -> heads -> square crops -> masks -> alpha at photo size -> cut-outs
 */

import { besideNeck, cleanColours, firmMask, refineAlpha, withoutBackground } from "./edge";
import {
  area,
  believed,
  type Calibration,
  confidenceOf,
  findHeads,
  type Head,
  IN_COMPANY,
  mayBePart,
  type Maps,
} from "./find";
import {
  type Box,
  cropBoxFor,
  cropForModel,
  cropPicture,
  cropPlane,
  framedBox,
  HEADS_PER_CROP,
  HEADS_PER_FARTHER_CROP,
  HEADS_PER_NEARER_CROP,
  insidePhoto,
  partOfMask,
  pasteAlpha,
  runsOut,
  scaledBox,
  type Size,
  tightBox,
  widerBox,
} from "./geometry";
import { type Neck, NECKS, SHORT_NECK, withNeck } from "./neck";
import { mirrorImage, mirrorIndex, type Picture, type Plane } from "./resample";
import { shareOfHead, shareInOther, withoutHoles, withoutIslands } from "./segment";

const DENIED = 0.3;
const DOUBTFUL = Math.fround(0.3);
const SHARED_BY_ONE = 0.5;
const LEAST_KEPT = 0.5;
const MOST_FRAMINGS = 3;
const MOST_WIDENINGS = 2;
const VISIBLE_ALPHA = 0.5 / 255;

/** What the segmenter or the refiner says of a crop: head and neck, each size x size in [0, 1]. */
export interface Masks {
  head: Plane;
  neck: Plane;
}

/** The networks, ready to run, and what their files say of them. */
export interface Networks {
  finderSize: number;
  segmenterSize: number;
  refinerSize: number;
  threshold: number;
  calibration: Calibration;
  find: (crop: Picture) => Promise<Maps>;
  segment: (crop: Picture) => Promise<Masks>;
  /** The segmenter of the last look. */
  refine: (crop: Picture) => Promise<Masks>;
}

/** A head after the closer look: what the segmenter or the refiner says of a square of the photo. */
export interface SeenHead {
  head: Head;
  box: Box;
  masks: Masks;
}

/** A head after the last look, with what that saw. */
export interface FramedHead extends SeenHead {
  crop: Picture;
}

/** One head cut out: its alpha, as bytes of a picture, in the tight box of what is visible. */
export interface CutOut {
  box: Box;
  picture: Picture;
}

/** Return the heads that the finder proposes and a closer look confirms, left to right. */
export async function lookForHeads(
  photo: Picture,
  networks: Networks,
  onProgress: (share: number) => void = () => {},
): Promise<SeenHead[]> {
  const proposed = await findHeads(photo, networks.finderSize, networks.find);
  const hopeful = proposed.filter(
    (head) =>
      confidenceOf(head, 1, photo, networks.calibration) >= IN_COMPANY * networks.threshold,
  );
  const seen: SeenHead[] = [];
  for (const [i, head] of hopeful.entries()) {
    onProgress(0.5 + (0.5 * i) / hopeful.length);
    const looked = await judged(photo, head, networks);
    if (looked.masks.head.data.some((v) => v > 0.5)) seen.push(looked);
  }
  return believed(withoutParts(seen), networks.threshold);
}

/** Return the heads that are neither a part of a surer one nor around one; order is kept. */
export function withoutParts(seen: SeenHead[]): SeenHead[] {
  return seen.filter(
    (one) => !seen.some((other) => mayBePart(one.head, other.head) && areOne(one, other)),
  );
}

/** Whether the masks of two, one's box in the other's, are of one head. */
function areOne(a: SeenHead, b: SeenHead): boolean {
  const [small, large] = area(a.head.box) <= area(b.head.box) ? [a, b] : [b, a];
  const [mask, other] = [small.masks.head, large.masks.head];
  return shareInOther(mask, small.box, small.head.box, other, large.box) > SHARED_BY_ONE;
}

/** Look at a proposed head's crop, which says how sure it is. */
async function judged(photo: Picture, proposed: Head, networks: Networks): Promise<SeenHead> {
  const visible = insidePhoto(proposed.box, photo);
  const looks: { share: number; box: Box; masks: Masks }[] = [];
  for (const side of [HEADS_PER_CROP, HEADS_PER_NEARER_CROP, HEADS_PER_FARTHER_CROP]) {
    const box = cropBoxFor(proposed.box, side);
    const masks = await masksOf(photo, box, visible, networks);
    const share = shareOfHead(masks.head, box, visible);
    looks.push({ share, box, masks });
    if (share >= DENIED) break;
  }
  const { share, box, masks } = looks.reduce((best, look) => (look.share > best.share ? look : best));
  const confidence = confidenceOf(proposed, share, photo, networks.calibration);
  return { head: { ...proposed, confidence }, box, masks };
}

/**
 * Widen a head's crop while the head runs out of it; then look at what its mask frames, the neck
 * included where it is kept.
 */
export async function lookAgain(
  photo: Picture,
  seen: SeenHead,
  neck: Neck,
  networks: Networks,
): Promise<FramedHead> {
  const visible = insidePhoto(seen.head.box, photo);
  const kept = ({ head, neck: below }: Masks): Plane => {
    const wanted = (v: number, i: number) =>
      v > DOUBTFUL || (neck !== NECKS.none && below.data[i] > 0.5) ? 1 : 0;
    return { ...head, data: head.data.map(wanted) };
  };
  let { box, masks } = seen;
  for (let i = 0; i < MOST_WIDENINGS; i++) {
    const wider = widerBox(masks.head, box, photo);
    if (!wider) break;
    const widerMasks = await masksOf(photo, wider, visible, networks);
    if (areaOf(widerMasks.head, wider) < LEAST_KEPT * areaOf(masks.head, box)) break;
    [box, masks] = [wider, widerMasks];
  }
  for (let i = 0; i < MOST_FRAMINGS; i++) {
    const framed = framedBox(kept(masks), box, photo);
    if (!framed) break;
    const framedMasks = await refined(photo, framed, visible, networks);
    if (areaOf(framedMasks.head, framed) < LEAST_KEPT * areaOf(masks.head, box)) break;
    [box, masks] = [framed, framedMasks];
    if (!runsOut(kept(masks), box, photo).includes(true)) break;
  }
  return { ...seen, box, masks, crop: cropForModel(photo, box, masks.head.width) };
}

/** Return how much of a crop is head, in photo pixels. */
function areaOf(mask: Plane, box: Box): number {
  return mask.data.filter((v) => v > 0.5).length * ((box[2] - box[0]) / mask.width) ** 2;
}

/** What the segmenter says of a square. */
async function masksOf(
  photo: Picture,
  box: Box,
  headBox: Box,
  networks: Networks,
): Promise<Masks> {
  const { head, neck } = await networks.segment(cropForModel(photo, box, networks.segmenterSize));
  return { head: withoutIslands(head, box, headBox), neck };
}

/** What the refiner says of a square: the mean with what it says of the mirror image. */
async function refined(
  photo: Picture,
  box: Box,
  headBox: Box,
  networks: Networks,
): Promise<Masks> {
  const crop = cropForModel(photo, box, networks.refinerSize);
  const masks = await networks.refine(crop);
  const mirrored = await networks.refine(mirrorImage(crop));
  const head = withoutIslands(meanOf(masks.head, mirrored.head), box, headBox);
  return { head, neck: meanOf(masks.neck, mirrored.neck) };
}

function meanOf(plane: Plane, mirrored: Plane): Plane {
  const { width } = plane;
  const data = plane.data.map((v, i) => (v + mirrored.data[mirrorIndex(i, width)]) / 2);
  return { ...plane, data };
}

/** Return a head's place in the same photo at another size. */
export function seenAtScale(seen: FramedHead, scale: number): FramedHead {
  const head = { ...seen.head, box: scaledBox(seen.head.box, scale) };
  return { ...seen, head, box: scaledBox(seen.box, scale) };
}

/** A mask at photo size. */
export interface Pasted {
  alpha: Plane;
  /** The photo pixels that it covers. */
  covered: Box;
  /** How much alpha keeps its own shape, where not everywhere the photo's; see `refineAlpha`. */
  asItIs?: Plane;
}

/** Return the mask of a head with its neck, at photo size. */
export function alphaOf({ head, masks, box, crop }: FramedHead, neck: Neck, photo: Size): Pasted {
  const pixel = (box[2] - box[0]) / masks.head.width;
  const shortPx = (SHORT_NECK * (head.box[3] - head.box[1])) / pixel;
  const whole = withoutHoles(withNeck(masks.head, masks.neck, neck, shortPx));
  const mask = firmMask(withoutBackground(whole, masks.neck, crop));
  const pasted = pasteAlpha(withoutIslands(mask, box, insidePhoto(head.box, photo)), box, photo);
  // Skin and skin have no edge in the photo.
  if (neck !== NECKS.none || !pasted.alpha.data.length) return pasted;
  return { ...pasted, asItIs: partOfMask(besideNeck(masks.neck), box, pasted.covered) };
}

/**
 * Return the cut-out of one head; null if nothing is left of it.
 *
 * @param patch the photo in `covered`; where it is transparent, so is the head
 */
export function cutOut(patch: Picture, { alpha, covered, asItIs }: Pasted): CutOut | null {
  const refined = refineAlpha(patch, alpha, asItIs);
  for (let i = 0; i < refined.data.length; i++) {
    const visible = refined.data[i] * (patch.data[i * 4 + 3] / 255);
    refined.data[i] = visible >= VISIBLE_ALPHA ? visible : 0;
  }
  const tight = tightBox(refined, (i) => refined.data[i] > 0);
  if (!tight) return null;
  const kept = cropPlane(refined, tight);
  const picture = cleanColours(cropPicture(patch, tight), kept);
  for (let i = 0; i < kept.data.length; i++) {
    const a = Math.floor(kept.data[i] * 255 + 0.5);
    if (a === 0) picture.data.fill(0, i * 4, i * 4 + 4);
    else picture.data[i * 4 + 3] = a;
  }
  const [x, y] = covered;
  return { picture, box: [tight[0] + x, tight[1] + y, tight[2] + x, tight[3] + y] };
}
