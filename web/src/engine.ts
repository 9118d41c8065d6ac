/** The page's side of the worker: each call is a promise. */

import type { Call, Reply, Work } from "./protocol";

/** Start the worker; `onProgress` gets what it reports, in [0, 1]. */
export function startWorker(onProgress: (share: number) => void): Work {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const open = new Map<number, { resolve: (value: never) => void; reject: (e: Error) => void }>();
  let calls = 0;
  worker.onmessage = ({ data }: MessageEvent<Reply>) => {
    if ("progress" in data) {
      onProgress(data.progress);
      return;
    }
    const call = open.get(data.id);
    open.delete(data.id);
    if ("error" in data) call?.reject(new Error(data.error));
    else call?.resolve(data.result as never);
  };
  worker.onerror = (event) => {
    for (const { reject } of open.values()) reject(new Error(event.message));
    open.clear();
  };
  const ask =
    <Name extends keyof Work>(name: Name) =>
    (...given: unknown[]) =>
      new Promise<never>((resolve, reject) => {
        const id = calls++;
        open.set(id, { resolve, reject });
        worker.postMessage({ id, name, given } satisfies Call);
      });
  return {
    load: ask("load"),
    tryGpu: ask("tryGpu"),
    open: ask("open"),
    lift: ask("lift"),
    preview: ask("preview"),
    save: ask("save"),
    pair: ask("pair"),
  };
}
