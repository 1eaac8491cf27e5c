// What a shape may hold is counted before it takes memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bundled } from "./bundled.mjs";
import { dropped } from "./dropped.mjs";

const { checkPixels } = await bundled("picture_size");
const { Companions } = await bundled("readers/companions");
const { decodeDraco, UnpackedBytes } = await bundled("readers/gltf_compression");
const { readGltf } = await bundled("readers/gltf");

/** A PNG that says how large it is, in so many bytes. */
function png(width, height, bytes) {
    const data = Buffer.alloc(bytes);
    data.writeUInt32BE(0x89504e47, 0);
    data.writeUInt32BE(width, 16);
    data.writeUInt32BE(height, 20);
    return new Uint8Array(data);
}

test("a picture may have 2^26 pixels, and fewer of few bytes", () => {
    checkPixels(png(8192, 8192, 600_000));
    checkPixels(png(5000, 5000, 100));
    assert.throws(() => checkPixels(png(8192, 8193, 10 ** 6)), /8192 x 8193 pixels, too many/);
    assert.throws(() => checkPixels(png(8192, 8192, 100_000)), /too many/);
    checkPixels(new Uint8Array(40));
});

test("textures are counted together", async () => {
    const files = dropped(["a", "b", "c"].map((name) => [name, new Uint8Array(1)]));
    const picture = async () => ({ width: 8192, height: 8192, data: new Uint8Array(4) });
    const [companions, warnings] = [new Companions(files, { picture }), []];
    const found = [];
    for (const name of ["a", "b", "a", "c"]) found.push(await companions.picture(name, warnings));
    assert.deepEqual(found.map((texture) => texture?.width), [8192, 8192, 8192, undefined]);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /cannot be read: c \(its textures are too many/);
    assert.throws(() => companions.takeTexels(1), /too many/);
});

test("what Draco unpacks to is counted with all that was unpacked before", () => {
    const POINTS = 2_000_000;
    const attribute = { ptr: 1, num_components: () => 3, data_type: () => 9 };
    const draco = {
        HEAPU8: new Uint8Array(64), TRIANGULAR_MESH: 1, DT_FLOAT32: 9, DT_FLOAT64: 10, DT_INT32: 5,
        Decoder: class {
            GetEncodedGeometryType = () => 0;
            DecodeBufferToPointCloud = () => ({ ok: () => true });
            GetAttributeByUniqueId = () => attribute;
            GetAttributeDataArrayForAllPoints = () => true;
        },
        DecoderBuffer: class { Init() {} },
        PointCloud: class { ptr = 1; num_points = () => POINTS; },
        destroy() {}, _malloc: () => 4, _free() {},
    };
    const names = (count) => new Map(Array.from({ length: count }, (_, i) => [`TEXCOORD_${i}`, 0]));
    const kept = new UnpackedBytes();
    // 48 MB each, of 512 MiB.
    assert.equal(decodeDraco(draco, new Uint8Array(9), names(11), kept).attributes.size, 11);
    assert.throws(() => decodeDraco(draco, new Uint8Array(9), names(1), kept), /MiB once unpacked/);
});

/** A GLB of one list of vertices and, of each primitive, the three of them that it uses. */
function sharingGlb(count, primitives) {
    const binary = Buffer.alloc(12 * count + 12 * primitives);
    for (let i = 0; i < 3 * count; i++) binary.writeFloatLE(Math.sin(i), 4 * i);
    for (let i = 0; i < 3 * primitives; i++) binary.writeUInt32LE((7 * i) % count, 12 * count + 4 * i);
    const accessors = Array.from({ length: primitives }, (_, i) => (
        { bufferView: 1, byteOffset: 12 * i, componentType: 5125, count: 3, type: "SCALAR" }
    ));
    const json = Buffer.from(JSON.stringify({
        asset: { version: "2.0" },
        buffers: [{ byteLength: binary.length }],
        bufferViews: [
            { buffer: 0, byteLength: 12 * count }, { buffer: 0, byteOffset: 12 * count, byteLength: 12 * primitives },
        ],
        accessors: [{ bufferView: 0, componentType: 5126, count, type: "VEC3" }, ...accessors],
        meshes: [{ primitives: accessors.map((_, i) => ({ attributes: { POSITION: 0 }, indices: i + 1 })) }],
        nodes: [{ mesh: 0 }],
    }));
    const text = Buffer.concat([json, Buffer.alloc(-json.length & 3, " ")]);
    const head = Buffer.alloc(20);
    head.write("glTF");
    [2, 28 + text.length + binary.length, text.length, 0x4e4f534a].forEach((value, i) => head.writeUInt32LE(value, 4 + 4 * i));
    const middle = Buffer.alloc(8);
    middle.writeUInt32LE(binary.length);
    middle.writeUInt32LE(0x004e4942, 4);
    return new Uint8Array(Buffer.concat([head, text, middle, binary]));
}

test("of a list that many primitives share, each reads its own vertices", async () => {
    const [count, primitives] = [300_000, 3_000];
    const start = performance.now();
    const { parts } = await readGltf(sharingGlb(count, primitives), new Companions(dropped([]), {}));
    assert.ok(performance.now() - start < 10_000);
    assert.equal(parts.length, primitives);
    const expected = (i) => Math.fround(Math.sin(3 * ((7 * i) % count) + 1));
    parts.forEach(({ triangles }, part) => [0, 1, 2].forEach((k) => assert.equal(triangles[3 * k + 1], expected(3 * part + k))));
});

test("long strings and runs of blanks in a file's JSON are read once", async () => {
    const texts = [
        `{"asset": {"version": "2.0", "copyright": "a${" ".repeat(300_000)}b"}, "nodes": []}\0 \n`,
        `{"asset": {"version": "2.0"}, "extras": [NaN, "${"A\\\"".repeat(5_000_000)}"], "nodes": []}`,
    ];
    for (const text of texts) {
        const start = performance.now();
        const shape = await readGltf(new TextEncoder().encode(text), new Companions(dropped([]), {}));
        assert.deepEqual(shape.parts, []);
        assert.ok(performance.now() - start < 10_000);
    }
});
