/** The page: what people see and touch. Everything that takes long is the worker's. */

import sampleUrl from "../../src/headcut/sample.jpg?url";
import { startWorker } from "./engine";
import { NECKS } from "./neck";
import { type Background, type Choice, type Frame, type Opened, UNREADABLE } from "./protocol";
import { Stage } from "./stage";
import { WORDS } from "./words";

const element = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;
const button = (id: string) => element<HTMLButtonElement>(id);
const input = (id: string) => element<HTMLInputElement>(id);

type Tab = keyof typeof WORDS.tabs;

/** What is on screen. */
const state = {
  tab: "look" as Tab,
  name: "photo",
  opened: null as Opened | null,
  choice: freshChoice(0),
};

const worker = startWorker((share) => {
  element<HTMLProgressElement>("progress").value = share;
});
const stage = new Stage(element<HTMLCanvasElement>("stage"), {
  onHead: (i) => toggleHead(i),
  onStroke: (stroke) => {
    state.choice.strokes.push(stroke);
    refresh();
  },
});

function freshChoice(heads: number): Choice {
  return {
    heads: Array.from({ length: heads }, () => true),
    neck: NECKS.none,
    strokes: [],
    frame: "head",
    padding: 0,
    outline: 0,
    outlineColour: "#ffffff",
    background: { kind: "transparent" },
  };
}

// ---------------------------------------------------------------- messages

function say(text: string, isProblem = false): void {
  const message = element("message");
  message.textContent = text;
  message.classList.toggle("problem", isProblem);
}

document.addEventListener("pointerdown", () => {
  if (element("message").classList.contains("problem")) say("");
});

function setBusy(word: string | null): void {
  element("busy").hidden = word === null;
  element("busy-word").textContent = word ?? "";
  // Loading began before anybody waited for it.
  if (word && word !== WORDS.loading) element("progress").removeAttribute("value");
  element("editor").setAttribute("aria-busy", String(word !== null));
}

/** Do something that may fail, and say so if it does. */
async function attempt<T>(task: () => Promise<T>): Promise<T | undefined> {
  try {
    return await task();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (error instanceof DOMException && error.name === "AbortError") return undefined;
    const isMemory = /memory|allocat/i.test(reason);
    say(isMemory ? WORDS.tooMuch : WORDS.failed(reason), true);
    return undefined;
  } finally {
    setBusy(null);
  }
}

// ---------------------------------------------------------------- photos

/** To compare: `?threads=1`, `?backend=wasm` or `webgpu`. */
const switches = new URL(location.href).searchParams;

const loaded = (async () => {
  const threads = switches.get("threads");
  const { threads: used } = await worker.load(threads ? Number(threads) : null);
  document.documentElement.dataset.threads = String(used);
})().catch(() => {
  throw new Error(WORDS.notLoaded);
});
loaded.catch(({ message }) => say(message, true));

async function openPhoto(file: Blob, name: string): Promise<void> {
  say("");
  setBusy(WORDS.loading);
  element("editor").inert = true; // what is chosen now belongs to the photo before
  try {
    await loaded;
    setBusy(WORDS.looking);
    const opened = await worker.open(file);
    state.opened = opened;
    state.name = name.replace(/\.[^.]*$/, "") || "photo";
    state.choice = { ...state.choice, ...{ heads: opened.heads.map(() => true), strokes: [] } };
    document.documentElement.dataset.ms = JSON.stringify(opened.ms);
    stage.open(opened);
    drawHeads();
    element("start").hidden = true;
    element("editor").hidden = false;
    button("another").hidden = false;
    showTab(opened.heads.length ? "look" : "brush");
    element("editor").inert = false;
    if (document.activeElement === document.body) button(`tab-${state.tab}`).focus();
    say(opened.heads.length ? WORDS.found(opened.heads.length) : WORDS.noHead);
    await refresh();
    if (opened.heads.length) void tryGpu();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const isHeic = /\.hei[cf]$/i.test(name) || /hei[cf]/.test(file.type);
    if (reason === UNREADABLE) say(isHeic ? WORDS.heic : WORDS.unreadable, true);
    else say(/memory|allocat/i.test(reason) ? WORDS.tooMuch : WORDS.failed(reason), true);
  } finally {
    element("editor").inert = false;
    setBusy(null);
  }
}

let wasGpuTried = false;

/** Once there is a photo to try it with, see whether a GPU runs the networks faster. */
async function tryGpu(): Promise<void> {
  if (wasGpuTried) return;
  wasGpuTried = true;
  const asked = switches.get("backend");
  const used = asked === "wasm" ? asked : await worker.tryGpu(asked === "webgpu");
  document.documentElement.dataset.backend = used;
}

function wayIn(buttonId: string, inputId: string): void {
  button(buttonId).addEventListener("click", () => input(inputId).click());
}

