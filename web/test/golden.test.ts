/** The page's code makes the same of the golden cases as Python; `make golden` writes them. */

import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { besideNeck, cleanColours, refineAlpha, withoutBackground } from "../src/edge";
import {
  believed,
  confidenceOf,
  findHeads,
  type Head,
  looksAt,
  parseCalibration,
} from "../src/find";
import {
  type Box,
  coveredPixels,
  cropBoxFor,
  cropForModel,
  cropPicture,
  framedBox,
  pasteAlpha,
  widerBox,
} from "../src/geometry";
import { chinRows, NECKS, withNeck, withoutDents } from "../src/neck";
import {
  alphaOf,
  cutOut,
  lookAgain,
  lookForHeads,
  type Networks,
  type SeenHead,
  withoutParts,
} from "../src/pipeline";
import { newPicture, newPlane, type Picture, type Plane, shrunkTo } from "../src/resample";
import { shareInOther, shareOfHead, withoutHoles, withoutIslands } from "../src/segment";

const golden = JSON.parse(readFileSync("../tests/golden.json", "utf8"));

interface Packed {
  shape: number[];
  type: "uint8" | "float32";
  data: string;
}

function unpack({ type, data }: Packed): Uint8Array | Float32Array {
  const bytes = new Uint8Array(inflateSync(Buffer.from(data, "base64")));
  return type === "uint8" ? bytes : new Float32Array(bytes.buffer);
}

function plane(packed: Packed): Plane {
  const [height, width] = packed.shape;
  return { width, height, data: unpack(packed) as Float32Array };
}

function picture(packed: Packed): Picture {
  const [height, width, channels] = packed.shape;
  const data = unpack(packed);
  const made = newPicture(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 4; c++) made.data[i * 4 + c] = c < channels ? data[i * channels + c] : 255;
  }
  return made;
}

/** The largest difference of two arrays; NaN equals NaN. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    if (Number.isNaN(a[i]) !== Number.isNaN(b[i])) return Infinity;
    if (!Number.isNaN(a[i])) most = Math.max(most, Math.abs(a[i] - b[i]));
  }
  return most;
}

/** The largest difference of two pictures' colours. */
function colourDifference(a: Picture, b: Picture): number {
  const colours = (p: Picture) => p.data.filter((_, i) => i % 4 < 3);
  expect([a.width, a.height]).toEqual([b.width, b.height]);
  return difference(colours(a), colours(b));
}

const photo = picture(golden.photo);

describe("geometry", () => {
  test("boxes around heads, and what frames a mask", () => {
    for (const { head, crop, wider, framed, mask } of golden.boxes) {
      const box = cropBoxFor(head);
      expect(difference(box, crop)).toBeLessThan(1e-9);
      expect(difference(widerBox(plane(mask), box, photo) ?? [], wider ?? [])).toBeLessThan(1e-9);
      expect(difference(framedBox(plane(mask), box, photo) ?? [], framed)).toBeLessThan(1e-9);
    }
  });

  test("crops are Pillow's, bit for bit", () => {
    for (const { box, size, picture: expected } of golden.crops) {
      expect(colourDifference(cropForModel(photo, box, size), picture(expected))).toBe(0);
    }
  });

  test("shrunk photos are Pillow's, bit for bit", () => {
    for (const { longest, picture: expected } of golden.shrunk) {
      expect(colourDifference(shrunkTo(photo, longest), picture(expected))).toBe(0);
    }
  });

  test("a mask comes back to its place in the photo", () => {
    for (const { cleanHead, box, alpha, covered } of golden.masks) {
      const pasted = pasteAlpha(plane(cleanHead), box, photo);
      expect(pasted.covered).toEqual(covered);
      expect(difference(pasted.alpha.data, plane(alpha).data)).toBeLessThan(1e-5);
    }
  });
});

describe("masks", () => {
  test("what is not connected with the head goes", () => {
    for (const { box, headBox, head, cleanHead, withoutIslands: kept, share } of golden.masks) {
      const made = withoutIslands(plane(head), box, headBox);
      expect(difference(made.data, plane(kept).data)).toBe(0);
      expect(shareOfHead(plane(cleanHead), box, headBox)).toBeCloseTo(share, 6);
    }
  });

  test("two masks share as much of a head", () => {
    for (const { cleanHead, box, headBox, beside } of golden.masks) {
      const mask = plane(cleanHead);
      expect(shareInOther(mask, box, headBox, mask, beside.box)).toBeCloseTo(beside.share, 6);
    }
  });

  test("small holes are filled, and no others", () => {
    for (const { torn, withoutHoles: filled } of golden.masks) {
      expect(difference(withoutHoles(plane(torn)).data, plane(filled).data)).toBe(0);
    }
  });

  test("necks end where Python's end", () => {
    for (const { cleanHead, neck, chin, dented, withoutDents: level, ...wanted } of golden.masks) {
      expect(difference(chinRows(plane(cleanHead), plane(neck)), unpack(chin))).toBe(0);
      const made = new Float32Array(withoutDents(Array.from(unpack(dented))));
      expect(difference(made, unpack(level))).toBeLessThan(1e-6);
      for (const kind of ["none", "short", "keep"] as const) {
        const made = withNeck(plane(cleanHead), plane(neck), NECKS[kind], 2.5);
        expect(difference(made.data, plane(wanted[kind]).data)).toBeLessThan(1e-6);
      }
    }
  });
});

