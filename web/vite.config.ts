import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";
import { CSP, HEADERS } from "./src/policy";

/** What is loaded only where a GPU may be faster: ONNX Runtime's build for them. */
const FOR_GPUS = /[.]jspi[.-]/;

const BUILT = "../src/headcut/web/built";
const MODELS = "../src/headcut/models";

/** Write the page's policy into it, and what the service worker keeps into that. */
function policyAndFiles(): Plugin {
  return {
    name: "headcut",
    apply: "build",
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: CSP },
        injectTo: "head-prepend",
      },
    ],
    closeBundle() {
      const files = readdirSync(BUILT, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(BUILT.length + 1))
        .filter((name) => !["sw.js", "headers.json", "_headers"].includes(name))
        .sort();
      const hash = createHash("sha256");
      for (const file of files) hash.update(readFileSync(join(BUILT, file)));
      const forGpus = files.filter((file) => FOR_GPUS.test(file));
      const forAll = files.filter((file) => !FOR_GPUS.test(file));
      const models = readdirSync(MODELS)
        .filter((name) => name.endsWith(".onnx"))
        .map((name) => `models/${name}`);
      const kept = ["./", ...forAll, ...models];
      const inQuotes = (names: string[]) => JSON.stringify(names).replaceAll('"', '\\"');
      const path = join(BUILT, "sw.js");
      const worker = readFileSync(path, "utf8")
        .replace("__FILES__", inQuotes(kept))
        .replace("__KEPT_WHEN_USED__", inQuotes(forGpus))
        .replace("__VERSION__", hash.digest("hex").slice(0, 12));
      writeFileSync(path, worker);
      writeFileSync(join(BUILT, "headers.json"), `${JSON.stringify(HEADERS, null, 2)}\n`);
      const lines = Object.entries(HEADERS).map(([name, value]) => `  ${name}: ${value}\n`);
      writeFileSync(join(BUILT, "_headers"), `/*\n${lines.join("")}`);
    },
  };
}

export default defineConfig({
  base: "./",
  // ONNX Runtime's own loader and WebAssembly stay files of their own.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", "module", "browser", "production"] },
  plugins: [policyAndFiles()],
  worker: { format: "es" },
  build: {
    outDir: BUILT,
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    rollupOptions: {
      input: { index: "index.html", sw: "src/sw.ts" },
      output: { entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
});
