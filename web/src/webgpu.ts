/**
 * The networks on the GPU, where that is faster. All begin with WebAssembly; what is tried here costs
 * nothing before a photo is cut, and nothing at all without a GPU.
 */

import loaderUrl from "onnxruntime-web/ort-wasm-simd-threaded.jspi.mjs?url";
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm?url";
import { FILES, fetchBytes, type LoadedNetworks, openNetworks } from "./model";
import type { Networks } from "./pipeline";
import type { Picture } from "./resample";

const TIMED_RUNS = 5;

/** Answers may be this far from WebAssembly's: two levels of a picture's alpha. */
const MOST_APART = 2 / 255;

/** A crop for each network, of a photo with a head. */
export interface Crops {
  find: Picture;
  segment: Picture;
  refine: Picture;
}

type InTurn = <T>(task: () => Promise<T>) => Promise<T>;

/**
 * Return the networks on the GPU if they say the same there, sooner.
 *
 * @param isAsked whether the GPU is wanted even if it is slower, or only software
 * @param inTurn runs a task while no other work is done
 * @throws Error if there is no GPU, or it is no better; WebAssembly stays
 */
export async function fasterNetworks(
  wasm: Networks,
  folder: string,
  crops: Crops,
  isAsked: boolean,
  inTurn: InTurn,
): Promise<Networks> {
  await needGpu(isAsked);
  const gpu = await loadOnGpu(folder);
  try {
    await compare(gpu, wasm, crops, isAsked, inTurn);
  } catch (error) {
    await gpu.release();
    throw error;
  }
  return untilItFails(gpu, wasm);
}

async function needGpu(isSoftwareEnough: boolean): Promise<void> {
  // This build of ONNX Runtime waits for the GPU by WebAssembly's JavaScript Promise Integration.
  if (!("Suspending" in WebAssembly)) throw new Error("this browser has no JSPI");
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error("this browser gives no GPU");
  if (adapter.info.isFallbackAdapter && !isSoftwareEnough) throw new Error("no GPU but software");
}

async function loadOnGpu(folder: string): Promise<LoadedNetworks> {
  const ort = await import("onnxruntime-web/jspi");
  const [mjs, wasm] = [loaderUrl, wasmUrl].map((url) => new URL(url, import.meta.url).href);
  ort.env.wasm.wasmPaths = { mjs, wasm };
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const files = await Promise.all(FILES.map((name) => fetchBytes(new URL(name, folder).href)));
  return openNetworks(ort, files, "webgpu");
}

/**
 * Compare what both say, and how soon.
 *
 * @throws Error if the GPU says something else, or is slower and not asked for
 */
export async function compare(
  gpu: Networks,
  wasm: Networks,
  crops: Crops,
  isAsked: boolean,
  inTurn: InTurn,
): Promise<void> {
  const apart = difference(await answers(gpu, crops), await inTurn(() => answers(wasm, crops)));
  if (!(apart <= MOST_APART)) throw new Error(`the GPU's answers differ by ${apart}`);
  const { gpuMs, wasmMs } = await timed(gpu, wasm, crops, inTurn);
  const ms = `GPU ${gpuMs.toFixed(1)} ms, WebAssembly ${wasmMs.toFixed(1)} ms`;
  console.info(`${ms}, answers ${apart.toExponential(0)} apart`);
  if (gpuMs > wasmMs && !isAsked) throw new Error("the GPU is slower");
}

async function answers(networks: Networks, crops: Crops): Promise<Float32Array[]> {
  const { centre, boxes } = await networks.find(crops.find);
  const segmented = await networks.segment(crops.segment);
  const refined = await networks.refine(crops.refine);
  const planes = [segmented, refined].flatMap(({ head, neck }) => [head.data, neck.data]);
  return [centre.data, boxes, ...planes];
}

/** Return the largest difference; NaN if anything is NaN. */
function difference(some: Float32Array[], others: Float32Array[]): number {
  let most = 0;
  for (const [i, values] of some.entries()) {
    for (const [j, value] of values.entries()) most = Math.max(most, Math.abs(value - others[i][j]));
  }
  return most;
}

/** Return the fastest of a few warm runs of each; a GPU that is far behind is not waited for. */
async function timed(
  gpu: Networks,
  wasm: Networks,
  crops: Crops,
  inTurn: InTurn,
): Promise<{ gpuMs: number; wasmMs: number }> {
  const run = (networks: Networks) =>
    inTurn(async () => {
      const start = performance.now();
      await answers(networks, crops);
      return performance.now() - start;
    });
  let [gpuMs, wasmMs] = [Infinity, Infinity];
  for (let i = 0; i < TIMED_RUNS; i++) {
    wasmMs = Math.min(wasmMs, await run(wasm));
    gpuMs = Math.min(gpuMs, await run(gpu));
    if (gpuMs > 4 * wasmMs) break;
  }
  return { gpuMs, wasmMs };
}

/** Browsers take the GPU away, as from a laptop that wakes up: then WebAssembly goes on. */
export function untilItFails(gpu: Networks, wasm: Networks): Networks {
  let hasFailed = false;
  const orWasm =
    <T>(onGpu: (crop: Picture) => Promise<T>, onWasm: (crop: Picture) => Promise<T>) =>
    async (crop: Picture) => {
      try {
        if (!hasFailed) return await onGpu(crop);
      } catch (error) {
        hasFailed = true;
        console.info(`WebAssembly goes on: ${error}`);
      }
      return onWasm(crop);
    };
  return {
    ...wasm,
    find: orWasm(gpu.find, wasm.find),
    segment: orWasm(gpu.segment, wasm.segment),
    refine: orWasm(gpu.refine, wasm.refine),
  };
}
