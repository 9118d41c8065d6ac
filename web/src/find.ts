/** Photo -> head boxes: the first look, at the whole photo and then at its parts. */

import {
  type Box,
  centredSquare,
  cropForModel,
  scaledBox,
  type Size,
  wholePhotoBox,
} from "./geometry";
import { mirrorImage, mirrorIndex, type Picture, type Plane, shrunkTo } from "./resample";

const OVERLAP_OF_ONE_HEAD = 0.45;
const PART_OF_ONE_HEAD = 0.8;
const FAINT = 0.05;
const PROPOSED = 0.15;
const VISIBLE = [0.03, 0.95];
const WIDE_SIDES = 2;
const WIDE_VISIBLE = 0.28;
const TILE_SHARE = 0.5;
const CLOSER_SHARE = 0.3;
const SMALL = 0.09;
const MOST_CLOSER = 24;
const SEEN_PX = 1024;
export const IN_COMPANY = 0.33;
const COMPANY_HEIGHT = 4;
const WORTH_TILES_PX = 320;

/** Where a head is: its box from crown to chin, and how sure that is, in [0, 1]. */
export interface Head {
  box: Box;
  confidence: number;
}

/** What the finder's network says of a square: the chance of a centre in each cell, and boxes. */
export interface Maps {
  centre: Plane;
  /** Four planes, one after the other: offset in x and y, log width and log height, in cells. */
  boxes: Float32Array;
}

interface Look {
  box: Box;
  heads: Head[];
}

function logOdds(chance: number): number {
  const held = Math.min(Math.max(chance, 0.01), 0.99);
  return Math.log(held / (1 - held));
}

/** What chance a proposed head has, by what the looks said of it: from the finder's metadata. */
export type Calibration = [constant: number, proposed: number, confirmed: number, size: number];

export function parseCalibration(text: string): Calibration {
  const given = text.split(/\s+/).filter(Boolean).map(Number);
  if (given.length && !(given.length === 4 && given.every(Number.isFinite))) {
    throw new Error("damaged calibration");
  }
  const usual: Calibration = [-logOdds(1), 1, 1, 0];
  return usual.map((value, i) => given[i] ?? value) as Calibration;
}

/**
 * Return how sure both looks together are of a proposed head.
 *
 * @param share of the middle of its box, what the segmenter calls head
 */
export function confidenceOf(head: Head, share: number, photo: Size, fit: Calibration): number {
  const size = heightOf(head) / searchedSide(photo);
  const evidence =
    fit[0] + fit[1] * logOdds(head.confidence) + fit[2] * logOdds(share) + fit[3] * Math.log(size);
  return 1 / (1 + Math.exp(-evidence));
}

/**
 * Return the heads that a photo may hold, from left to right.
 *
 * @param run the finder's network, on a size x size crop
 */
export async function findHeads(
  photo: Picture,
  size: number,
  run: (crop: Picture) => Promise<Maps>,
): Promise<Head[]> {
  const longest = Math.max(photo.width, photo.height);
  const seen = shrunkTo(photo, Math.round((SEEN_PX * longest) / searchedSide(photo)));
  const looks: Look[] = [];
  const look = async (box: Box) => {
    const crop = cropForModel(seen, box, size);
    let { centre, boxes } = await run(crop);
    if (centre.data.some((chance) => chance >= PROPOSED)) {
      const mirrored = await run(mirrorImage(crop));
      centre = meanChance(centre, mirrored.centre);
    }
    const heads = headsInMaps({ centre, boxes }, box, FAINT).filter((h) => isFor(box, h.box, seen));
    looks.push({ box, heads });
  };
  for (const box of looksAt(seen)) await look(box);
  for (const box of closerLooks(looks, seen)) await look(box);
  const sure = looks.flatMap((look) => look.heads).filter((h) => h.confidence >= PROPOSED);
  const found = distinct(sure)
    .map((head) => agreed(head, looks, seen))
    .filter((head) => head.confidence >= PROPOSED)
    .sort((a, b) => a.box[0] + a.box[2] - b.box[0] - b.box[2]);
  const scale = longest / Math.max(seen.width, seen.height);
  return found.map((head) => ({ ...head, box: scaledBox(head.box, scale) }));
}

