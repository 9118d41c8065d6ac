/**
 * The service worker: all files are kept at the first visit, so that the page works offline; those
 * that not every device needs, when they are first asked for.
 *
 * Names in assets/ hold a hash of what is in them, so the kept copy is as good; others are asked
 * for first. It adds the page's headers too, for hosts that cannot be told to send them.
 */

import { HEADERS } from "./policy";

declare const self: ServiceWorkerGlobalScope;

/** Filled in by the build: the page's files, those kept when used, and a name that changes with them. */
const FILES: string[] = JSON.parse("__FILES__");
const KEPT_WHEN_USED: string[] = JSON.parse("__KEPT_WHEN_USED__");
const CACHE = "headcut-__VERSION__";

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll(FILES))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(removeOldCaches().then(() => self.clients.claim()));
});

async function removeOldCaches(): Promise<void> {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith("headcut-") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  url.search = "";
  const known = new Set(
    [...FILES, ...KEPT_WHEN_USED].map((file) => new URL(file, self.registration.scope).href),
  );
  if (event.request.method === "GET" && known.has(url.href)) {
    event.respondWith(answer(event.request, url.href));
  }
});

async function answer(request: Request, url: string): Promise<Response> {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(url);
  if (kept && url.includes("/assets/")) return withHeaders(kept);
  try {
    const fresh = await fetch(request);
    if (fresh.ok) await cache.put(url, fresh.clone());
    return withHeaders(fresh);
  } catch (error) {
    if (kept) return withHeaders(kept);
    throw error;
  }
}

function withHeaders(response: Response): Response {
  const { status, statusText } = response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status, statusText, headers });
}