describe("neck", () => {
  const { cleanHead, neck } = golden.masks[0];
  const total = (wanted: number) =>
    withNeck(plane(cleanHead), plane(neck), wanted, 2.5).data.reduce((sum, v) => sum + v);
  const totals = Array.from({ length: 101 }, (_, wanted) => total(wanted));

  test("each step of the slider shows more neck, or as much, and none jumps", () => {
    const whole = totals[NECKS.keep] - totals[NECKS.none];
    for (let wanted = 2; wanted <= 100; wanted++) {
      const more = totals[wanted] - totals[wanted - 1];
      expect(more).toBeGreaterThanOrEqual(0);
      expect(more).toBeLessThan(0.05 * whole);
    }
    expect(totals[NECKS.short]).toBeLessThan(totals[60]);
    expect(totals[60]).toBeLessThan(totals[NECKS.keep]);
  });

  test("without a chin, the neck shows only where all of it is wanted", () => {
    const head = newPlane(32, 32);
    expect(withNeck(head, plane(neck), 99, 2.5).data).toEqual(head.data);
  });
});

describe("edge", () => {
  test("alpha follows the photo as in Python, within 2/255", () => {
    for (const { patch, alpha, asItIs, refined } of golden.edges) {
      const kept = asItIs ? plane(asItIs) : undefined;
      const made = refineAlpha(picture(patch), plane(alpha), kept).data.map((a) => a * 255);
      expect(difference(made, unpack(refined))).toBeLessThan(2);
    }
  });

  test("background goes from a mask as in Python, and stays beside a neck", () => {
    const { crop, head, neck, cleared, near } = golden.tuft;
    const made = withoutBackground(plane(head), plane(neck), picture(crop)).data;
    expect(difference(made, unpack(cleared))).toBeLessThan(1e-3);
    expect(difference(besideNeck(plane(neck)).data, unpack(near))).toBeLessThan(1e-5);
  });

  test("colours are cleaned as in Python, within 2/255", () => {
    for (const { patch, alpha, asItIs, colours } of golden.edges) {
      const refined = refineAlpha(picture(patch), plane(alpha), asItIs ? plane(asItIs) : undefined);
      const made = cleanColours(picture(patch), refined);
      expect(colourDifference(made, picture(colours))).toBeLessThanOrEqual(2);
    }
  });
});

describe("find", () => {
  const calibration = parseCalibration("0.9 3.1 0.3 0.4");

  test("the same squares are looked at", () => {
    for (const { shape, boxes } of golden.looks) {
      const looks = looksAt({ width: shape[1], height: shape[0] });
      expect(looks.length).toBe(boxes.length);
      expect(difference(looks.flat(), boxes.flat())).toBeLessThan(1e-9);
    }
  });

  test("the same heads are no parts of others", () => {
    for (const { seen: made, kept } of golden.parts) {
      const seen: SeenHead[] = made.map(
        ({ head, box, mask }: { head: Head; box: Box; mask: Packed }) => ({
          head,
          box,
          masks: { head: plane(mask), neck: plane(mask) },
        }),
      );
      expect(withoutParts(seen).map((one) => seen.indexOf(one))).toEqual(kept);
    }
  });

  test("the same heads are believed in company", () => {
    for (const { heads, believed: numbers } of golden.company) {
      const seen = heads.map((head: Head, number: number) => ({ head, number }));
      expect(believed<(typeof seen)[0]>(seen, 0.5).map((s) => s.number)).toEqual(numbers);
    }
  });

  test("the same heads are found in the same maps, and as sure", async () => {
    for (const { photo: size, maps, heads, sure } of golden.found) {
      const large = newPicture(size[0], size[1]);
      let run = 0;
      const found = await findHeads(large, 64, async () => {
        const [centre, boxes] = maps[run++];
        const [, height, width] = centre.shape;
        return { centre: { width, height, data: unpack(centre) as Float32Array }, boxes: unpack(boxes) as Float32Array };
      });
      expect(found.length).toBe(heads.length);
      for (const [i, head] of found.entries()) {
        expect(difference(head.box, heads[i].box)).toBeLessThan(1e-3);
        expect(head.confidence).toBeCloseTo(heads[i].confidence, 5);
        expect(confidenceOf(head, 0.8, large, calibration)).toBeCloseTo(sure[i], 4);
      }
    }
  });

  test("a file without a calibration keeps the finder's confidence", () => {
    const head: Head = { box: [0, 0, 10, 10], confidence: 0.7 };
    expect(confidenceOf(head, 1, photo, parseCalibration(""))).toBeCloseTo(0.7, 6);
  });

  test("a damaged calibration is said, not guessed", () => {
    for (const text of ["0.9 3.1 0.3", "0.9 3.1 0.3 much", "0.9 3.1 0.3 0.4 0.5"]) {
      expect(() => parseCalibration(text)).toThrow("damaged calibration");
    }
  });
});

