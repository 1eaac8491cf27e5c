/** Reads, samples and embeds beside the page, so that the page answers whatever a file holds. */

import { browserDecoders } from "./decoders";
import { DownloadError, download, downloadJson } from "./downloads";
import { loadEncoder, type Encoder } from "./encoder";
import { coloredPoints, pointValues } from "./preparation";
import type { FromWorker, ToWorker, WidgetSettings } from "./protocol";
import { nearest, rankLabels, type Table } from "./ranking";
import type { Decoders, DroppedFiles } from "./readers/companions";
import { readShape, shapeAmong } from "./readers/index";
import { ShapeError, type Shape } from "./shapes";
import { findTextModel, TextModel, textModels, type TextFile } from "./texts";
import { buffersOf, shapeView } from "./viewing";

interface Collection extends Table {
    items: { name: string; url: string | null }[];
}

const HITS = 8;
const MAX_MESSAGE = 400;
let encoder: Encoder | null = null;
let decoders: Decoders | null = null;
let collection: Collection | null = null;
let textFile: TextFile | null = null;
let textModel: TextModel | null = null;
let typed: (Table & { labels: string[] }) | null = null;
let embedded: { number: number; embedding: Float32Array } | null = null;
// Of the shape that was given last.
let lastNumber = 0;

function say(message: FromWorker, transfer: ArrayBuffer[] = []): void {
    (self as unknown as { postMessage(message: unknown, transfer: ArrayBuffer[]): void }).postMessage(message, transfer);
}

async function load(settings: WidgetSettings, base: string, isCareful: boolean): Promise<void> {
    const folder = new URL(settings.encoder, base).href;
    decoders = browserDecoders(base);
    encoder = await loadEncoder(folder, base, isCareful, (text, share) => say({ type: "progress", text, share }));
    const { found, problem } = await tryCollection(settings.collection && new URL(settings.collection, base).href);
    collection = found;
    const { description, classes } = encoder;
    say({
        type: "ready",
        name: description.name,
        by: computedBy(),
        numPoints: description.input.num_points,
        numLabels: classes?.labels.length ?? 0,
        collection: collection?.items.length ?? 0,
        problem,
        hasTextModels: textModels(description).length > 0,
    });
}

/** A page without its collection still classifies. */
async function tryCollection(url: string | null): Promise<{ found: Collection | null; problem: string | null }> {
    try {
        return { found: url ? await loadCollection(url) : null, problem: null };
    } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        return { found: null, problem: `it cannot be searched: ${message}` };
    }
}

async function loadCollection(url: string): Promise<Collection> {
    // The page starts a worker of which it hears nothing for long once more.
    const onShare = (share: number | null) => say({ type: "progress", text: "Collection", share });
    const facts = await downloadJson(url, onShare);
    const width = encoder!.description.output.embedding_dim;
    const data = await download(new URL(String(facts?.file).split("/").pop()!, url).href, onShare);
    const embeds = new Float32Array(data.buffer, 0, Math.floor(data.length / 4));
    if (facts.width !== width || embeds.length !== width * facts.items?.length) {
        throw new DownloadError(`${url}: its embeddings do not fit the encoder's; write the page again`);
    }
    return { embeds, width, items: facts.items };
}

/** Read as they are asked for, which browsers let a worker do without waiting. */
function dropped(files: Map<string, File>): DroppedFiles {
    return {
        names: [...files.keys()],
        bytes: (name) => files.get(name)!.size,
        read: (name) => {
            try {
                return new Uint8Array(new FileReaderSync().readAsArrayBuffer(files.get(name)!));
            } catch {
                throw new ShapeError(`${name} cannot be opened; it may be a folder, changed, or too large for the memory of this browser`);
            }
        },
    };
}

async function read(number: number, files: Map<string, File>): Promise<void> {
    if (number !== lastNumber) throw new ShapeError("another shape was given in its place");
    const start = performance.now();
    const { input } = encoder!.description;
    const name = shapeAmong([...files.keys()]);
    const shape = await readShape(name, dropped(files), decoders!, input);
    const points = coloredPoints(shape, input.num_points);
    const values = pointValues(points, shape.upAxis, input);
    const view = shapeView(shape, points, values, shape.upAxis ?? input.up_axis, input.encoder_up_axis);
    say({ type: "shape", number, name, view, facts: factsOf(shape), warnings: shape.warnings.slice(0, 5).map(cut) }, buffersOf(view));
    const embedding = await encoder!.backend.embed(values);
    if (!embedding.every(Number.isFinite)) throw new ShapeError("its embedding is not finite");
    embedded = { number, embedding };
    const hits = collection ? nearest(embedding, collection.items, collection, HITS) : [];
    const seconds = (performance.now() - start) / 1000;
    say({ type: "result", number, name, ranked: ranked(), hits, seconds, embedding, by: computedBy() });
}

/** What a file made a message of: a page of text would stand still as a hundred megabytes do. */
function cut(message: string): string {
    return message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)} ...` : message;
}

/** Which may change as a graphics card is lost. */
function computedBy(): string {
    const { name, threads } = encoder!.backend.used;
    return threads > 1 ? `${name} with ${threads} threads` : name;
}

/** Of the shape that was given last; nothing while it is not embedded, or where it cannot be. */
function ranked() {
    const table = typed ?? encoder!.classes;
    if (!table || embedded?.number !== lastNumber) return [];
    return rankLabels(embedded.embedding, table.labels, table, encoder!.description.logit_scale);
}

function factsOf(shape: Shape): string {
    if (shape.kind === "cloud") return `${(shape.xyz.length / 3).toLocaleString("en")} points`;
    const faces = shape.parts.reduce((sum, part) => sum + part.triangles.length / 9, 0);
    const how = shape.parts.some((part) => part.texture) ? ", textured" : shape.parts.some((part) => part.isColored) ? ", coloured" : "";
    return `${faces.toLocaleString("en")} triangles${how}`;
}

async function embedTexts(labels: string[]): Promise<void> {
    if (!textFile) throw new Error("no text model was found");
    const share = (value: number | null) => say({ type: "progress", text: "Text model", share: value });
    textModel ??= await TextModel.load(textFile, encoder!.backend.used.runtime, share);
    typed = { labels, ...(await textModel.embed(labels, encoder!.description.output.embedding_dim)) };
    say({ type: "labels", ranked: ranked() });
}

async function answer(message: ToWorker): Promise<void> {
    if (message.type === "load") await load(message.settings, message.base, message.isCareful);
    else if (message.type === "read") await read(message.number, message.files);
    else if (message.type === "texts") await embedTexts(message.labels);
    else if (message.type === "ownLabels") {
        typed = null;
        say({ type: "labels", ranked: ranked() });
    } else {
        const models = textModels(encoder!.description);
        textFile = await findTextModel(models);
        if (!textFile) throw new Error(`the Hub has no text model for this encoder (${models.join(", ")}), or cannot be reached`);
        say({ type: "textSize", model: textFile.model, bytes: textFile.bytes });
    }
}

// One after the other: a shape that is dropped while another is embedded waits, and only the last that waits is read.
let last: Promise<void> = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
    if (data.type === "read") lastNumber = data.number;
    last = last
        .then(() => answer(data))
        .catch((error: unknown) => {
            const known = error instanceof ShapeError || error instanceof DownloadError;
            const message = cut(error instanceof Error ? error.message : String(error));
            if (!known) console.warn(error);
            if (data.type === "read") say({ type: "failed", what: "read", number: data.number, message });
            else say({ type: "failed", what: data.type === "load" ? "load" : "texts", message });
        });
};
