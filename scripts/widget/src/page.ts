/** The page: takes files, shows what the worker says of them. */

import type { FromWorker, Hit, Ranked, ToWorker, WidgetSettings } from "./protocol";
import { View } from "./view";

const SHOWN_LABELS = 8;
// A file that takes longer to be read is given up, and the worker with it.
const TIME_LIMIT = 90_000;
// A worker that says nothing for so long while it loads is started again, without threads.
const LOAD_LIMIT = 30_000;
const MIB = 2 ** 20;

const element = <Kind extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as Kind;

let settings: WidgetSettings;
let view: View | null = null;
let worker: Worker | null = null;
let isReady = false;
let waiting: Map<string, Uint8Array> | null = null;
let timer = 0;
let loadTimer = 0;
let mayThread = true;
let labelsWanted: string[] = [];

function send(message: ToWorker): void {
    worker!.postMessage(message);
}

function startWorker(): void {
    worker?.terminate();
    isReady = false;
    // The text model was the other worker's.
    element("texts-form").hidden = true;
    element("texts-size").hidden = element<HTMLButtonElement>("texts-size").disabled = false;
    worker = new Worker("worker.js", { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => receive(data);
    worker.onerror = (event) => {
        event.preventDefault();
        problem("The computation stopped, perhaps for want of memory. Try a smaller file.");
        startWorker();
    };
    send({ type: "load", settings, base: document.baseURI, mayThread });
    watchLoading();
}

function watchLoading(): void {
    clearTimeout(loadTimer);
    if (isReady || !mayThread) return;
    loadTimer = setTimeout(() => {
        mayThread = false;
        startWorker();
    }, LOAD_LIMIT);
}

function receive(message: FromWorker): void {
    if (message.type === "ready") isReady = true;
    if (message.type === "failed" && message.what === "load") clearTimeout(loadTimer);
    else watchLoading();
    switch (message.type) {
        case "progress":
            return progress(`Loading: ${message.text}`, message.share);
        case "ready":
            document.body.dataset.ready = "true";
            progress(message.numLabels ? "Ready. Give it a shape." : "Ready. This page has no labels of its own.", undefined);
            element("runtime").textContent =
                `Encoder ${message.name === "encoder" ? "" : message.name + ", "}of ${message.numPoints.toLocaleString("en")} points, by ${message.backend}` +
                (message.threads > 1 ? ` with ${message.threads} threads` : "");
            element("texts").hidden = !message.hasTextModels;
            element("collection-heading").textContent = `Nearest of ${message.collection.toLocaleString("en")} shapes`;
            if (waiting) read(waiting);
            return;
        case "shape":
            return showShape(message);
        case "result":
            finished();
            progress(`Classified in ${message.seconds.toFixed(2)} s on this machine.`, undefined);
            showLabels(message.ranked);
            showHits(message.hits);
            Object.assign(window, { lastEmbedding: message.embedding });
            document.body.dataset.result = message.name;
            return;
        case "textSize":
            element("texts-size").hidden = true;
            element("texts-form").hidden = false;
            element("texts-facts").textContent =
                `The text model is ${message.model} on huggingface.co, ${(message.bytes / MIB).toFixed(0)} MiB. It is fetched once ` +
                "you press the button. Your labels and shapes are not sent there.";
            element("texts-go").textContent = `Download ${(message.bytes / MIB).toFixed(0)} MiB and classify`;
            return;
        case "labels":
            element("texts-go").textContent = "Classify";
            element<HTMLButtonElement>("texts-go").disabled = false;
            element("texts-back").hidden = labelsWanted.length === 0;
            progress(message.ranked.length ? "Classified among these labels." : "The labels are ready. Give it a shape.", undefined);
            return showLabels(message.ranked);
        case "failed":
            return failed(message.what, message.message);
    }
}

function failed(what: "load" | "read" | "texts", message: string): void {
    if (what === "texts") {
        element("texts-problem").textContent = sentence(message);
        element("texts-problem").hidden = false;
        element<HTMLButtonElement>("texts-go").disabled = false;
        element<HTMLButtonElement>("texts-size").disabled = false;
        return progress("", undefined);
    }
    finished();
    element("view").hidden = true;
    progress(what === "load" ? "The encoder could not be loaded." : "Not classified.", undefined);
    problem(what === "load" ? sentence(message) : `${currentName()} cannot be read: ${message}.`);
}

function sentence(message: string): string {
    return message.charAt(0).toUpperCase() + message.slice(1).replace(/\.$/, "") + ".";
}

function currentName(): string {
    return document.body.dataset.reading || "The file";
}

/** `share` is null while it is not known, and undefined for no bar. */
function progress(text: string, share: number | null | undefined): void {
    element("status").textContent = text;
    const bar = element<HTMLProgressElement>("progress");
    bar.hidden = share === undefined;
    if (share === null || share === undefined) bar.removeAttribute("value");
    else bar.value = share;
}

function problem(text: string): void {
    element("problem").textContent = text;
    element("problem").hidden = !text;
}

function read(files: Map<string, Uint8Array>): void {
    problem("");
    document.body.dataset.reading = [...files.keys()].join(", ").slice(0, 120);
    delete document.body.dataset.result;
    if (!isReady) {
        waiting = files;
        return;
    }
    waiting = null;
    progress("Reading ...", null);
    showLabels([]);
    showHits([]);
    clearTimeout(timer);
    timer = setTimeout(() => {
        problem(`${currentName()} took too long. Try a smaller file.`);
        startWorker();
    }, TIME_LIMIT);
    send({ type: "read", name: "", files });
}

function finished(): void {
    clearTimeout(timer);
}

async function takeFiles(list: FileList | null | undefined): Promise<void> {
    if (!list?.length) return;
    try {
        const files = new Map<string, Uint8Array>();
        for (const file of list) files.set(file.name, new Uint8Array(await file.arrayBuffer()));
        read(files);
    } catch {
        problem("The file cannot be read. Is it a folder, or too large?");
    }
}

function showShape({ name, view: shape, facts, warnings }: Extract<FromWorker, { type: "shape" }>): void {
    progress("Embedding ...", null);
    element("view").hidden = false;
    element("name").textContent = name;
    element("facts").textContent = facts;
    element("warnings").replaceChildren(...warnings.map((text) => item(sentence(text))));
    element("left-side").hidden = shape.parts.length === 0;
    try {
        view ??= new View(element<HTMLCanvasElement>("canvas"));
        view.show(shape);
        showTurning();
    } catch {
        element("canvas").hidden = true;
        element("warnings").append(item("This browser cannot draw it (no WebGL). The labels are not affected."));
    }
}

function item(text: string): HTMLLIElement {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
}

function row(left: Node | string, right: string): HTMLLIElement {
    const line = document.createElement("li");
    const [first, second] = [document.createElement("span"), document.createElement("span")];
    first.append(left);
    second.textContent = right;
    line.append(first, second);
    return line;
}

function showLabels(ranked: Ranked[]): void {
    const rows = ranked.slice(0, SHOWN_LABELS).map(({ label, score }) => {
        const line = row(label, `${(100 * score).toFixed(1)}%`);
        line.style.setProperty("--share", `${100 * score}%`);
        return line;
    });
    element("bars").replaceChildren(...rows);
    element("scale").hidden = rows.length === 0;
}

function showHits(hits: Hit[]): void {
    element("collection").hidden = hits.length === 0;
    element("hits").replaceChildren(
        ...hits.map(({ name, url, cosine }) => {
            if (!url || !/^https:\/\//.test(url)) return row(name, cosine.toFixed(2));
            const link = document.createElement("a");
            link.href = url;
            link.textContent = name;
            return row(link, cosine.toFixed(2));
        }),
    );
}

function showTurning(): void {
    const button = element("turning");
    button.setAttribute("aria-pressed", String(view?.isTurning ?? false));
    button.textContent = view?.isTurning ? "Stop turning" : "Turn";
}

function listen(): void {
    element<HTMLInputElement>("file").addEventListener("change", (event) => {
        const input = event.target as HTMLInputElement;
        void takeFiles(input.files).then(() => (input.value = ""));
    });
    addEventListener("dragover", (event) => {
        event.preventDefault();
        document.body.classList.add("dragging");
    });
    addEventListener("dragleave", () => document.body.classList.remove("dragging"));
    addEventListener("drop", (event: DragEvent) => {
        event.preventDefault();
        document.body.classList.remove("dragging");
        void takeFiles(event.dataTransfer?.files);
    });
    const toggle = () => {
        if (view) view.isTurning = !view.isTurning;
        showTurning();
    };
    element("turning").addEventListener("click", toggle);
    element("canvas").addEventListener("keydown", (event) => {
        if (event.key !== " ") return;
        event.preventDefault();
        toggle();
    });
    element("texts-size").addEventListener("click", () => {
        element<HTMLButtonElement>("texts-size").disabled = true;
        element("texts-problem").hidden = true;
        send({ type: "textSize" });
    });
    element("texts-form").addEventListener("submit", (event) => {
        event.preventDefault();
        const typed = element<HTMLInputElement>("texts-labels").value.split(",").map((label) => label.trim());
        labelsWanted = [...new Set(typed.filter((label) => label))];
        element("texts-problem").hidden = labelsWanted.length > 0;
        element("texts-problem").textContent = "Type labels, such as: a chair, a lamp.";
        if (!labelsWanted.length) return;
        element<HTMLButtonElement>("texts-go").disabled = true;
        progress("Embedding the labels ...", null);
        send({ type: "texts", labels: labelsWanted });
    });
    element("texts-back").addEventListener("click", () => {
        labelsWanted = [];
        send({ type: "ownLabels" });
    });
}

/** Of the page, or of a model on the Hub: `?model=owner/name`, whose files lie in its folder onnx. */
async function readSettings(): Promise<WidgetSettings> {
    const response = await fetch("widget.json");
    if (!response.ok) throw new Error("widget.json is missing beside the page; mrd-hf push --widget writes it");
    const found = (await response.json()) as WidgetSettings;
    const model = new URLSearchParams(location.search).get("model");
    if (model === null) return found;
    if (!/^[\w.-]+\/[\w.-]+$/.test(model)) throw new Error("the model in the address is no name such as owner/name");
    return { ...found, title: model, encoder: `https://huggingface.co/${model}/resolve/main/onnx/`, collection: null };
}

async function start(): Promise<void> {
    listen();
    try {
        settings = await readSettings();
    } catch (error) {
        problem(sentence(error instanceof Error ? error.message : String(error)));
        return;
    }
    element("title").textContent = document.title = settings.title;
    startWorker();
}

void start();
