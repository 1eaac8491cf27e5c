/**
 * What the page does, in Node: `node tool.mjs prepare SETTINGS OUT FILE...` writes the encoder's input of each file, and
 * `node tool.mjs embed ENCODER OUT VALUES...` the embeddings of such inputs, both as float32; `node tool.mjs sizes PICTURE...`
 * says how large pictures say that they are.
 */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { inflateSync } from "node:zlib";
import { createBasis } from "../src/basis";
import { createDraco } from "../src/draco";
import { createMeshopt } from "../src/meshopt";
import { Generator } from "../src/random";
import { coloredPoints, pointValues } from "../src/preparation";
import type { Decoders } from "../src/readers/companions";
import { readShape } from "../src/readers/index";
import { pictureSize } from "../src/picture_size";
import type { Texture } from "../src/shapes";

// From the page's folder, where this runs.
const LIBRARIES = "node_modules/three/examples/jsm/libs";
const decoders: Decoders = {
    picture: async (data) => decodePng(data),
    draco: () => createDraco(new Uint8Array(readFileSync(`${LIBRARIES}/draco/draco_decoder.wasm`)).buffer),
    basis: () => createBasis(new Uint8Array(readFileSync(`${LIBRARIES}/basis/basis_transcoder.wasm`)).buffer),
    meshopt: createMeshopt,
};
const [command, settings, out, ...files] = process.argv.slice(2);

if (command === "prepare") {
    const input = JSON.parse(readFileSync(settings, "utf8"));
    for (const [number, file] of files.entries()) {
        const entries = readdirSync(dirname(file), { withFileTypes: true }).filter((entry) => entry.isFile());
        const beside = entries.map(({ name }): [string, Uint8Array] => [name, readFileSync(join(dirname(file), name))]);
        let line: string;
        try {
            const files = new Map(beside);
            const dropped = { names: [...files.keys()], bytes: (name: string) => files.get(name)!.length, read: (name: string) => files.get(name)! };
            const shape = await readShape(basename(file), dropped, decoders, input);
            const values = pointValues(coloredPoints(shape, input.num_points), shape.upAxis, input);
            writeFileSync(join(out, `${number}.f32`), values);
            line = JSON.stringify({ warnings: shape.warnings });
        } catch (error) {
            line = JSON.stringify({ error: String((error as Error).message), kind: (error as Error).constructor.name });
        }
        console.log(line);
    }
} else if (command === "embed") {
    const runtime = await import("onnxruntime-web");
    runtime.env.wasm.numThreads = 1;
    const session = await runtime.InferenceSession.create(readFileSync(settings), { executionProviders: ["wasm"] });
    for (const file of files) {
        const bytes = readFileSync(file);
        const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
        const feeds = { point_values: new runtime.Tensor("float32", values, [1, values.length / 6, 6]) };
        const found = await session.run(feeds);
        writeFileSync(join(out, `${basename(file)}.embeds`), found.point_embeds.data as Float32Array);
    }
} else if (command === "sizes") {
    for (const file of process.argv.slice(3)) console.log(JSON.stringify(pictureSize(readFileSync(file))));
} else if (command === "random") {
    const [uniform, order] = [new Generator().random(1000), new Generator().permutation(100_000)];
    console.log(JSON.stringify({ uniform: Array.from(uniform), order: Array.from(order) }));
}

/** PNG of 8 bits, without interlacing: RGB or RGBA. */
function decodePng(data: Uint8Array): Texture {
    const bytes = Buffer.from(data);
    const [width, height, kind] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20), bytes[25]];
    const channels = { 2: 3, 6: 4 }[kind];
    if (bytes[24] !== 8 || !channels || bytes[28]) throw new Error("a PNG of another kind");
    const packed: Buffer[] = [];
    for (let at = 8; at + 12 <= bytes.length; at += 12 + bytes.readUInt32BE(at)) {
        if (bytes.toString("latin1", at + 4, at + 8) === "IDAT") packed.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at)));
    }
    const raw = inflateSync(Buffer.concat(packed));
    const stride = width * channels;
    const pixels = Buffer.alloc(height * stride);
    for (let row = 0; row < height; row++) {
        const filter = raw[row * (stride + 1)];
        for (let i = 0; i < stride; i++) {
            const left = i >= channels ? pixels[row * stride + i - channels] : 0;
            const up = row ? pixels[(row - 1) * stride + i] : 0;
            const corner = row && i >= channels ? pixels[(row - 1) * stride + i - channels] : 0;
            const guess = [0, left, up, (left + up) >> 1, predicted(left, up, corner)][filter];
            pixels[row * stride + i] = raw[row * (stride + 1) + 1 + i] + guess;
        }
    }
    const rgba = new Uint8Array(4 * width * height).fill(255);
    for (let i = 0; i < width * height; i++) for (let c = 0; c < channels; c++) rgba[4 * i + c] = pixels[i * channels + c];
    return { width, height, data: rgba };
}

function predicted(left: number, up: number, corner: number): number {
    const [a, b, c] = [left, up, corner].map((value) => Math.abs(left + up - corner - value));
    return a <= b && a <= c ? left : b <= c ? up : corner;
}
