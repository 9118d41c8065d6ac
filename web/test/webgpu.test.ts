/** When the GPU is taken. Here its part is played; tests/test_page.py has a real WebGPU. */

import { describe, expect, test, vi } from "vitest";
import type { Networks } from "../src/pipeline";
import { newPicture, newPlane } from "../src/resample";
import { compare, untilItFails } from "../src/webgpu";

vi.spyOn(console, "info").mockImplementation(() => {});

const crops = { find: newPicture(4, 4), segment: newPicture(4, 4), refine: newPicture(4, 4) };
const inTurn = <T>(task: () => Promise<T>) => task();

/** Networks that take some time and give one value everywhere. */
function made(ms: number, value: number): Networks {
  const plane = () => ({ ...newPlane(4, 4), data: new Float32Array(16).fill(value) });
  const masks = () => wait().then(() => ({ head: plane(), neck: plane() }));
  const wait = () => new Promise((resolve) => setTimeout(resolve, ms));
  return {
    finderSize: 4,
    segmenterSize: 4,
    refinerSize: 4,
    threshold: 0.5,
    calibration: null as never,
    find: () => wait().then(() => ({ centre: plane(), boxes: plane().data })),
    segment: masks,
    refine: masks,
  };
}

describe("the GPU", () => {
  const tried = (gpu: Networks, isAsked = false) => compare(gpu, made(15, 0.5), crops, isAsked, inTurn);

  test("is taken if it is faster and says the same", async () => {
    await expect(tried(made(1, 0.501))).resolves.toBeUndefined();
  });

  test("is not taken if it says something else, even if asked for", async () => {
    await expect(tried(made(1, 0.51), true)).rejects.toThrow("differ");
    await expect(tried(made(1, NaN), true)).rejects.toThrow("differ");
  });

  test("is not taken if it is slower, unless asked for", async () => {
    await expect(tried(made(40, 0.5))).rejects.toThrow("slower");
    await expect(tried(made(40, 0.5), true)).resolves.toBeUndefined();
  });

  test("that fails later leaves the work to WebAssembly", async () => {
    const find = vi.fn().mockRejectedValue(new Error("device lost"));
    const networks = untilItFails({ ...made(0, 1), find }, made(0, 0.25));
    expect((await networks.segment(crops.segment)).head.data[0]).toBe(1);
    for (let i = 0; i < 2; i++) expect((await networks.find(crops.find)).boxes[0]).toBe(0.25);
    expect((await networks.segment(crops.segment)).head.data[0]).toBe(0.25);
    expect((await networks.refine(crops.refine)).head.data[0]).toBe(0.25);
    expect(find).toHaveBeenCalledTimes(1);
  });
});
