/** An exported encoder that runs by onnxruntime-web: by WebGPU where there is one, else by WebAssembly. */

import type { InferenceSession, Tensor } from "onnxruntime-web";
import { download, downloadJson, unpacked } from "./downloads";
import type { InputSettings } from "./preparation";
import type { Table } from "./ranking";
import type { Teacher } from "./texts";

type Runtime = typeof import("onnxruntime-web");

/** encoder.json, as far as it is read here. */
export interface Description extends Teacher {
    name: string;
    format: string;
    format_version: number;
    input: InputSettings;
    output: { embedding_dim: number };
    logit_scale: number;
    classes: { file: string; labels: string[] } | null;
}

export interface Classes extends Table {
    labels: string[];
}

/** What computes. */
export interface Backend {
    name: "WebGPU" | "WebAssembly";
    threads: number;
    runtime: Runtime;
    embed(pointValues: Float32Array): Promise<Float32Array>;
}

export interface Encoder {
    description: Description;
    classes: Classes | null;
    backend: LastingBackend;
}

type Progress = (text: string, share: number | null) => void;

const MIB = 2 ** 20;

/** Loads what is in a folder; a careful one asks for neither threads nor the graphics card. */
export async function loadEncoder(folder: string, base: string, isCareful: boolean, onProgress: Progress): Promise<Encoder> {
    const description: Description = await downloadJson(`${folder}encoder.json`);
    if (description.format !== "mrd_hf encoder" || description.format_version !== 1) {
        throw new Error(`${folder}encoder.json is not of an encoder that this page knows; export it again`);
    }
    const classes = await loadClasses(folder, description, onProgress);
    const onCpu = () => loadOnCpu(folder, base, !isCareful && self.crossOriginIsolated, onProgress);
    let backend: Backend | null = null;
    if (!isCareful && (await hasGpu())) {
        try {
            backend = await loadOnGpu(folder, base, description.input.num_points, onProgress);
        } catch (error) {
            console.warn("WebGPU failed, WebAssembly is used:", error);
        }
    }
    return { description, classes, backend: new LastingBackend(backend ?? (await onCpu()), onCpu) };
}

/** In whose place WebAssembly computes once it fails, as a graphics card that is lost does for ever. */
export class LastingBackend {
    constructor(
        /** The one that computes now. */
        public used: Backend,
        private readonly onCpu: () => Promise<Backend>,
    ) {}

    async embed(pointValues: Float32Array): Promise<Float32Array> {
        try {
            const embedding = await this.used.embed(pointValues);
            // Which only the graphics card is wrong about, if WebAssembly gives another.
            if (this.used.name === "WebGPU") checkFinite(embedding);
            return embedding;
        } catch (error) {
            if (this.used.name !== "WebGPU") throw error;
            console.warn("WebGPU failed, WebAssembly is used:", error);
        }
        this.used = await this.onCpu();
        return this.used.embed(pointValues);
    }
}

async function loadClasses(folder: string, { classes, output }: Description, onProgress: Progress): Promise<Classes | null> {
    if (!classes) return null;
    // By its name alone, so that no description leads to another folder.
    const data = await download(folder + classes.file.split("/").pop()!, (share) => onProgress("Labels", share));
    const embeds = new Float32Array(data.buffer, 0, Math.floor(data.length / 4));
    if (embeds.length !== classes.labels.length * output.embedding_dim) throw new Error("the labels' file is damaged");
    return { labels: classes.labels, embeds, width: output.embedding_dim };
}

async function hasGpu(): Promise<boolean> {
    const gpu = (navigator as { gpu?: { requestAdapter(): Promise<{ info?: { isFallbackAdapter?: boolean } } | null> } }).gpu;
    try {
        const adapter = await gpu?.requestAdapter();
        // One that is computed in software is slower than WebAssembly.
        return Boolean(adapter) && adapter?.info?.isFallbackAdapter !== true;
    } catch {
        return false;
    }
}

async function loadOnCpu(folder: string, base: string, mayThread: boolean, onProgress: Progress): Promise<Backend> {
    // Threads share memory, which browsers allow on isolated pages only.
    const threads = mayThread ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
    const runtime = await loadRuntime("cpu", base, threads, onProgress);
    const session = await open(runtime, `${folder}encoder.onnx`, ["wasm"], onProgress);
    return {
        name: "WebAssembly",
        threads,
        runtime,
        embed: async (values) => {
            const found = await session.run({ point_values: points(runtime, values) });
            return taken(found.point_embeds);
        },
    };
}

/** The loop of sampling is faster near the processor, the network on the graphics card. */
async function loadOnGpu(folder: string, base: string, numPoints: number, onProgress: Progress): Promise<Backend> {
    const runtime = await loadRuntime("gpu", base, 1, onProgress);
    const sampling = await open(runtime, `${folder}sampling.onnx`, ["wasm"], onProgress);
    const network = await open(runtime, `${folder}network.onnx`, ["webgpu"], onProgress);
    const embed = async (values: Float32Array) => {
        const { centers, groups } = await sampling.run({ point_values: points(runtime, values) });
        return taken((await network.run({ centers, groups })).point_embeds);
    };
    checkFinite(await embed(new Float32Array(6 * numPoints).map((_, i) => Math.sin(i))));
    return { name: "WebGPU", threads: 1, runtime, embed };
}

async function loadRuntime(kind: "cpu" | "gpu", base: string, threads: number, onProgress: Progress): Promise<Runtime> {
    const runtime = (await import(new URL(`runtime-${kind}.js`, base).href)) as Runtime;
    const packed = await download(new URL(`runtime-${kind}.wasm.gzip`, base).href, (share) => onProgress("Runtime", share));
    const binary = await unpacked(packed);
    runtime.env.wasm.wasmBinary = binary.buffer as ArrayBuffer;
    runtime.env.wasm.numThreads = threads;
    runtime.env.logLevel = "error";
    return runtime;
}

async function open(runtime: Runtime, url: string, executionProviders: string[], onProgress: Progress): Promise<InferenceSession> {
    const data = await download(url, (share) => onProgress("Encoder", share));
    onProgress(`Encoder, ${(data.length / MIB).toFixed(1)} MiB, is prepared`, null);
    return runtime.InferenceSession.create(data, { executionProviders, logSeverityLevel: 3 });
}

function checkFinite(embedding: Float32Array): void {
    if (!embedding.every(Number.isFinite)) throw new Error("its result is not finite");
}

function points(runtime: Runtime, values: Float32Array): Tensor {
    return new runtime.Tensor("float32", values, [1, values.length / 6, 6]);
}

function taken(embeds: Tensor): Float32Array {
    return Float32Array.from(embeds.data as Float32Array);
}