describe("pipeline", () => {
  /** The stand-ins of make_golden.py: one head proposed, light pixels are head. */
  function madeNetworks(proposed: Head): Networks {
    const cells = 64;
    let looks = 0; // at the whole photo, at its mirror image, and at more than it
    return {
      finderSize: 64,
      segmenterSize: 32,
      refinerSize: 32,
      threshold: 0.1,
      calibration: parseCalibration("0.9 3.1 0.3 0.4"),
      find: async () => {
        const mirrored = looks === 1;
        const centre = newPlane(cells, cells);
        const boxes = new Float32Array(4 * cells * cells);
        const [left, top, right, bottom] = proposed.box;
        const cell = 120 / cells;
        const at = (v: number) => Math.floor(v / cell);
        const x = (left + right) / 2;
        const y = (top + bottom) / 2 + 15; // the letterbox of a 120x90 photo begins 15 above it
        const i = at(y) * cells + (mirrored ? cells - 1 - at(x) : at(x));
        if (looks++ < 2) centre.data[i] = proposed.confidence;
        const values = [x / cell - at(x) - 0.5, y / cell - at(y) - 0.5];
        values.push(Math.log((right - left) / cell), Math.log((bottom - top) / cell));
        for (const [n, value] of values.entries()) boxes[n * cells * cells + i] = value;
        return { centre, boxes };
      },
      segment: byColour(0.62),
      refine: byColour(0.6),
    };
  }

  function byColour(darkest: number): Networks["segment"] {
    return async (crop) => {
      const head = newPlane(32, 32);
      const neck = newPlane(32, 32);
      for (let i = 0; i < head.data.length; i++) {
        const value = (crop.data[i * 4] / 255 - darkest) * 5;
        head.data[i] = Math.min(1, Math.max(0, value));
        neck.data[i] = i >= 17 * 32 ? 1 - head.data[i] : 0;
      }
      return { head, neck };
    };
  }

  test.each(golden.cuts as { neck: keyof typeof NECKS }[])("a whole cut is Python's: neck $neck", async (cut) => {
    const { proposed, confidence, seenBox, box, rgba } = cut as unknown as Record<string, never> & {
      proposed: Head;
      confidence: number;
      seenBox: Box;
      box: Box;
      rgba: Packed;
    };
    const networks = madeNetworks(proposed);
    const [first] = await lookForHeads(photo, networks);
    expect(first.head.confidence).toBeCloseTo(confidence, 4);
    const neck = NECKS[cut.neck];
    const seen = await lookAgain(photo, first, neck, networks);
    expect(difference(seen.box, seenBox)).toBeLessThan(1e-3);
    const pasted = alphaOf(seen, neck, photo);
    expect(pasted.covered).toEqual(coveredPixels(seen.box, photo));
    const made = cutOut(cropPicture(photo, pasted.covered), pasted);
    expect(made?.box).toEqual(box);
    expect(difference(made?.picture.data ?? [], picture(rgba).data)).toBeLessThanOrEqual(2);
  });

  test("a further look that loses most of the head is not believed", async () => {
    const proposed: Head = { box: [50, 12, 92, 66], confidence: 0.9 };
    const networks = madeNetworks(proposed);
    const [first] = await lookForHeads(photo, networks);
    networks.segment = networks.refine = async () => {
      const head = newPlane(32, 32);
      head.data.fill(1, 16 * 32 + 14, 16 * 32 + 18);
      return { head, neck: newPlane(32, 32) };
    };
    expect((await lookAgain(photo, first, NECKS.none, networks)).masks).toBe(first.masks);
  });
});