/** Return what parts of a photo are measured by: its longest side; less in a panorama. */
function searchedSide({ width, height }: Size): number {
  const longest = Math.max(width, height);
  return Math.min(longest, Math.max(2 * Math.min(width, height), longest / 4));
}

/** Return the squares to look at: the whole photo, more than it, and tiles of a large one. */
export function looksAt(photo: Size): Box[] {
  const longest = Math.max(photo.width, photo.height);
  const wide = centredSquare(photo.width / 2, photo.height / 2, WIDE_SIDES * longest);
  const boxes = [wholePhotoBox(photo), wide];
  if (longest <= WORTH_TILES_PX) return boxes;
  const side = TILE_SHARE * searchedSide(photo);
  for (const top of tileStarts(photo.height, side)) {
    for (const left of tileStarts(photo.width, side)) {
      boxes.push([left, top, left + side, top + side]);
    }
  }
  return boxes;
}

/** Return squares around the small heads that looks propose, around the surest first. */
export function closerLooks(looks: Look[], photo: Size): Box[] {
  const side = CLOSER_SHARE * searchedSide(photo);
  const reach = 0.35 * side;
  const isSmall = (head: Head, look: Box) =>
    head.confidence >= PROPOSED && heightOf(head) < SMALL * (look[2] - look[0]);
  const small = looks.flatMap(({ box, heads }) => heads.filter((head) => isSmall(head, box)));
  const chosen: Box[] = [];
  for (const { box } of small.sort((a, b) => b.confidence - a.confidence)) {
    const square = centredSquare((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side);
    const isNear = (other: Box) =>
      Math.abs(square[0] - other[0]) < reach && Math.abs(square[1] - other[1]) < reach;
    if (chosen.length < MOST_CLOSER && !chosen.some(isNear)) chosen.push(square);
  }
  return chosen;
}

/** Return the chances whose log odds are the mean of a look's and its mirror image's. */
function meanChance(plane: Plane, mirrored: Plane): Plane {
  const held = (chance: number) => Math.min(Math.max(chance, 1e-4), 1 - 1e-4);
  const data = plane.data.map((chance, i) => {
    const [a, b] = [held(chance), held(mirrored.data[mirrorIndex(i, plane.width)])];
    const [yes, no] = [Math.sqrt(a * b), Math.sqrt((1 - a) * (1 - b))];
    return yes / (yes + no);
  });
  return { ...plane, data };
}

function tileStarts(extent: number, side: number): number[] {
  if (extent <= side) return [(extent - side) / 2];
  const steps = Math.ceil((2 * (extent - side)) / side);
  return Array.from({ length: steps + 1 }, (_, step) => ((extent - side) * step) / steps);
}

/** Return the peaks of a finder's maps as heads in photo pixels. */
export function headsInMaps({ centre, boxes }: Maps, look: Box, threshold: number): Head[] {
  const cells = centre.width;
  const at = (row: number, column: number) =>
    row < 0 || column < 0 || row >= cells || column >= cells ? 0 : centre.data[row * cells + column];
  const isPeak = (row: number, column: number) => {
    const chance = at(row, column);
    if (chance < Math.fround(threshold)) return false;
    for (let y = row - 1; y <= row + 1; y++) {
      for (let x = column - 1; x <= column + 1; x++) if (at(y, x) > chance) return false;
    }
    return true;
  };
  const cell = (look[2] - look[0]) / cells;
  const heads: Head[] = [];
  for (let row = 0; row < cells; row++) {
    for (let column = 0; column < cells; column++) {
      if (!isPeak(row, column)) continue;
      const said = (n: number) => boxes[(n * cells + row) * cells + column];
      // No head that was trained on is larger; without a bound, a crop could be of any size.
      const extent = (n: number) =>
        Math.exp(Math.min(Math.max(said(n), -1), Math.log(1.5 * cells))) * cell;
      const x = look[0] + (column + 0.5 + said(0)) * cell;
      const y = look[1] + (row + 0.5 + said(1)) * cell;
      const [width, height] = [extent(2), extent(3)];
      const box: Box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
      heads.push({ box, confidence: at(row, column) });
    }
  }
  return heads;
}

/** Whether a look is there for a head: it shows it whole, and the widest only large ones. */
function isFor(look: Box, box: Box, photo: Size): boolean {
  const side = look[2] - look[0];
  const large = box[3] - box[1] > WIDE_VISIBLE * side;
  const asked = large || side <= 1.01 * Math.max(photo.width, photo.height);
  return asked && !cutByLook(box, look, photo);
}

/** Whether the box leaves the look where the photo goes on: another look sees it whole. */
function cutByLook(box: Box, look: Box, photo: Size): boolean {
  const slack = 0.1 * (box[3] - box[1]);
  return (
    (look[0] > 0 && box[0] < look[0] - slack) ||
    (look[1] > 0 && box[1] < look[1] - slack) ||
    (look[2] < photo.width && box[2] > look[2] + slack) ||
    (look[3] < photo.height && box[3] > look[3] + slack)
  );
}

/** Return the head, its confidence halfway from its surest look to the mean of its looks. */
function agreed(head: Head, looks: Look[], photo: Size): Head {
  const votes = looks
    .filter((look) => shows(look.box, head.box, photo))
    .map((look) =>
      Math.max(
        0,
        ...look.heads.filter((h) => isSame(h.box, head.box)).map((h) => h.confidence),
      ),
    );
  if (!votes.length) return head;
  const mean = votes.reduce((sum, vote) => sum + vote, 0) / votes.length;
  return { ...head, confidence: (head.confidence + mean) / 2 };
}

/** Whether a look shows a head whole and neither too small nor too large to be found. */
function shows(look: Box, box: Box, photo: Size): boolean {
  const share = (box[3] - box[1]) / (look[3] - look[1]);
  return VISIBLE[0] < share && share < VISIBLE[1] && isFor(look, box, photo);
}

/** Return the surest of each group of boxes that are one head. */
function distinct(heads: Head[]): Head[] {
  const kept: Head[] = [];
  for (const head of [...heads].sort((a, b) => b.confidence - a.confidence)) {
    if (!kept.some((k) => isSame(head.box, k.box))) kept.push(head);
  }
  return kept;
}

/** Return the heads of a photo that are sure enough, alone or in company; order is kept. */
export function believed<Seen extends { head: Head }>(seen: Seen[], threshold: number): Seen[] {
  const sure = seen.filter(({ head }) => head.confidence >= threshold);
  const tallest = sure.length ? Math.max(...sure.map(({ head }) => heightOf(head))) : Infinity;
  const inCompany = (head: Head) =>
    head.confidence >= IN_COMPANY * threshold && heightOf(head) >= tallest / COMPANY_HEIGHT;
  return seen.filter(({ head }) => head.confidence >= threshold || inCompany(head));
}

function heightOf(head: Head): number {
  return head.box[3] - head.box[1];
}

/** Whether, by their boxes, a head is a part of a surer one, as an ear, or around it. */
export function mayBePart(head: Head, other: Head): boolean {
  const smaller = Math.min(area(head.box), area(other.box));
  const shared = sharedArea(head.box, other.box);
  return other.confidence > head.confidence && shared > PART_OF_ONE_HEAD * smaller;
}

function isSame(a: Box, b: Box): boolean {
  const shared = sharedArea(a, b);
  return shared > 0 && shared / (area(a) + area(b) - shared) >= OVERLAP_OF_ONE_HEAD;
}

function sharedArea(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(0, width) * Math.max(0, height);
}

/** Return the area of a box, in square pixels. */
export function area(box: Box): number {
  return (box[2] - box[0]) * (box[3] - box[1]);
}