wayIn("choose", "file");
wayIn("take", "camera");
wayIn("another", "file");
for (const id of ["file", "camera"]) {
  input(id).addEventListener("change", () => {
    const file = input(id).files?.[0];
    input(id).value = "";
    if (file) void openPhoto(file, file.name);
  });
}
button("sample").addEventListener("click", () =>
  attempt(async () => {
    const sample = await fetch(sampleUrl);
    if (!sample.ok) throw new Error(String(sample.status));
    await openPhoto(await sample.blob(), "sample.jpg");
  }),
);
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith("image/"));
  if (file) void openPhoto(file, file.name);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  element("drop").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) element("drop").hidden = true;
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop").hidden = true;
  const file = event.dataTransfer?.files[0];
  if (file) void openPhoto(file, file.name);
});

// ---------------------------------------------------------------- what is shown

let isShowing = false;
let isStale = false;

/** Show what is chosen now; what changes meanwhile is shown at once when that is done. */
async function refresh(): Promise<void> {
  if (!state.opened) return;
  isStale = true;
  element("stage").dataset.settled = "false";
  button("undo").disabled = state.choice.strokes.length === 0;
  if (isShowing) return;
  isShowing = true;
  while (isStale) {
    isStale = false;
    const slow = setTimeout(() => setBusy(WORDS.working), 400);
    await attempt(show);
    clearTimeout(slow);
  }
  isShowing = false;
  element("stage").dataset.settled = "true";
}

async function show(): Promise<void> {
  const { tab } = state;
  const ask = tab === "look" ? worker.preview : worker.lift;
  const picture = await ask(state.choice);
  if (tab !== state.tab) return picture?.close();
  stage.show(picture, tab === "look" ? "result" : tab);
  for (const id of ["save", "copy", "share", "pair"]) button(id).disabled = picture === null;
  element("stage").setAttribute("aria-label", tab === "look" ? WORDS.result : WORDS.stage);
  if (!picture && state.opened?.heads.length) say(WORDS.nothingChosen);
}

function change(changed: Partial<Choice>): void {
  Object.assign(state.choice, changed);
  void refresh();
}

function showTab(tab: Tab): void {
  state.tab = tab;
  for (const name of Object.keys(WORDS.tabs)) {
    const isShown = name === tab;
    const chip = button(`tab-${name}`);
    chip.setAttribute("aria-selected", String(isShown));
    chip.tabIndex = isShown ? 0 : -1;
    element(`panel-${name}`).hidden = !isShown;
  }
}

const tabs = ["look", "heads", "brush"] as const;
for (const [i, name] of tabs.entries()) {
  const tab = button(`tab-${name}`);
  const choose = (chosen: Tab) => {
    showTab(chosen);
    void refresh();
  };
  tab.addEventListener("click", () => choose(name));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    choose(next);
    button(`tab-${next}`).focus();
  });
}

// ---------------------------------------------------------------- heads

function toggleHead(i: number): void {
  state.choice.heads[i] = !state.choice.heads[i];
  chooseHeads(state.choice.heads);
}

function chooseHeads(heads: boolean[]): void {
  state.choice.heads = heads;
  markHeads();
  say("");
  void refresh();
}

/** Make a button for each head, and one for all of several. */
function drawHeads(): void {
  const chips = (state.opened?.heads ?? []).map((head, i) => {
    const chip = chipButton(WORDS.head(i + 1), () => toggleHead(i));
    chip.prepend(stage.thumbnail(head.box));
    return chip;
  });
  const all = chipButton(WORDS.allHeads, () => {
    const { heads } = state.choice;
    chooseHeads(heads.map(() => !heads.every(Boolean)));
  });
  element("heads").replaceChildren(...chips, ...(chips.length > 1 ? [all] : []));
  markHeads();
}

/** Show which heads are chosen. */
function markHeads(): void {
  const { heads } = state.choice;
  const chosen = [...heads, heads.every(Boolean)];
  for (const [i, chip] of [...element("heads").children].entries()) {
    chip.setAttribute("aria-pressed", String(chosen[i]));
  }
}

function chipButton(label: string, onClick: () => void): HTMLButtonElement {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.append(Object.assign(document.createElement("span"), { textContent: label }));
  chip.addEventListener("click", onClick);
  return chip;
}

// ---------------------------------------------------------------- choices

/** Fill a fieldset with radio buttons. */
function radios(
  id: string,
  options: Record<string, string>,
  chosen: string,
  onChoose: (value: string) => void,
): void {
  for (const [value, label] of Object.entries(options)) {
    const holder = document.createElement("label");
    const radio = document.createElement("input");
    Object.assign(radio, { type: "radio", name: id, value, checked: value === chosen });
    radio.addEventListener("change", () => onChoose(value));
    holder.append(radio, Object.assign(document.createElement("span"), { textContent: label }));
    holder.title = label;
    element(id).append(holder);
  }
}

radios("frame", WORDS.frames, "head", (value) => change({ frame: value as Frame }));
radios("brush", { add: WORDS.add, erase: WORDS.erase }, "add", (value) => {
  stage.brush.adds = value === "add";
});

