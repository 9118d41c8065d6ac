/** The networks: their files, what these say of themselves, and ONNX Runtime that runs them. */

import * as ort from "onnxruntime-web/wasm";
import loaderUrl from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { parseCalibration } from "./find";
import type { Networks } from "./pipeline";
import type { Backend } from "./protocol";
import type { Picture, Plane } from "./resample";

/** The networks as some build of ONNX Runtime runs them. */
export type LoadedNetworks = Networks & { release: () => Promise<void> };

/** The files of the networks, in the order of `openNetworks`. */
export const FILES = ["finder.onnx", "segmenter.onnx", "refiner.onnx"];

/** More threads than this make networks this small slower. */
const MAX_THREADS = 4;

/**
 * Load the networks.
 *
 * @param folder where their files are
 * @param wantedThreads at most so many; as many as are useful if null
 * @param onProgress the share of the bytes that is here
 */
export async function loadNetworks(
  folder: string,
  wantedThreads: number | null,
  onProgress: (share: number) => void,
): Promise<Networks & { threads: number }> {
  ort.env.wasm.wasmPaths = { mjs: new URL(loaderUrl, import.meta.url).href };
  ort.env.wasm.numThreads = Math.min(usableThreads(), wantedThreads ?? MAX_THREADS);
  ort.env.logLevel = "error";
  const urls = [
    new URL(wasmUrl, import.meta.url),
    ...FILES.map((name) => new URL(name, folder)),
  ];
  const shares = urls.map(() => 0);
  const [wasm, ...files] = await Promise.all(
    urls.map(({ href }, i) =>
      fetchBytes(href, (share) => {
        shares[i] = share;
        onProgress(shares.reduce((sum, share) => sum + share) / urls.length);
      }),
    ),
  );
  ort.env.wasm.wasmBinary = wasm;
  const networks = await openNetworks(ort, files, "wasm");
  ort.env.wasm.wasmBinary = undefined;
  return { ...networks, threads: ort.env.wasm.numThreads };
}

/** Open the networks' files, those of `FILES`, with a build of ONNX Runtime. */
export async function openNetworks(
  ort: typeof import("onnxruntime-web"),
  files: Uint8Array[],
  backend: Backend,
): Promise<LoadedNetworks> {
  const metadata = files.map(readMetadata);
  const [finderSize, segmenterSize, refinerSize] = metadata.map(({ size }) => Number(size));
  const options = { executionProviders: [backend] };
  const sessions: ort.InferenceSession[] = [];
  const release = async () => {
    for (const session of sessions) await session.release();
  };
  try {
    for (const file of files) sessions.push(await ort.InferenceSession.create(file, options));
  } catch (reason) {
    await release();
    throw reason;
  }
  const [finder, segmenter, refiner] = sessions;
  const tensor = (crop: Picture) =>
    new ort.Tensor("float32", planesOf(crop), [1, 3, crop.height, crop.width]);
  const masksBy = (session: ort.InferenceSession) => async (crop: Picture) => {
    const { mask, neck } = await session.run({ image: tensor(crop) });
    const none = { ...plane(mask), data: new Float32Array(mask.size) };
    return { head: plane(mask), neck: neck ? plane(neck) : none };
  };
  return {
    finderSize,
    segmenterSize,
    refinerSize,
    threshold: Number(metadata[0].threshold),
    calibration: parseCalibration(metadata[0].calibration ?? ""),
    find: async (crop) => {
      const { centre, box } = await finder.run({ image: tensor(crop) });
      return { centre: plane(centre), boxes: box.data as Float32Array };
    },
    segment: masksBy(segmenter),
    refine: masksBy(refiner),
    release,
  };
}

/** One where the page may not share memory between threads, and on iOS, which runs short of it. */
function usableThreads(): number {
  const isIos = /iPhone|iPad|iPod/.test(navigator.userAgent);
  const isIpad = navigator.userAgent.includes("Macintosh") && navigator.maxTouchPoints > 1;
  if (!self.crossOriginIsolated || isIos || isIpad) return 1;
  return Math.min(MAX_THREADS, navigator.hardwareConcurrency || 1);
}

export async function fetchBytes(
  url: string,
  onProgress: (share: number) => void = () => {},
): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok || !response.body) throw new Error(`${response.status} for ${url}`);
  const total = Number(response.headers.get("content-length"));
  const parts: Uint8Array[] = [];
  let count = 0;
  const reader = response.body.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    parts.push(next.value);
    count += next.value.length;
    onProgress(total ? Math.min(1, count / total) : 0);
  }
  const bytes = new Uint8Array(count);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Return planes of red, green and blue from 0 to 255: normalisation is inside the graph. */
function planesOf(crop: Picture): Float32Array {
  const pixels = crop.width * crop.height;
  const planes = new Float32Array(3 * pixels);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++) planes[c * pixels + i] = crop.data[i * 4 + c];
  }
  return planes;
}

function plane(tensor: ort.Tensor): Plane {
  const [height, width] = tensor.dims.slice(-2);
  return { width, height, data: tensor.data as Float32Array };
}

const METADATA_FIELD = 14;

/**
 * Return what an ONNX file says of itself: the metadata_props of its ModelProto.
 *
 * ONNX Runtime Web does not give them, so the file's protocol buffer is read here.
 */
export function readMetadata(file: Uint8Array): Record<string, string> {
  const metadata: Record<string, string> = {};
  for (const { field, bytes } of fieldsOf(file)) {
    if (field !== METADATA_FIELD || !bytes) continue;
    const texts: Record<number, string> = {};
    for (const part of fieldsOf(bytes)) texts[part.field] = new TextDecoder().decode(part.bytes);
    metadata[texts[1]] = texts[2] ?? "";
  }
  return metadata;
}

/** Yield the fields of a protocol buffer's message; bytes where they have a length. */
function* fieldsOf(message: Uint8Array): Generator<{ field: number; bytes?: Uint8Array }> {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      value += (byte & 127) * factor;
      if (!(byte & 128)) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const field = Math.floor(key / 8);
    const kind = key % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind !== 2) throw new Error("not an ONNX file");
    if (kind !== 2) {
      yield { field };
      continue;
    }
    const length = varint();
    yield { field, bytes: message.subarray(at, at + length) };
    at += length;
  }
}
