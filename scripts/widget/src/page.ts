/** The page: takes files, shows what the worker says of them. */

import { Computing } from "./computing";
import { type DownloadError, downloadJson } from "./downloads";
import { element, item, problem, progress, row, sentence } from "./elements";
import { LabelsForm } from "./labels_form";
import type { FromWorker, Hit, Ranked, WidgetSettings } from "./protocol";
import { isOfBrowser, View } from "./view";

const SHOWN_LABELS = 8;

let view: View | null = null;
// Whether a shape that was given is not answered yet.
let isReading = false;

const computing = new Computing({ onStart, onRead, onMessage, onProblem });
const form = new LabelsForm((message) => computing.ask(message));

function onStart(): void {
    form.reset();
    isReading = false;
    progress("Loading ...", null);
}

function onRead(): void {
    isReading = true;
    progress("Reading ...", null);
    showLabels([]);
    showHits([]);
}

/** Of a shape that was given up, or of texts. */
function onProblem(text: string, isOfShape: boolean): void {
    problem(text);
    if (isOfShape) hideShape();
}

/** What is shown of a shape, when another was given in its place that cannot be. */
function hideShape(): void {
    isReading = false;
    element("view").hidden = true;
    showLabels([]);
    showHits([]);
}

function onMessage(message: FromWorker): void {
    switch (message.type) {
        case "progress":
            return progress(`Loading: ${message.text}`, message.share);
        case "ready":
            document.body.dataset.ready = "true";
            form.hasOwnLabels = message.numLabels > 0;
            progress(message.numLabels ? "Ready. Give it a shape." : "Ready. This page has no labels of its own.", undefined);
            element("encoder").textContent =
                `Encoder ${message.name === "encoder" ? "" : message.name + ", "}of ${message.numPoints.toLocaleString("en")} points`;
            element("by").textContent = `, by ${message.by}`;
            element("texts").hidden = !message.hasTextModels;
            element("collection-problem").textContent = message.problem && sentence(message.problem);
            element("collection-problem").hidden = !message.problem;
            showHits([]);
            if (message.collection) {
                element("collection-heading").textContent = `Nearest of ${message.collection.toLocaleString("en")} shapes`;
            }
            return;
        case "shape":
            return showShape(message);
        case "result":
            isReading = false;
            progress(`Classified in ${message.seconds.toFixed(2)} s on this machine.`, undefined);
            showLabels(message.ranked);
            showHits(message.hits);
            element("by").textContent = `, by ${message.by}`;
            Object.assign(window, { lastEmbedding: message.embedding });
            document.body.dataset.result = message.name;
            return;
        case "textSize":
            return form.showSize(message);
        case "labels":
            form.showDone();
            return showRanked(message.ranked);
        case "failed":
            return showFailed(message);
    }
}

/** Of the last shape that the worker knows: not while another one is read, nor where it was hidden. */
function showRanked(ranked: Ranked[]): void {
    if (isReading) return progress("Reading ...", null);
    const shown = element("view").hidden ? [] : ranked;
    progress(shown.length ? "Classified among these labels." : "The labels are ready. Give it a shape.", undefined);
    showLabels(shown);
}

function showFailed({ what, message }: Extract<FromWorker, { type: "failed" }>): void {
    if (what === "texts") {
        form.showFailed(message);
        return isReading ? progress("Reading ...", null) : progress("", undefined);
    }
    hideShape();
    if (what === "read") {
        progress("Not classified.", undefined);
        return problem(`${document.body.dataset.reading || "The file"} cannot be read: ${message}.`);
    }
    element("texts").hidden = true;
    progress("The encoder could not be loaded.", undefined);
    problem(sentence(message));
}

function takeFiles(list: FileList | null | undefined): void {
    if (!list?.length) return;
    const files = new Map(Array.from(list, (file) => [file.name, file]));
    problem("");
    delete document.body.dataset.result;
    const name = (document.body.dataset.reading = [...files.keys()].join(", ").slice(0, 120));
    computing.read(name, files);
}

function showShape({ name, view: shape, facts, warnings }: Extract<FromWorker, { type: "shape" }>): void {
    progress("Embedding ...", null);
    element("view").hidden = false;
    element("name").textContent = name;
    element("facts").textContent = facts;
    element("warnings").replaceChildren(...warnings.map((text) => item(sentence(text))));
    element("left-side").hidden = shape.parts.length === 0;
    element("canvas").hidden = false;
    try {
        view ??= new View(element<HTMLCanvasElement>("canvas"));
        view.show(shape);
        showTurning();
    } catch {
        element("canvas").hidden = true;
        element("warnings").append(item("This browser cannot draw it (no WebGL). The labels are not affected."));
    }
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
    element("collection").hidden = hits.length === 0 && element("collection-problem").hidden;
    element("hits").replaceChildren(
        ...hits.map(({ name, url, cosine }) => {
            if (!url || !/^https:\/\//.test(url)) return row(name, cosine.toFixed(2));
            const link = document.createElement("a");
            // The page may stand in a frame, as Spaces do, in which other sites refuse to open.
            [link.href, link.target, link.rel] = [url, "_blank", "noopener"];
            link.textContent = name;
            return row(link, cosine.toFixed(2));
        }),
    );
}

function showTurning(): void {
    const button = element("turning");
    button.textContent = view?.isTurning ? "Stop turning" : "Turn";
}

function listen(): void {
    element<HTMLInputElement>("file").addEventListener("change", (event) => {
        const input = event.target as HTMLInputElement;
        takeFiles(input.files);
        input.value = "";
    });
    addEventListener("dragover", (event) => {
        event.preventDefault();
        document.body.classList.add("dragging");
    });
    addEventListener("dragleave", () => document.body.classList.remove("dragging"));
    addEventListener("drop", (event: DragEvent) => {
        event.preventDefault();
        document.body.classList.remove("dragging");
        takeFiles(event.dataTransfer?.files);
    });
    const toggle = () => {
        if (view) view.isTurning = !view.isTurning;
        showTurning();
    };
    element("turning").addEventListener("click", toggle);
    element("canvas").addEventListener("keydown", (event) => {
        if (event.key !== " " || isOfBrowser(event)) return;
        event.preventDefault();
        toggle();
    });
}

/** Of the page, or of a model on the Hub: `?model=owner/name`, whose files lie in its folder onnx. */
async function readSettings(): Promise<WidgetSettings> {
    const found: WidgetSettings = await downloadJson("widget.json").catch((error: DownloadError) => {
        if (error.status !== 404) throw error;
        throw new Error("widget.json is missing beside the page; mrd-hf push --widget writes it");
    });
    const model = new URLSearchParams(location.search).get("model");
    if (model === null) return found;
    if (!/^[\w.-]+\/[\w.-]+$/.test(model)) throw new Error("the model in the address is no name such as owner/name");
    return { ...found, title: model, encoder: `https://huggingface.co/${model}/resolve/main/onnx/`, collection: null };
}

async function start(): Promise<void> {
    listen();
    progress("Loading ...", null);
    try {
        const settings = await readSettings();
        element("title").textContent = document.title = settings.title;
        computing.start(settings, document.baseURI);
    } catch (error) {
        computing.fail(error instanceof Error ? error.message : String(error));
    }
}

void start();