const { transparent, ...pictures } = WORDS.backgrounds;
const backgrounds = { transparent, ...WORDS.colours, own: WORDS.ownColour, ...pictures };
radios("background", backgrounds, "transparent", (value) => chooseBackground(value));
for (const holder of element("background").querySelectorAll("label")) {
  const value = holder.querySelector("input")?.value ?? "";
  const swatch = holder.querySelector("span") as HTMLElement;
  swatch.className = `swatch ${value.startsWith("#") ? "" : value}`;
  if (value.startsWith("#")) swatch.style.backgroundColor = value;
}
const ownColour = document.createElement("input");
Object.assign(ownColour, { type: "color", value: "#b39ddb", id: "own-colour", hidden: true });
ownColour.setAttribute("aria-label", WORDS.ownColour);
element("background").append(ownColour);
ownColour.addEventListener("input", () => chooseBackground("own"));

function chooseBackground(value: string): void {
  ownColour.hidden = value !== "own";
  if (value === "picture") return; // a click on it asks for a file
  const colour = value === "own" ? ownColour.value : value;
  const isColour = colour.startsWith("#");
  change({
    background: isColour ? { kind: "colour", colour } : ({ kind: value } as Background),
  });
}

element("background").addEventListener("click", (event) => {
  if ((event.target as HTMLInputElement).value === "picture") input("picture").click();
});
input("picture").addEventListener("change", () => {
  const file = input("picture").files?.[0];
  input("picture").value = "";
  if (file) change({ background: { kind: "picture", file } });
});
input("picture").addEventListener("cancel", () => {
  const { background } = state.choice;
  const value = background.kind === "colour" ? background.colour : background.kind;
  const swatch = (name: string) =>
    document.querySelector<HTMLInputElement>(`#background [value="${name}"]`);
  const chosen = swatch(value) ?? swatch("own");
  if (chosen) chosen.checked = true;
  ownColour.hidden = chosen?.value !== "own";
});
input("neck").addEventListener("input", () => {
  showNeck();
  change({ neck: input("neck").valueAsNumber });
});
input("outline").addEventListener("input", () => change({ outline: input("outline").valueAsNumber }));
input("outline-colour").setAttribute("aria-label", WORDS.outlineColour);
input("outline-colour").addEventListener("input", () =>
  change({ outlineColour: input("outline-colour").value }),
);
input("room").addEventListener("input", () => change({ padding: input("room").valueAsNumber }));
input("brush-size").addEventListener("input", () => {
  stage.brush.share = input("brush-size").valueAsNumber / 100;
});

function showNeck(): void {
  const share = WORDS.neckShare(input("neck").valueAsNumber);
  input("neck").setAttribute("aria-valuetext", share);
  element("neck-share").textContent = share;
}

function undo(): void {
  if (state.choice.strokes.pop()) void refresh();
}

button("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && state.opened) {
    event.preventDefault();
    undo();
  }
});

const compare = button("compare");
compare.title = WORDS.compare;
compare.setAttribute("aria-label", WORDS.compare);
for (const kind of ["pointerdown", "pointerup", "pointerleave", "pointercancel", "blur"]) {
  compare.addEventListener(kind, () => stage.compare(kind === "pointerdown"));
}
compare.addEventListener("keydown", ({ key }) => stage.compare(key === " " || key === "Enter"));
compare.addEventListener("keyup", () => stage.compare(false));

// ---------------------------------------------------------------- out

function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function result(): Promise<Blob> {
  setBusy(WORDS.working);
  const blob = await worker.save(state.choice);
  if (!blob) throw new Error(WORDS.nothingChosen);
  return blob;
}

button("save").addEventListener("click", () =>
  attempt(async () => {
    download(await result(), `${state.name}-head.png`);
    say(WORDS.saved);
  }),
);

const canCopy = "ClipboardItem" in window && Boolean(navigator.clipboard);
button("copy").hidden = !canCopy;
button("copy").addEventListener("click", () =>
  attempt(async () => {
    // Safari wants the promise, not the picture: the click must not be over.
    await navigator.clipboard.write([new ClipboardItem({ "image/png": result() })]);
    say(WORDS.copied);
  }),
);

const probe = new File([""], "head.png", { type: "image/png" });
button("share").hidden = !navigator.canShare?.({ files: [probe] });
button("share").addEventListener("click", () =>
  attempt(async () => {
    const file = new File([await result()], `${state.name}-head.png`, { type: "image/png" });
    await navigator.share({ files: [file] });
  }),
);

button("pair").addEventListener("click", () =>
  attempt(async () => {
    setBusy(WORDS.working);
    const pair = await worker.pair(state.choice);
    if (!pair) throw new Error(WORDS.nothingChosen);
    download(pair.photo, `${state.name}.png`);
    download(pair.mask, `${state.name}_mask.png`);
    say(WORDS.pairSaved);
  }),
);

// ---------------------------------------------------------------- start

for (const holder of document.querySelectorAll<HTMLElement>("[data-word]")) {
  const path = (holder.dataset.word ?? "").split(".");
  holder.textContent = String(path.reduce((at, key) => (at as never)[key], WORDS as unknown));
}
showNeck();
button("take").hidden = !matchMedia("(pointer: coarse)").matches;
element("drop-hint").hidden = matchMedia("(pointer: coarse)").matches;
if (import.meta.env.PROD && "serviceWorker" in navigator) {
  void navigator.serviceWorker.register("./sw.js");
}
