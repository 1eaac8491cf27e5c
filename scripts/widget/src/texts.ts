/**
 * Labels that a visitor types, embedded by the teacher's text tower: of models on the Hub in the form that
 * transformers.js reads, by its tokenizer and the runtime that is there already. Nothing is fetched before it is asked for.
 */

import { Tokenizer } from "@huggingface/tokenizers";
import type { InferenceSession } from "onnxruntime-web";
import { download, downloadJson, sizeOf } from "./downloads";
import { normalized, type Table } from "./ranking";

type Runtime = typeof import("onnxruntime-web");

const HUB = "https://huggingface.co";
// The smaller one first: CLIP's loses about nothing by eight bits.
const FILES = ["onnx/text_model_quantized.onnx", "onnx/text_model.onnx"];
const TEMPLATE = "a point cloud model of {}.";
const DEFAULT_LENGTH = 77;
// Of SigLIP, whose configuration leaves out what is so by default.
const PADDED_LENGTH = 64;
// Who keeps copies of text models in the form that browsers read, and whose: a model of another owner may share its name
// with one of these, and is another one.
const MIRROR = "Xenova";
const MIRRORED = ["openai", "google", "laion"];

/** What an encoder says of the model whose embeddings it learned: of all of it, and of what embeds texts if that is another. */
export interface Teacher {
    teacher_id?: string | null;
    text_tower_id?: string | null;
}

export interface TextFile {
    model: string;
    url: string;
    bytes: number;
}

/** Repositories whose text model may embed what a visitor types; none where the teacher is not on the Hub. */
export function textModels({ teacher_id, text_tower_id }: Teacher): string[] {
    const name = text_tower_id || teacher_id;
    if (!name || !/^[\w.-]+\/[\w.-]+$/.test(name)) return [];
    const [owner, model] = name.split("/");
    return MIRRORED.includes(owner) ? [name, `${MIRROR}/${model}`] : [name];
}

/** The first of the models that has a text tower, and its size; null where none has. */
export async function findTextModel(models: string[]): Promise<TextFile | null> {
    for (const model of models) {
        for (const file of FILES) {
            const url = `${HUB}/${model}/resolve/main/${file}`;
            const bytes = await sizeOf(url);
            if (bytes) return { model, url, bytes };
        }
    }
    return null;
}

export class TextModel {
    private constructor(
        private readonly runtime: Runtime,
        private readonly session: InferenceSession,
        private readonly tokenizer: Tokenizer,
        /** As many tokens as it takes. */
        private readonly length: number,
        /** What fills each text up to that length; null where texts keep their own. */
        private readonly padding: number | null,
        private readonly output: string,
    ) {}

    static async load(file: TextFile, runtime: Runtime, onShare: (share: number | null) => void): Promise<TextModel> {
        const folder = `${HUB}/${file.model}/resolve/main/`;
        const [tokens, settings] = await Promise.all([
            // Of some models tens of megabytes.
            downloadJson(`${folder}tokenizer.json`, onShare),
            downloadJson(`${folder}tokenizer_config.json`),
        ]);
        const data = await download(file.url, onShare);
        const session = await runtime.InferenceSession.create(data, { executionProviders: ["wasm"], logSeverityLevel: 3 });
        const tokenizer = new Tokenizer(tokens, settings);
        if (session.outputNames.includes("text_embeds")) {
            const length = Math.min(Number(settings.model_max_length) || DEFAULT_LENGTH, 512);
            return new TextModel(runtime, session, tokenizer, length, null, "text_embeds");
        }
        const config = await downloadJson(`${folder}config.json`);
        if (!/^siglip/.test(config.model_type)) throw new Error("the text model has no output text_embeds");
        // It was trained on texts of one length, and sees what they are filled with.
        const length = config.text_config?.max_position_embeddings ?? PADDED_LENGTH;
        const padding = tokenizer.token_to_id(settings.pad_token?.content ?? settings.pad_token);
        if (padding === undefined) throw new Error("the text model's tokenizer has no token to fill texts with");
        return new TextModel(runtime, session, tokenizer, length, padding, "pooler_output");
    }

    /** Normalised embeddings of the labels, each in the sentence that the Python package puts it in. */
    async embed(labels: string[], width: number): Promise<Table> {
        const embeds = new Float32Array(labels.length * width);
        for (const [row, label] of labels.entries()) {
            const prompt = TEMPLATE.replace("{}", () => label);
            // SigLIP has seen no capitals, and not all of its tokenizers see to that.
            const ids = this.fitted(this.tokenizer.encode(this.padding === null ? prompt : prompt.toLowerCase()).ids);
            const all: Record<string, number[]> = { input_ids: ids, attention_mask: ids.map(() => 1) };
            const feeds = Object.fromEntries(
                this.session.inputNames.map((name) => {
                    const values = BigInt64Array.from(all[name] ?? ids.map(() => 0), BigInt);
                    return [name, new this.runtime.Tensor("int64", values, [1, ids.length])];
                }),
            );
            const found = await this.session.run(feeds);
            const embed = found[this.output]?.data as Float32Array | undefined;
            if (embed?.length !== width) throw new Error("the text model is of another embedding space");
            embeds.set(normalized(embed), row * width);
        }
        return { embeds, width };
    }

    /** The last token says that the text ends, and stays. */
    private fitted(ids: number[]): number[] {
        const kept = ids.length <= this.length ? ids : [...ids.slice(0, this.length - 1), ids[ids.length - 1]];
        if (this.padding === null) return kept;
        return Array.from({ length: this.length }, (_, i) => kept[i] ?? this.padding!);
    }
}
